//! What is tried on both.

use crate::start::Start;

fn each(cases: &[&[&str]]) -> Vec<Start> {
    cases.iter().map(|arguments| Start::new(arguments)).collect()
}

pub(crate) fn unreadable() -> Vec<Start> {
    each(&[
        &["--bogus"],
        &["-bogus=1", "word"],
        &["--name"],
        &["---name=x"],
        &["-=x"],
        &["--max-txn-ops=x"],
        &["--max-txn-ops=-1"],
        &["--max-txn-ops=99999999999999999999"],
        &["--quota-backend-bytes=9223372036854775808"],
        &["--max-concurrent-streams=x"],
        &["--max-concurrent-streams=4294967296"],
        &["--pre-vote=maybe"],
        &["--version=maybe"],
        &["--grpc-keepalive-timeout=5"],
        &["--compaction-batch-limit=1.5"],
        &["--initial-cluster-state=bogus"],
        &["--listen-client-urls=bogus"],
        &["--listen-peer-urls=http://127.0.0.1"],
        &["--listen-peer-urls=http://127.0.0.1:1/path"],
        &["--advertise-client-urls=http://a:1,ftp://b:2"],
        &["--cors=foo"],
        &["--feature-gates=Bogus=true"],
        &["--feature-gates=AllBeta"],
        &["--feature-gates=AllBeta=perhaps"],
        &["--proxy=on"],
        &["--enable-v2"],
        &["--discovery=http://x"],
        &["--name=a", "--name"],
    ])
}

pub(crate) fn refused() -> Vec<Start> {
    each(&[
        &["word"],
        &["--pre-vote", "false"],
        &["--", "x"],
        &["--version", "word"],
        &["word", "--bogus"],
        &["--heartbeat-interval=0"],
        &["--election-timeout=0"],
        &["--election-timeout=100"],
        &["--election-timeout=60000"],
        &["--auto-compaction-mode=x"],
        &["--auto-compaction-mode="],
        &["--auto-compaction-retention=xx"],
        &["--logger=foo"],
        &["--log-format=xml"],
        &["--log-outputs=default,stdout"],
        &["--log-outputs=/nonexistent/x"],
        &["--listen-client-urls=http://127.0.0.1:1"],
        &["--listen-client-urls=http://foo.example:1", "--advertise-client-urls=http://a:1"],
        &["--listen-metrics-urls=http://foo.example:1"],
        &["--advertise-client-urls=http://:1"],
        &["--initial-advertise-peer-urls=http://:1"],
        &["--initial-advertise-peer-urls=http://127.0.0.1:5"],
        &["--discovery-fallback=proxy"],
        &["--discovery-token=x"],
        &["--initial-cluster=default=http://localhost:2380", "--discovery-srv=example.org"],
        &["--compact-hash-check-time=0"],
        &["--tls-min-version=TLS1.9"],
        &["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"],
        &["--tls-min-version=TLS1.3", "--cipher-suites=x"],
        &["--feature-gates=LeaseCheckpointPersist=true"],
        &["--auth-token=foo"],
        &["--name=x", "--initial-cluster=y=http://localhost:2380"],
        &["--initial-cluster=a=http://127.0.0.1:1"],
        &["--initial-cluster=bogus"],
        &["--initial-cluster=default=http://127.0.0.1:1"],
        &["--config-file=/nonexistent/config"],
    ])
}

