//! Flags and verbs. What stands here is the help text; `docs/ctl.md` is the manual.

mod local;
mod node;
mod old;
mod proxy;

use clap::{Args, Subcommand, ValueEnum};

pub(crate) use self::{
    local::{ConfigCommand, ConvertCommand, LocalCommand, NginxArgs},
    node::{CreateCommand, LogsCommand, NodeCommand, ProfileCommand, ProfileKind},
    old::{
        ApiCommand, CustomDataCommand, CustomDataKindCommand, DataFile, MemberCommand, ObjectCommand, ObjectStatus,
        OldCommand, OneName,
    },
    proxy::HttpProxy,
};

/// Looks after a node: its objects, its members and its memory.
///
/// Verbs may be shortened to what is not ambiguous: `ctl des hs demo`.
#[derive(Debug, Args)]
#[command(infer_subcommands = true, bin_name = "tidegate ctl")]
pub struct Ctl {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(flatten)]
    pub(crate) show: Show,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Heading of the flags that all verbs have.
const NODE: &str = "Node";

/// How the node is reached. Each may stand behind the verb, too.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Admin address of the node [default: that of the file of contexts, else 127.0.0.1:2381]
    #[arg(long, global = true, env = "TIDEGATE_SERVER", hide_env_values = true, help_heading = NODE, value_name = "HOST:PORT")]
    pub(crate) server: Option<String>,
    /// Speak https, whatever the address says
    #[arg(long, global = true, help_heading = NODE)]
    pub(crate) force_tls: bool,
    /// With https, take any certificate of the node
    #[arg(long, global = true, help_heading = NODE)]
    pub(crate) insecure_skip_verify: bool,
    /// File of contexts, as `ctl config` shows it [default: ~/.egctlrc]
    #[arg(long, global = true, env = "TIDEGATE_CTL_CONFIG", hide_env_values = true, help_heading = NODE, value_name = "FILE")]
    pub(crate) config: Option<String>,
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Show {
    /// Format of what is printed [default: the verb's own]
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<Output>,
}

impl Show {
    /// What stands behind the verb counts more than what stands before it.
    pub(crate) fn over(self, behind: Self) -> Output {
        behind.output.or(self.output).unwrap_or_default()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Output {
    /// A table with the columns of egctl, or sections
    #[default]
    Default,
    /// A table that says more, where there is more to say
    Table,
    /// YAML, a document for each object
    Yaml,
    /// JSON
    Json,
}

/// Which namespaces of traffic are looked at.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Namespaces {
    /// A namespace other than `default`
    #[arg(long, value_name = "NAMESPACE", conflicts_with = "all_namespaces")]
    pub(crate) namespace: Option<String>,
    /// Objects of all namespaces
    #[arg(long)]
    pub(crate) all_namespaces: bool,
}

/// Verbs, by what they need.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Node(NodeCommand),
    #[command(flatten)]
    Local(LocalCommand),
    #[command(flatten)]
    Old(OldCommand),
}
