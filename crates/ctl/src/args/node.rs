//! Verbs that ask the node.

use clap::Subcommand;

use super::{HttpProxy, Namespaces, Show};

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Create objects, custom data kinds and custom data
    #[command(
        args_conflicts_with_subcommands = true,
        subcommand_negates_reqs = true,
        after_help = "Example:\n  ctl create -f pipelines.yaml"
    )]
    Create {
        /// YAML (documents divided by `---`) or JSON; `-` reads standard input
        #[arg(short, long, value_name = "FILE", required = true)]
        file: Option<String>,
        #[command(subcommand)]
        what: Option<CreateCommand>,
    },
    /// Create the objects of a file, or update those that exist
    #[command(after_help = "Example:\n  ctl apply -f pipelines.yaml --dry-run")]
    Apply {
        /// YAML (documents divided by `---`) or JSON; `-` reads standard input
        #[arg(short, long, value_name = "FILE")]
        file: String,
        /// Let the server check everything, tell every problem and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Show what apply would change; the exit code is 1 when something would
    #[command(after_help = "Example:\n  ctl diff -f pipelines.yaml")]
    Diff {
        /// As for `apply`
        #[arg(short, long, value_name = "FILE")]
        file: String,
    },
    /// Show everything, what is of a kind, or one
    #[command(
        after_help = "Examples:\n  ctl get all\n  ctl get hs demo -o yaml\n  ctl get members\n  ctl get customdata KIND ID"
    )]
    Get {
        /// A kind, its alias or the start of either; or the name of an object. `all` or nothing for everything
        #[arg(value_name = "KIND|NAME")]
        what: Option<String>,
        /// Name of the object
        #[arg(value_name = "NAME")]
        name: Option<String>,
        /// Which item, with `customdata KIND`
        #[arg(value_name = "ID")]
        id: Option<String>,
        #[command(flatten)]
        namespaces: Namespaces,
        #[command(flatten)]
        show: Show,
    },
    /// Show objects whole, each with its status on every node
    #[command(after_help = "Example:\n  ctl describe pipeline demo-0 -v")]
    Describe {
        /// A kind, its alias or the start of either; or the name of an object
        #[arg(value_name = "KIND|NAME")]
        what: Option<String>,
        /// Name of the object
        #[arg(value_name = "NAME")]
        name: Option<String>,
        /// Do not cut lines at 50 columns
        #[arg(short, long)]
        verbose: bool,
        #[command(flatten)]
        namespaces: Namespaces,
        #[command(flatten)]
        show: Show,
    },
    /// Change one object in an editor
    #[command(after_help = "Example:\n  EGCTL_EDITOR=nano ctl edit httpserver demo")]
    Edit {
        /// A kind, its alias or the start of either
        #[arg(value_name = "KIND")]
        kind: String,
        /// Name of the object
        #[arg(value_name = "NAME")]
        name: String,
        /// One item of the custom data kind NAME, instead of all of its items
        #[arg(value_name = "ID")]
        id: Option<String>,
        /// Program to edit with; it gets the file's path behind its own arguments
        #[arg(long, env = "EGCTL_EDITOR", hide_env_values = true, default_value = "vi", value_name = "PROGRAM")]
        editor: String,
    },
    /// Delete objects, members, custom data kinds and custom data
    #[command(
        after_help = "Examples:\n  ctl delete pipeline demo-0 demo-1\n  ctl delete hs --all\n  ctl delete customdata KIND ID"
    )]
    Delete {
        /// A kind, its alias or the start of either
        #[arg(value_name = "KIND", required_unless_present = "file")]
        kind: Option<String>,
        /// Name of the object
        #[arg(value_name = "NAME", required_unless_present_any = ["file", "all"])]
        names: Vec<String>,
        /// Delete all of KIND
        #[arg(long, conflicts_with = "file")]
        all: bool,
        /// Delete what a file names; `-` reads standard input
        #[arg(short, long, value_name = "FILE", conflicts_with_all = ["kind", "names"])]
        file: Option<String>,
    },
    /// List the stored versions of an object
    #[command(after_help = "Example:\n  ctl history pipeline demo-0")]
    History {
        /// A kind, its alias or the start of either
        #[arg(value_name = "KIND")]
        kind: String,
        /// Name of the object
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        show: Show,
    },
    /// Bring an earlier version of an object back, as a new version
    #[command(after_help = "Example:\n  ctl rollback pipeline demo-0 --to 3")]
    Rollback {
        /// A kind, its alias or the start of either
        #[arg(value_name = "KIND")]
        kind: String,
        /// Name of the object
        #[arg(value_name = "NAME")]
        name: String,
        /// Number of the version, as `history` lists it [default: the one before the newest]
        #[arg(long, value_name = "VERSION")]
        to: Option<u64>,
    },
    /// Explain the fields of a kind of object or filter
    #[command(after_help = "Examples:\n  ctl explain HTTPServer\n  ctl explain RateLimiter.policies.timeoutDuration")]
    Explain {
        /// A kind, and behind it the path of a field; lists need no index
        #[arg(value_name = "KIND[.PATH]")]
        path: String,
        #[command(flatten)]
        show: Show,
    },
    /// List the kinds that the node has
    #[command(after_help = "Example:\n  ctl api-resources")]
    ApiResources {
        #[command(flatten)]
        show: Show,
    },
    /// List the routes of the admin API
    #[command(after_help = "Example:\n  ctl apis")]
    Apis {
        #[command(flatten)]
        show: Show,
    },
    /// Ask whether the node is well
    #[command(after_help = "Example:\n  ctl health && echo fine")]
    Health,
    /// Start and stop profiles of the node
    #[command(after_help = "Example:\n  ctl profile start cpu /tmp/cpu.prof")]
    Profile {
        #[command(subcommand)]
        command: ProfileCommand,
    },
    /// Show the node's log, or change its level
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "Examples:\n  ctl logs --tail 50\n  ctl logs set-level debug"
    )]
    Logs {
        /// Lines from the end; -1 for all
        #[arg(long, default_value_t = 500, allow_negative_numbers = true, value_name = "LINES")]
        tail: i64,
        /// Go on with what comes
        #[arg(short, long)]
        follow: bool,
        #[command(subcommand)]
        command: Option<LogsCommand>,
    },
    /// Show the node's metrics in the text format of Prometheus
    #[command(after_help = "Example:\n  ctl metrics | grep http_")]
    Metrics,
    /// Explain the memory of the node
    #[command(after_help = "Example:\n  ctl memory")]
    Memory {
        #[command(flatten)]
        show: Show,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum CreateCommand {
    /// Create an HTTPServer and a pipeline for each of its rules
    #[command(alias = "http-proxy")]
    Httpproxy(HttpProxy),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProfileCommand {
    /// Where profiles are being written
    Info(Show),
    /// Start a profile
    Start {
        #[command(subcommand)]
        what: ProfileKind,
    },
    /// Stop all profiles
    Stop,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProfileKind {
    /// Where the processor's time goes
    Cpu {
        /// File on the node
        path: String,
    },
    /// Who holds memory
    Memory {
        /// File on the node
        path: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum LogsCommand {
    /// Show the level
    GetLevel,
    /// Change the level
    SetLevel {
        /// `debug` or `info`
        level: String,
    },
}
