//! `tidegate ctl`: what an operator asks a node for, over its admin API.
//!
//! A library, so that the one binary has it as a subcommand and a test can run it against a server of its own.

mod age;
mod apply;
mod args;
mod base64;
mod contexts;
mod delete;
mod describe;
mod diff;
mod documents;
mod edit;
mod explain;
mod files;
mod get;
mod history;
mod httpproxy;
mod kinds;
mod memory;
mod nginx;
mod node;
mod old;
mod print;
mod server;

use std::io::{Read, Write};

use apply::Mode;
use args::{Command, ConvertCommand, CreateCommand, LocalCommand, NodeCommand, Output, Show};
use clap::Args as _;
use get::Wanted;
use print::Plain;
use server::Server;

pub use args::Ctl;
pub use server::Error;

/// Where a command reads and writes.
pub struct Streams<'a> {
    pub input: &'a mut dyn Read,
    pub out: &'a mut dyn Write,
    pub err: &'a mut dyn Write,
}

/// Runs one command to its end, on a runtime of its own. Returns whether all of it succeeded; why not is on `streams.err`.
pub fn run(ctl: &Ctl, streams: Streams<'_>) -> bool {
    let (mut out, mut err) = (Plain::new(streams.out), Plain::new(streams.err));
    let mut streams = Streams { input: streams.input, out: &mut out, err: &mut err };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        // Some verbs hold much at a time: not on the stack.
        Ok(runtime) => runtime.block_on(Box::pin(command(ctl, &mut streams))),
        Err(error) => Err(Error::Local(format!("start the runtime: {error}"))),
    };
    done.unwrap_or_else(|error| {
        // Where nothing can be written, the exit code has to say it.
        writeln!(streams.err, "Error: {error}").ok();
        false
    })
}

async fn command(ctl: &Ctl, streams: &mut Streams<'_>) -> Result<bool, Error> {
    match &ctl.command {
        Command::Local(command) => local(ctl, command, streams),
        Command::Old(command) => old::run(&Server::new(&ctl.global)?, command, ctl.show, streams).await,
        Command::Node(command) => node(&Server::new(&ctl.global)?, command, ctl.show, streams).await,
    }
}

async fn node(server: &Server, command: &NodeCommand, before: Show, streams: &mut Streams<'_>) -> Result<bool, Error> {
    let output = |behind: &Show| before.over(*behind);
    match command {
        NodeCommand::Create { what: Some(CreateCommand::Httpproxy(proxy)), .. } => {
            httpproxy::create(server, proxy, streams).await
        }
        NodeCommand::Create { file, what: None } => {
            apply::file(server, file.as_deref().unwrap_or("-"), Mode::Create, streams).await
        }
        NodeCommand::Apply { file, dry_run } => {
            apply::file(server, file, Mode::Apply { dry_run: *dry_run }, streams).await
        }
        NodeCommand::Diff { file } => diff::diff(server, file, streams).await,
        NodeCommand::Get { what, name, id, namespaces, show } => {
            let (what, name, id) = (what.as_deref(), name.as_deref(), id.as_deref());
            get::get(server, Wanted { what, name, id, namespaces }, output(show), streams).await
        }
        NodeCommand::Describe { what, name, verbose, namespaces, show } => {
            let wanted = Wanted { what: what.as_deref(), name: name.as_deref(), id: None, namespaces };
            describe::describe(server, wanted, *verbose, output(show), streams).await
        }
        NodeCommand::Edit { kind, name, id, editor } => {
            edit::edit(server, (kind, name, id.as_deref()), editor, streams).await
        }
        NodeCommand::Delete { file: Some(file), .. } => delete::file(server, file, streams).await,
        NodeCommand::Delete { kind, names, all, file: None } => {
            delete::named(server, kind.as_deref().unwrap_or_default(), names, *all, streams).await
        }
        NodeCommand::History { kind, name, show } => {
            history::history(server, (kind, name), output(show), streams).await
        }
        NodeCommand::Rollback { kind, name, to } => history::rollback(server, (kind, name), *to, streams).await,
        NodeCommand::Explain { path, show } => explain::explain(server, path, output(show), streams).await,
        NodeCommand::ApiResources { show } => node::api_resources(server, output(show), streams).await,
        NodeCommand::Apis { show } => node::apis(server, output(show), streams).await,
        NodeCommand::Health => node::health(server, streams).await,
        NodeCommand::Profile { command } => node::profile(server, command, before, streams).await,
        NodeCommand::Logs { tail, follow, command } => {
            node::logs(server, *tail, *follow, command.as_ref(), streams).await
        }
        NodeCommand::Metrics => node::metrics(server, streams).await,
        NodeCommand::Memory { show } => memory::memory(server, output(show), streams).await,
    }
}

/// What asks no server.
fn local(ctl: &Ctl, command: &LocalCommand, streams: &mut Streams<'_>) -> Result<bool, Error> {
    match command {
        LocalCommand::Config { command } => contexts::run(command, ctl.global.config.as_deref(), ctl.show, streams),
        LocalCommand::Convert { command: ConvertCommand::Nginx(wanted) } => nginx::convert(wanted, streams),
        LocalCommand::Completion { shell } => {
            // Words are completed behind the program's name: `ctl` is one of its verbs.
            let mut program = clap::Command::new("tidegate").subcommand(Ctl::augment_args(clap::Command::new("ctl")));
            clap_complete::generate(*shell, &mut program, "tidegate", &mut streams.out);
            Ok(true)
        }
    }
}
