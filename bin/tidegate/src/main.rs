//! The one binary: `tidegate store`, `tidegate server`, `tidegate ctl`. Called by the name `etcd` it is `tidegate store`.

mod allocator;
mod logging;
mod node;
mod store;

use std::{env, path::Path, process::ExitCode};

const USAGE: &str = "\
Usage:
  tidegate store  [flags]   the store alone: a drop-in for the etcd server, with its flags and ETCD_ variables
  tidegate --version

`tidegate store --help` lists the flags. Called by the name etcd, this program is `tidegate store`.
";

fn main() -> ExitCode {
    let mut arguments = env::args();
    let program = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let name = Path::new(&program).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name == "etcd" {
        return store::main(&rest, store::CalledAs::Etcd);
    }
    match rest.first().map(String::as_str) {
        Some("store") => store::main(&rest[1..], store::CalledAs::Tidegate),
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
