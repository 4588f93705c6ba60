//! Flags.

use clap::{Args, Subcommand, ValueEnum};

/// Looks after a node: its objects and its memory.
#[derive(Debug, Args)]
pub struct Ctl {
    /// Admin address of the node [default: 127.0.0.1:2381]
    #[arg(long, global = true, env = "TIDEGATE_SERVER", value_name = "HOST:PORT")]
    pub server: Option<String>,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create the objects of a file, or update those that exist
    Apply {
        /// YAML (documents divided by `---`) or JSON; `-` reads standard input
        #[arg(short, long, value_name = "FILE")]
        file: String,
        /// Let the server check everything and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Show all objects, those of a kind, or one
    Get {
        /// A kind, or the name of an object; `all` or nothing for all objects
        #[arg(value_name = "KIND|NAME")]
        what: Option<String>,
        #[arg(value_name = "NAME")]
        name: Option<String>,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Delete objects
    Delete {
        #[arg(value_name = "KIND", required_unless_present = "file")]
        kind: Option<String>,
        #[arg(value_name = "NAME", required_unless_present = "file")]
        names: Vec<String>,
        /// Delete the objects that a file names; `-` reads standard input
        #[arg(short, long, value_name = "FILE", conflicts_with_all = ["kind", "names"])]
        file: Option<String>,
    },
    /// Explain the memory of the node
    Memory {
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    #[default]
    #[value(alias = "default")]
    Table,
    Yaml,
    Json,
}
