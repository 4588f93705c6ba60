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

/// What a verb reads.
#[derive(Debug, Args)]
pub(crate) struct WholeFile {
    /// YAML or JSON; `-` reads standard input
    #[arg(short, long, default_value = "-", value_name = "FILE")]
    pub(crate) file: String,
}

/// What is looked at, and how it is shown.
#[derive(Debug, Args)]
pub(crate) struct OneName {
    /// Its name
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) show: Show,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ObjectCommand {
    /// List the kinds of objects
    Kinds(Show),
    /// Print all objects
    List(Show),
    /// Print an object
    Get(OneName),
    /// Create objects
    Create(WholeFile),
    /// Update objects
    Update(WholeFile),
    /// Delete an object
    Delete {
        /// Its name
        #[arg(required_unless_present = "all")]
        name: Option<String>,
        /// Delete all objects
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// Print what nodes say of objects
    Status {
        #[command(subcommand)]
        command: ObjectStatus,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ObjectStatus {
    /// Of one object
    Get(OneName),
    /// Of all objects
    List(Show),
}

#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// Print all members
    List(Show),
    /// Forget a member that has stopped
    Purge {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum CustomDataKindCommand {
    /// Print all kinds
    List(Show),
    /// Print a kind
    Get(OneName),
    /// Create a kind
    Create(WholeFile),
    /// Update a kind
    Update(WholeFile),
    /// Delete a kind and its data
    Delete {
        /// Its name
        name: String,
    },
}

/// A kind of custom data, and what is sent to it.
#[derive(Debug, Args)]
pub(crate) struct DataFile {
    /// The kind of custom data
    pub(crate) kind: String,
    #[command(flatten)]
    pub(crate) file: WholeFile,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CustomDataCommand {
    /// Print all items of a kind
    List {
        /// The kind of custom data
        kind: String,
        #[command(flatten)]
        show: Show,
    },
    /// Print an item
    Get {
        /// The kind of custom data
        kind: String,
        /// The item's id
        id: String,
        #[command(flatten)]
        show: Show,
    },
    /// Create an item
    Create(DataFile),
    /// Update an item
    Update(DataFile),
    /// Create, update and delete many items at once
    BatchUpdate(DataFile),
    /// Delete an item
    Delete {
        /// The kind of custom data
        kind: String,
        /// The item's id
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ApiCommand {
    /// List the routes of the admin API
    List(Show),
}
