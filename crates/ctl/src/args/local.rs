//! Verbs that ask no server.

use clap::{Args, Subcommand};

use super::Show;

#[derive(Debug, Subcommand)]
pub(crate) enum LocalCommand {
    /// Show and choose contexts: which server, as whom
    #[command(after_help = "Example:\n  ctl config use-context staging")]
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Turn another program's configuration into objects
    #[command(after_help = "Example:\n  ctl convert nginx -f nginx.conf -o objects.yaml --resource-prefix shop")]
    Convert {
        #[command(subcommand)]
        command: ConvertCommand,
    },
    /// Print a script that makes a shell complete verbs and flags
    #[command(after_help = "Example:\n  source <(tidegate ctl completion bash)")]
    Completion {
        /// Which shell
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the file, without its secrets
    View(Show),
    /// Print the name of the context in use
    CurrentContext,
    /// List the contexts
    GetContexts(Show),
    /// Choose a context
    UseContext {
        /// Its name, as `get-contexts` lists it
        #[arg(value_name = "CONTEXT")]
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConvertCommand {
    /// nginx.conf to HTTPServers and Pipelines
    Nginx(NginxArgs),
}

#[derive(Debug, Args)]
pub(crate) struct NginxArgs {
    /// The configuration; files that it includes are read, too
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: String,
    /// Where the objects go [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<String>,
    /// What the names of all objects begin with
    #[arg(long, default_value = "nginx", value_name = "PREFIX")]
    pub(crate) resource_prefix: String,
}