pub(crate) fn elsewhere() -> Vec<Start> {
    let plain = || Start::new(&[]);
    let mut cases = vec![
        Start::new(&["--name=z"]).variable("ETCD_NAME", "q"),
        Start::new(&["--name=z"]).variable("ETCD_NAME", ""),
        Start::new(&["--name=z"]).variable("ETCD_NAME", "q").variable("ETCD_MAX_TXN_OPS", "x"),
        plain().variable("ETCD_MAX_TXN_OPS", "x"),
        plain().variable("ETCD_PRE_VOTE", "x"),
        plain().variable("ETCD_LISTEN_PEER_URLS", "bogus"),
        plain().variable("ETCD_HEARTBEAT_INTERVAL", "0"),
        plain().variable("ETCD_CONFIG_FILE", "/nonexistent/config"),
        Start::new(&["--config-file=config", "--bogus"]).file("name: a"),
    ];
    for text in [
        "heartbeat-interval: x",
        "heartbeat-interval: -5",
        "heartbeat-interval: 0",
        "Heartbeat-Interval: 0",
        "pre-vote: 5",
        "grpc-keepalive-interval: 5s",
        "log-outputs: stderr",
        "log-outputs: [default, stderr]",
        "listen-peer-urls: bogus",
        "listen-client-urls: [a]",
        "listen-metrics-urls: http://127.0.0.1",
        "feature-gates: X=true",
        "initial-cluster-state: foo",
        "[1, 2]",
        "word",
        "peer-transport-security:",
        "socket-options: 5",
        "client-transport-security: 5",
        "discovery-config: 5",
        "max-txn-ops: true",
        "max-concurrent-streams: 4294967296",
        "quota-backend-bytes: 1.5",
        "name: [x]",
        "auto-compaction-mode: x",
        "listen-peer-urls: http://foo.example:1",
    ] {
        // The command line does not count then, good or bad.
        cases.push(Start::new(&["--config-file=config", "--heartbeat-interval=3"]).file(text));
    }
    cases
}

const FILE: &str = "\
name: f
data-dir: data
listen-client-urls: http://127.0.0.1:{client}
advertise-client-urls: http://127.0.0.1:{client}
listen-peer-urls: http://127.0.0.1:{peer}
initial-advertise-peer-urls: http://127.0.0.1:{peer}
heartbeat-interval: 10
election-timeout: 60
watch-progress-notify-interval: 600000000000
client-transport-security:
  client-cert-auth: false
peer-transport-security: {auto-tls: false}
log-outputs: [stderr]
no-such-key: 1
";

pub(crate) fn running() -> Vec<Start> {
    let mut cases: Vec<Start> = each(&[
        &[],
        // Twice: the last one wins.
        &["--initial-cluster-token=a", "--initial-cluster-token=b", "--max-txn-ops=7", "--max-txn-ops=8"],
        &["--name", "n", "--data-dir", "d", "-snapshot-count", "10000", "--initial-cluster=n=http://127.0.0.1:{peer}"],
        // Launchers' favourites.
        &[
            "--initial-cluster-state=new",
            "--strict-reconfig-check",
            "--feature-gates=InitialCorruptCheck=true",
            "--watch-progress-notify-interval=5s",
            "--snapshot-catchup-entries=1000",
            "--compaction-batch-limit=100",
            "--quota-backend-bytes=8589934592",
            "--auto-compaction-retention=5m",
            "--max-concurrent-streams=100",
            "--log-outputs=stderr,stderr",
            "--logger=zap",
            "--metrics=anything",
            "--enable-pprof",
            "--snapshot",
        ],
        &["--watch-progress-notify-interval=1ms", "--max-learners=0", "--max-txn-ops=0x10", "--listen-metrics-urls="],
        &["--listen-metrics-urls=http://127.0.0.1:{other}", "--log-level=DEBUG", "--log-format=console"],
        &["--listen-client-http-urls=http://127.0.0.1:{other}", "--cors=http://a:1", "--host-whitelist=a,b"],
        &["--discovery-dial-timeout=1s", "--distributed-tracing-sampling-rate=5", "--v2-deprecation=gone"],
        &["--listen-client-urls=unix://{dir}/c", "--advertise-client-urls=unix://{dir}/c"],
        &[
            "--listen-client-urls=http://localhost:{client},unix://c",
            "--advertise-client-urls=http://localhost:{client}",
        ],
        &[
            "--listen-peer-urls=unix://localhost:{peer}",
            "--initial-advertise-peer-urls=unix://localhost:{peer}",
            "--initial-cluster=default=unix://localhost:{peer}",
        ],
    ])
    .into_iter()
    .map(Start::started)
    .collect();
    cases.push(
        Start::new(&[])
            .started()
            .variable("ETCD_NAME", "default")
            .variable("ETCD_MAX_TXN_OPS", "")
            .variable("ETCD_UNHEARD_OF", "1")
            .variable("ETCD_VERIFY", "all"),
    );
    cases.push(Start::new(&["--config-file=config", "--name=other"]).file(FILE).variable("ETCD_NAME", "another"));
    cases.push(Start::new(&[]).file(FILE).variable("ETCD_CONFIG_FILE", "config"));
    cases
}
