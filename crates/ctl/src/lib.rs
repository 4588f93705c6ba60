//! `tidegate ctl`: what an operator asks a node for, over its admin API.
//!
//! A library, so that the one binary has it as a subcommand and a test can run it against a server of its own.

mod age;
mod args;
mod documents;
mod memory;
mod objects;
mod server;

use std::io::{Read, Write};

pub use args::{Command, Ctl, Output};
pub use server::Error;

/// Where a command reads and writes.
pub struct Streams<'a> {
    pub input: &'a mut dyn Read,
    pub out: &'a mut dyn Write,
    pub err: &'a mut dyn Write,
}

/// Runs one command to its end, on a runtime of its own. Returns whether all of it succeeded; why not is on `streams.err`.
pub fn run(ctl: &Ctl, mut streams: Streams<'_>) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(command(ctl, &mut streams)),
        Err(error) => Err(Error::Local(format!("start the runtime: {error}"))),
    };
    done.unwrap_or_else(|error| {
        // Where nothing can be written, the exit code has to say it.
        writeln!(streams.err, "Error: {error}").ok();
        false
    })
}

async fn command(ctl: &Ctl, streams: &mut Streams<'_>) -> Result<bool, Error> {
    let server = server::Server::new(ctl.server.as_deref())?;
    match &ctl.command {
        Command::Apply { file, dry_run } => objects::apply(&server, file, *dry_run, streams).await,
        Command::Get { what, name, output } => {
            objects::get(&server, what.as_deref(), name.as_deref(), *output, streams).await
        }
        Command::Delete { kind, names, file } => {
            objects::delete(&server, kind.as_deref(), names, file.as_deref(), streams).await
        }
        Command::Memory { output } => memory::memory(&server, *output, streams).await,
    }
}
