//! The flags: etcd's, with the type and default that each has there, and our own.

use super::value::Kind::{
    self, Bool, Cors, Duration, Gates, Int, Int64, OneOf, Text, Texts, Uint, Uint32, Uint64, Urls,
};

/// What giving the flag does here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Effect {
    /// It works.
    Works,
    /// Read, checked and shown; what it governs in etcd does not exist here, or has no such knob.
    NoMeaning,
    /// Read, checked and shown; enforced in a later version.
    Later,
    /// What it asks for is missing: starting without it would be wrong, so another value than the default is refused.
    Missing,
}

pub(in crate::store) struct Flag {
    pub(in crate::store) name: &'static str,
    pub(in crate::store) kind: Kind,
    pub(in crate::store) default: &'static str,
    pub(in crate::store) effect: Effect,
}

const fn flag(name: &'static str, kind: Kind, default: &'static str, effect: Effect) -> Flag {
    Flag { name, kind, default, effect }
}

use Effect::{Later, Missing, NoMeaning, Works};

/// Default of `--initial-cluster`: whether it was left alone decides what a name of its own makes of it.
pub(in crate::store) const INITIAL_CLUSTER: &str = "default=http://localhost:2380";

pub(in crate::store) static FLAGS: &[Flag] = &[
    flag("name", Text, "default", Works),
    flag("data-dir", Text, "", Works),
    flag("listen-client-urls", Urls, "http://localhost:2379", Works),
    flag("listen-client-http-urls", Urls, "", Works),
    flag("listen-peer-urls", Urls, "http://localhost:2380", Works),
    flag("listen-metrics-urls", Urls, "", Works),
    flag("advertise-client-urls", Urls, "http://localhost:2379", Works),
    flag("initial-advertise-peer-urls", Urls, "http://localhost:2380", Works),
    flag("initial-cluster", Text, INITIAL_CLUSTER, Works),
    flag("initial-cluster-state", OneOf(&["new", "existing"]), "new", Works),
    flag("initial-cluster-token", Text, "etcd-cluster", Works),
    flag("config-file", Text, "", Works),
    flag("max-request-bytes", Uint, "1572864", Works),
    flag("max-txn-ops", Uint, "128", Works),
    flag("heartbeat-interval", Uint, "100", Works),
    flag("election-timeout", Uint, "1000", Works),
    flag("log-level", Text, "info", Works),
    flag("log-outputs", Texts, "default", Works),
    flag("log-format", Text, "json", Works),
    flag("logger", Text, "zap", Works),
    flag("watch-progress-notify-interval", Duration, "10m", Works),
    flag("grpc-keepalive-interval", Duration, "2h", Works),
    flag("grpc-keepalive-timeout", Duration, "20s", Works),
    // Ours.
    flag("memory-budget", Text, "256MiB", Works),
    flag("log-retention-bytes", Text, "512MiB", Works),
    // Accepted and shown; enforced later.
    flag("quota-backend-bytes", Int64, "0", Later),
    flag("auto-compaction-mode", Text, "periodic", Later),
    flag("auto-compaction-retention", Text, "0", Later),
    flag("max-concurrent-streams", Uint32, "4294967295", Later),
    flag("warning-apply-duration", Duration, "100ms", Later),
    flag("warning-unary-request-duration", Duration, "300ms", Later),
    flag("grpc-keepalive-min-time", Duration, "5s", Later),
    flag("strict-reconfig-check", Bool, "true", Later),
    flag("max-learners", Int, "1", Later),
    flag("corrupt-check-time", Duration, "0s", Later),
    flag("compact-hash-check-time", Duration, "1m", Later),
    flag("metrics", Text, "basic", Later),
    flag("feature-gates", Gates, "", Later),
    flag("auth-token", Text, "simple", Later),
    flag("auth-token-ttl", Uint, "300", Later),
    flag("bcrypt-cost", Uint, "10", Later),
    flag("enable-grpc-gateway", Bool, "true", Later),
    flag("cors", Cors, "*", Later),
    flag("host-whitelist", Texts, "*", Later),
    flag("enable-log-rotation", Bool, "false", Later),
    flag(
        "log-rotation-config-json",
        Text,
        "{\"maxsize\": 100, \"maxage\": 0, \"maxbackups\": 0, \"localtime\": false, \"compress\": false}",
        Later,
    ),
    flag("initial-election-tick-advance", Bool, "true", Later),
    // The log is kept by bytes, pre-vote is always on, and there is no bbolt.
    flag("snapshot-count", Uint64, "10000", NoMeaning),
    flag("snapshot-catchup-entries", Uint64, "5000", NoMeaning),
    flag("max-wals", Uint, "5", NoMeaning),
    flag("max-snapshots", Uint, "5", NoMeaning),
    flag("v2-deprecation", OneOf(V2), "write-only", NoMeaning),
    flag("pre-vote", Bool, "true", NoMeaning),
    flag("compaction-batch-limit", Int, "1000", NoMeaning),
    flag("compaction-sleep-interval", Duration, "10ms", NoMeaning),
    flag("backend-batch-interval", Duration, "0s", NoMeaning),
    flag("backend-batch-limit", Int, "0", NoMeaning),
    flag("backend-bbolt-freelist-type", Text, "map", NoMeaning),
    flag("raft-read-timeout", Duration, "5s", NoMeaning),
    flag("raft-write-timeout", Duration, "5s", NoMeaning),
    flag("memory-mlock", Bool, "false", NoMeaning),
    flag("bootstrap-defrag-threshold-megabytes", Uint, "0", NoMeaning),
    flag("downgrade-check-time", Duration, "5s", NoMeaning),
    flag("enable-pprof", Bool, "false", NoMeaning),
    flag("socket-reuse-port", Bool, "false", NoMeaning),
    flag("socket-reuse-address", Bool, "false", NoMeaning),
    flag("self-signed-cert-validity", Uint, "1", NoMeaning),
    flag("discovery-fallback", OneOf(&["exit", "proxy"]), "exit", NoMeaning),
    flag("tls-min-version", Text, "TLS1.2", NoMeaning),
    flag("tls-max-version", Text, "", NoMeaning),
    flag("discovery-dial-timeout", Duration, "2s", NoMeaning),
    flag("discovery-request-timeout", Duration, "5s", NoMeaning),
    flag("discovery-keepalive-time", Duration, "2s", NoMeaning),
    flag("discovery-keepalive-timeout", Duration, "6s", NoMeaning),
    flag("discovery-insecure-transport", Bool, "true", NoMeaning),
    flag("discovery-insecure-skip-tls-verify", Bool, "false", NoMeaning),
    flag("discovery-cert", Text, "", NoMeaning),
    flag("discovery-key", Text, "", NoMeaning),
    flag("discovery-cacert", Text, "", NoMeaning),
    flag("discovery-user", Text, "", NoMeaning),
    flag("discovery-password", Text, "", NoMeaning),
    flag("distributed-tracing-address", Text, "localhost:4317", NoMeaning),
    flag("distributed-tracing-service-name", Text, "etcd", NoMeaning),
    flag("distributed-tracing-instance-id", Text, "", NoMeaning),
    flag("distributed-tracing-sampling-rate", Int, "0", NoMeaning),
    // Starting as if these were not given would be wrong.
    flag("wal-dir", Text, "", Missing),
    flag("cert-file", Text, "", Missing),
    flag("key-file", Text, "", Missing),
    flag("client-cert-auth", Bool, "false", Missing),
    flag("trusted-ca-file", Text, "", Missing),
    flag("auto-tls", Bool, "false", Missing),
    flag("client-cert-file", Text, "", Missing),
    flag("client-key-file", Text, "", Missing),
    flag("client-crl-file", Text, "", Missing),
    flag("client-cert-allowed-hostname", Texts, "", Missing),
    flag("peer-cert-file", Text, "", Missing),
    flag("peer-key-file", Text, "", Missing),
    flag("peer-client-cert-auth", Bool, "false", Missing),
    flag("peer-trusted-ca-file", Text, "", Missing),
    flag("peer-auto-tls", Bool, "false", Missing),
    flag("peer-client-cert-file", Text, "", Missing),
    flag("peer-client-key-file", Text, "", Missing),
    flag("peer-cert-allowed-cn", Texts, "", Missing),
    flag("peer-cert-allowed-hostname", Texts, "", Missing),
    flag("peer-crl-file", Text, "", Missing),
    flag("peer-skip-client-san-verification", Bool, "false", Missing),
    flag("cipher-suites", Texts, "", Missing),
    flag("force-new-cluster", Bool, "false", Missing),
    flag("discovery-srv", Text, "", Missing),
    flag("discovery-srv-name", Text, "", Missing),
    flag("discovery-endpoints", Texts, "", Missing),
    flag("discovery-token", Text, "", Missing),
    flag("unsafe-no-fsync", Bool, "false", Missing),
    flag("enable-distributed-tracing", Bool, "false", Missing),
];

