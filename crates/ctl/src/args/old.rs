//! Verbs of egctl before its release 2.5, for scripts that still have them. They print YAML.

use clap::{Args, Subcommand};

use super::Show;

#[derive(Debug, Subcommand)]
pub(crate) enum OldCommand {
    /// Old form of `get`, `create`, `apply` and `delete`
    #[command(hide = true)]
    Object {
        #[command(subcommand)]
        command: ObjectCommand,
    },
    /// Old form of `get member` and `delete member`
    #[command(hide = true)]
    Member {
        #[command(subcommand)]
        command: MemberCommand,
    },
    /// Old form of the verbs for custom data kinds
    #[command(hide = true)]
    CustomDataKind {
        #[command(subcommand)]
        command: CustomDataKindCommand,
    },
    /// Old form of the verbs for custom data
    #[command(hide = true)]
    CustomData {
        #[command(subcommand)]
        command: CustomDataCommand,
    },
    /// Old form of `apis`
    #[command(hide = true)]
    Api {
        #[command(subcommand)]
        command: ApiCommand,
    },
}

/// A file of objects, or standard input.
#[derive(Debug, Args)]
pub(crate) struct WholeFile {
    /// YAML or JSON; `-` reads standard input
    #[arg(short, long, default_value = "-", value_name = "FILE")]
    pub(crate) file: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ObjectCommand {
    Kinds(Show),
    List(Show),
    Get {
        name: String,
        #[command(flatten)]
        show: Show,
    },
    Create(WholeFile),
    Update(WholeFile),
    Delete {
        #[arg(required_unless_present = "all")]
        name: Option<String>,
        /// Delete all objects
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    Status {
        #[command(subcommand)]
        command: ObjectStatus,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ObjectStatus {
    Get {
        name: String,
        #[command(flatten)]
        show: Show,
    },
    List(Show),
}

#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    List(Show),
    Purge { name: String },
}

#[derive(Debug, Subcommand)]
pub(crate) enum CustomDataKindCommand {
    List(Show),
    Get {
        name: String,
        #[command(flatten)]
        show: Show,
    },
    Create(WholeFile),
    Update(WholeFile),
    Delete {
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum CustomDataCommand {
    List {
        kind: String,
        #[command(flatten)]
        show: Show,
    },
    Get {
        kind: String,
        id: String,
        #[command(flatten)]
        show: Show,
    },
    Create {
        kind: String,
        #[command(flatten)]
        file: WholeFile,
    },
    Update {
        kind: String,
        #[command(flatten)]
        file: WholeFile,
    },
    BatchUpdate {
        kind: String,
        #[command(flatten)]
        file: WholeFile,
    },
    Delete {
        kind: String,
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ApiCommand {
    List(Show),
}
