//! The settings of a node: Easegress's, with the names and defaults that each has there, and our own.

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Bool,
    /// Commas between, or a list in the file.
    List,
    /// `k=v,k=v`, or a map in the file.
    Map,
    Number,
    /// Go syntax.
    Duration,
    /// `256MiB`
    Bytes,
}

/// What giving it does here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Works,
    /// Read, checked and shown: what it governs does not exist here, or has no such knob.
    NoMeaning,
    /// What it asks for is missing, so another value than the default is refused.
    Missing,
}

pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) default: &'static str,
    pub(super) effect: Effect,
    /// Whether it stands below `cluster` in the file.
    pub(super) in_cluster: bool,
    pub(super) help: &'static str,
}

const fn key(name: &'static str, kind: Kind, default: &'static str, effect: Effect, help: &'static str) -> Key {
    Key { name, kind, default, effect, in_cluster: false, help }
}

const fn cluster(name: &'static str, kind: Kind, default: &'static str, effect: Effect, help: &'static str) -> Key {
    Key { name, kind, default, effect, in_cluster: true, help }
}

use Effect::{Missing, NoMeaning, Works};
use Kind::{Bool, Bytes, Duration, List, Map, Number, Text};

pub(super) static KEYS: &[Key] = &[
    key("name", Text, "eg-default-name", Works, "Name of the node; empty: made of host name and admin address"),
    key("labels", Map, "", Works, "Labels of the node, k=v,k=v"),
    key("cluster-name", Text, "eg-cluster-default-name", Works, "Name of the cluster"),
    key("cluster-role", Text, "primary", Works, "primary; secondary is not implemented yet"),
    key("cluster-request-timeout", Duration, "10s", NoMeaning, "Patience with the store"),
    cluster("listen-client-urls", List, "http://localhost:2379", Works, "URLs for etcd clients"),
    cluster("listen-peer-urls", List, "http://localhost:2380", Works, "URLs for peers"),
    cluster("advertise-client-urls", List, "http://localhost:2379", Works, "URLs that etcd clients are told"),
    cluster("initial-advertise-peer-urls", List, "http://localhost:2380", Works, "URLs that peers are told"),
    cluster("initial-cluster", Map, "", Works, "Members at the start, name=url,name=url; only one yet"),
    cluster("state-flag", Text, "new", Works, "new; existing is not implemented yet"),
    cluster(
        "primary-listen-peer-urls",
        List,
        "http://localhost:2380",
        Missing,
        "Peer URLs of the primaries, for a secondary",
    ),
    cluster("max-call-send-msg-size", Number, "10485760", NoMeaning, "Most bytes of a call to the store"),
    key("use-standalone-etcd", Bool, "false", Missing, "Use a store that runs elsewhere"),
    key("force-new-cluster", Bool, "false", Missing, "Start a cluster of one from the data of several"),
    key("api-addr", Text, "localhost:2381", Works, "Address of the admin API"),
    key("api-token-file", Text, "", Works, "File with the token that the admin API asks for"),
    key("basic-auth", Map, "", Works, "Users and passwords of the admin API; best in the file"),
    key("tls", Bool, "false", Works, "Serve the admin API over TLS"),
    key("cert-file", Text, "", Works, "Certificate of the admin API, PEM"),
    key("key-file", Text, "", Works, "Its private key, PEM"),
    key("client-ca-file", Text, "", Works, "CA of the clients of the admin API, who must have a certificate then"),
    key("debug", Bool, "false", Works, "As --log-level=debug"),
    key(
        "disable-io-uring",
        Bool,
        "false",
        Works,
        "A system call for each read and write, also where io_uring is allowed",
    ),
    key("disable-access-log", Bool, "false", Works, "Log no requests"),
    key("initial-object-config-files", List, "", Works, "Objects to create at the start where they do not exist"),
    key("objects-dump-interval", Text, "", NoMeaning, "Objects are kept on disk at each change"),
    key("home-dir", Text, "./", Works, "Directory that the others are relative to"),
    key("data-dir", Text, "data", Works, "Directory of the node's data"),
    key("wal-dir", Text, "", Missing, "Directory of the log"),
    key("log-dir", Text, "", Works, "Directory of the log files; empty: standard output and error"),
    key("cpu-profile-file", Text, "", Missing, "File for a profile of the CPU"),
    key("memory-profile-file", Text, "", Missing, "File for a profile of the memory"),
    key("status-update-max-batch-size", Number, "20", NoMeaning, "Statuses are not written to the store"),
    key("memory-budget", Bytes, "256MiB", Works, "Bound of the process's memory"),
    key("log-level", Text, "info", Works, "debug, info, warn or error"),
    key("log-format", Text, "json", Works, "json or console"),
];

/// Other names of flags.
pub(super) const ALIASES: [(&str, &str); 1] = [("disable-access", "disable-access-log")];

pub(super) fn find(name: &str) -> Option<&'static Key> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name);
    KEYS.iter().find(|key| key.name == name)
}