const V2: &[&str] = &["write-only", "write-only-skip-check", "write-only-drop-data", "gone"];

/// Accepted for old launchers, without effect and without a word behind them.
pub(super) const IGNORED: &[&str] = &[
    "cluster-active-size",
    "cluster-remove-delay",
    "cluster-sync-interval",
    "config",
    "force",
    "max-result-buffer",
    "max-retry-attempts",
    "peer-heartbeat-interval",
    "peer-election-timeout",
    "retry-interval",
    "snapshot",
    "test.coverprofile",
    "test.outputdir",
    "v",
    "vv",
];

/// Flags of etcd 3.5 and 3.6 that became feature gates.
pub(super) const GATES: &[(&str, &str)] = &[
    ("experimental-initial-corrupt-check", "InitialCorruptCheck"),
    ("experimental-compact-hash-check-enabled", "CompactHashCheck"),
    ("experimental-enable-lease-checkpoint", "LeaseCheckpoint"),
    ("experimental-enable-lease-checkpoint-persist", "LeaseCheckpointPersist"),
    ("experimental-stop-grpc-service-on-defrag", "StopGRPCServiceOnDefrag"),
    ("experimental-txn-mode-write-with-shared-buffer", "TxnModeWriteWithSharedBuffer"),
];

pub(in crate::store) fn index(name: &str) -> Option<usize> {
    FLAGS.iter().position(|flag| flag.name == name)
}
