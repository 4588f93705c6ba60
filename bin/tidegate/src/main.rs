//! The one binary: `tidegate store`, `tidegate server`, `tidegate ctl`. Called by the name `etcd` it is `tidegate store`.

mod allocator;
mod files;
mod logging;
mod node;
mod notify;
mod reopen;
mod server;
mod store;

use std::{env, ffi::OsString, path::Path, process::ExitCode};

const USAGE: &str = "\
Usage:
  tidegate server [flags]   a gateway node with the store embedded
  tidegate ctl    VERB …    apply, get and delete objects of a gateway; memory of a node
  tidegate store  [flags]   the store alone: a drop-in for the etcd server, with its flags and ETCD_ variables
  tidegate --version

`--help` behind each lists its flags. Called by the name etcd, this program is `tidegate store`.
";

fn main() -> ExitCode {
    let mut arguments = env::args_os().map(OsString::into_string);
    let program = arguments.next().and_then(Result::ok).unwrap_or_default();
    let rest: Vec<String> = match arguments.collect() {
        Ok(rest) => rest,
        Err(argument) => {
            eprintln!("tidegate: an argument is not UTF-8: {}", argument.display());
            return ExitCode::from(2);
        }
    };
    let name = Path::new(&program).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name == "etcd" {
        return store::main(&rest, store::CalledAs::Etcd);
    }
    match rest.first().map(String::as_str) {
        Some("store") => store::main(&rest[1..], store::CalledAs::Tidegate),
        Some("server") => server::main(&rest[1..]),
        Some("ctl") => ctl(&rest),
        Some("--version" | "version") => {
            println!("tidegate {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Some("--help" | "-h" | "help") => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => {
            eprint!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// The operator's tool.
#[derive(Debug, clap::Parser)]
#[command(name = "tidegate ctl")]
struct CtlArguments {
    #[command(flatten)]
    ctl: tidegate_ctl::Ctl,
}

fn ctl(arguments: &[String]) -> ExitCode {
    let arguments = match <CtlArguments as clap::Parser>::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let (mut input, mut out, mut err) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let streams = tidegate_ctl::Streams { input: &mut input, out: &mut out, err: &mut err };
    if tidegate_ctl::run(&arguments.ctl, streams) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
