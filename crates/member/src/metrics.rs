//! `/metrics`: our own account of memory, and the names that etcd's dashboards and alerts read.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tidegate_api::{Kind, Method};
use tidegate_engine::Engine;
use tidegate_http::grpc::Code;
use tidegate_kv::{Answer, LeaseChange, OpAnswer, Outcome, TxnAnswer};

use crate::{
    shared::Shared,
    version::{STORAGE_VERSION, VERSION},
};

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    puts: AtomicU64,
    deletes: AtomicU64,
    txns: AtomicU64,
    ranges: AtomicU64,
    lease_granted: AtomicU64,
    lease_revoked: AtomicU64,
    pub(crate) proposals_failed: AtomicU64,
    pub(crate) proposals_pending: AtomicU64,
    pub(crate) fsyncs: Histogram,
    pub(crate) commits: Histogram,
    /// One for each I/O thread.
    pub(crate) handled: Vec<Arc<Handled>>,
}

/// Calls that ended, by method and code. Each thread has its own, so that none waits for another's cache line.
#[derive(Debug)]
pub(crate) struct Handled(Box<[[AtomicU64; Code::COUNT]]>);

impl Default for Handled {
    fn default() -> Self {
        Self(Method::ALL.iter().map(|_| Default::default()).collect())
    }
}

impl Handled {
    pub(crate) fn count(&self, method: Method, code: Code) {
        self.0[method as usize][usize::from(code.number())].fetch_add(1, Ordering::Relaxed);
    }

    fn write(threads: &[Arc<Self>], out: &mut String) {
        let name = "grpc_server_handled_total";
        let mut lines = format!("# HELP {name} Calls that ended.\n# TYPE {name} counter\n");
        for method in Method::ALL {
            let kind = match method.kind() {
                Kind::Unary => "unary",
                Kind::ServerStream => "server_stream",
                Kind::Bidi => "bidi_stream",
            };
            for code in Code::ALL {
                let of =
                    |thread: &Arc<Self>| thread.0[*method as usize][usize::from(code.number())].load(Ordering::Relaxed);
                let count: u64 = threads.iter().map(of).sum();
                // A series that never counted anything is left out, but for the one that says that the method is there.
                if count > 0 || (code == Code::Ok && method.implemented()) {
                    writeln!(
                        lines,
                        "{name}{{grpc_code=\"{}\",grpc_method=\"{}\",grpc_service=\"{}\",grpc_type=\"{kind}\"}} {count}",
                        code.name(),
                        method.rpc(),
                        method.service(),
                    )
                    .expect("a string takes everything");
                }
            }
        }
        out.push_str(&lines);
    }
}

/// Operations of one request, as etcd counts them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Operations {
    puts: u64,
    deletes: u64,
    ranges: u64,
}

impl Operations {
    fn of(answer: &Answer) -> Self {
        let mut operations = Self::default();
        match answer {
            Answer::Put(put) => operations.put(put.previous.is_some()),
            Answer::Delete(delete) => operations.delete(delete.previous.is_some()),
            Answer::Txn(txn) => operations.txn(txn),
            Answer::Compaction
            | Answer::LeaseGrant { .. }
            | Answer::LeaseRevoke
            | Answer::Alarm(_)
            | Answer::Member(_)
            | Answer::Empty => {}
        }
        operations
    }

    /// What is told of the state before is a range of its own.
    fn put(&mut self, previous: bool) {
        self.puts += 1;
        self.ranges += u64::from(previous);
    }

    fn delete(&mut self, previous: bool) {
        self.deletes += 1;
        self.ranges += u64::from(previous);
    }

    fn txn(&mut self, txn: &TxnAnswer) {
        for response in &txn.responses {
            match response {
                OpAnswer::Range(_) => self.ranges += 1,
                OpAnswer::Put(put) => self.put(put.previous.is_some()),
                OpAnswer::Delete(delete) => self.delete(delete.previous.is_some()),
                OpAnswer::Txn(inner) => self.txn(inner),
            }
        }
    }
}

fn add(counter: &AtomicU64, count: u64) {
    if count > 0 {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

impl Counts {
    pub(crate) fn new(io_threads: usize) -> Self {
        Self { handled: (0..io_threads).map(|_| Arc::default()).collect(), ..Self::default() }
    }

    /// An entry was applied. What was refused is no operation.
    pub(crate) fn applied(&self, outcome: &Outcome) {
        let Ok(answer) = &outcome.result else { return };
        self.add(Operations::of(answer));
        for lease in &outcome.leases {
            match lease {
                LeaseChange::Granted { .. } => add(&self.lease_granted, 1),
                LeaseChange::Revoked { .. } => add(&self.lease_revoked, 1),
            }
        }
    }

    /// A request has read `ranges` ranges, compares included.
    pub(crate) fn read(&self, ranges: usize) {
        self.add(Operations { ranges: ranges as u64, ..Operations::default() });
    }

    fn add(&self, operations: Operations) {
        let Operations { puts, deletes, ranges } = operations;
        add(&self.puts, puts);
        add(&self.deletes, deletes);
        add(&self.ranges, ranges);
        // Only what has several operations is a transaction to etcd.
        add(&self.txns, u64::from(puts + deletes + ranges > 1));
    }
}

/// How often something took how long, in etcd's buckets: a millisecond, and twice as much each.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; Self::BUCKETS + 1],
    nanos: AtomicU64,
}

impl Histogram {
    const BUCKETS: usize = 14;

    pub(crate) fn observe(&self, took: Duration) {
        let fits = |bucket: &usize| took <= Duration::from_millis(1 << bucket);
        let bucket = (0..Self::BUCKETS).find(fits).unwrap_or(Self::BUCKETS);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    fn write(&self, out: &mut String, name: &str, help: &str) {
        let mut lines = format!("# HELP {name} {help}\n# TYPE {name} histogram\n");
        let mut count = 0;
        for (at, bucket) in self.buckets.iter().enumerate() {
            count += bucket.load(Ordering::Relaxed);
            let limit = if at == Self::BUCKETS { "+Inf".to_owned() } else { ((1u64 << at) as f64 / 1e3).to_string() };
            writeln!(lines, "{name}_bucket{{le=\"{limit}\"}} {count}").expect("a string takes everything");
        }
        let seconds = Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64();
        writeln!(lines, "{name}_sum {seconds}\n{name}_count {count}").expect("a string takes everything");
        out.push_str(&lines);
    }
}

pub(crate) fn text<E: Engine>(shared: &Shared<E>) -> String {
    let mut out = String::with_capacity(8 << 10);
    shared.memory().write_metrics(&mut out);
    let mut one = |name: &str, kind: &str, help: &str, labels: &str, value: u64| {
        writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{labels} {value}")
            .expect("a string takes everything");
    };
    let usage = shared.reader.engine().usage();
    let process = crate::memory::ProcessMemory::read();
    let counts = &shared.counts;
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let consensus = &shared.consensus;
    let revision = |number: i64| u64::try_from(number).unwrap_or(0);
    let quota = if shared.config.quota_bytes == 0 { 2 << 30 } else { revision(shared.config.quota_bytes) };

    one("etcd_server_has_leader", "gauge", "Whether a leader is known.", "", u64::from(consensus.leader() != 0));
    one("etcd_server_is_leader", "gauge", "Whether this member leads.", "", u64::from(consensus.leads()));
    let changes = consensus.leader_changes();
    one("etcd_server_leader_changes_seen_total", "counter", "Leaders seen since the start.", "", changes);
    one("etcd_server_is_learner", "gauge", "Whether this member is a learner.", "", 0);
    one("etcd_server_proposals_committed_total", "gauge", "Last committed entry.", "", consensus.commit().0);
    one("etcd_server_proposals_applied_total", "gauge", "Last applied entry.", "", shared.reader.applied().0);
    one("etcd_server_proposals_pending", "gauge", "Proposals that wait for room.", "", get(&counts.proposals_pending));
    one("etcd_server_proposals_failed_total", "counter", "Proposals refused.", "", get(&counts.proposals_failed));
    one("etcd_server_quota_backend_bytes", "gauge", "Quota of the store.", "", quota);
    let version = format!("{{server_version=\"{VERSION}\"}}");
    one("etcd_server_version", "gauge", "The etcd version whose API this is.", &version, 1);
    let cluster = format!("{{cluster_version=\"{}\"}}", STORAGE_VERSION.trim_end_matches(".0"));
    one("etcd_cluster_version", "gauge", "Version of the cluster.", &cluster, 1);
    one("etcd_mvcc_db_total_size_in_bytes", "gauge", "Bytes of the store on disk.", "", usage.disk);
    one("etcd_mvcc_db_total_size_in_use_in_bytes", "gauge", "Bytes of the store in use.", "", usage.disk);
    one("etcd_mvcc_put_total", "counter", "Puts, those of transactions included.", "", get(&counts.puts));
    one(
        "etcd_mvcc_delete_total",
        "counter",
        "Deletions of a range, those of transactions included.",
        "",
        get(&counts.deletes),
    );
    one("etcd_mvcc_txn_total", "counter", "Requests of more than one operation.", "", get(&counts.txns));
    one(
        "etcd_mvcc_range_total",
        "counter",
        "Ranges read, those of transactions and compares included.",
        "",
        get(&counts.ranges),
    );
    let current = revision(shared.reader.visible());
    one("etcd_debugging_mvcc_current_revision", "gauge", "Revision of the store.", "", current);
    let compacted = revision(shared.reader.compacted());
    one("etcd_debugging_mvcc_compact_revision", "gauge", "Compacted revision.", "", compacted);
    one("etcd_debugging_lease_granted_total", "counter", "Leases granted.", "", get(&counts.lease_granted));
    one("etcd_debugging_lease_revoked_total", "counter", "Leases revoked.", "", get(&counts.lease_revoked));
    one(
        "tidegate_log_fsyncs_total",
        "counter",
        "Waits for the log's disk, each for a group of entries.",
        "",
        counts.fsyncs.count(),
    );
    one("process_resident_memory_bytes", "gauge", "Resident memory.", "", process.rss);
    let (fsync, commit) = ("etcd_disk_wal_fsync_duration_seconds", "etcd_disk_backend_commit_duration_seconds");
    counts.fsyncs.write(&mut out, fsync, "How long the log's disk took for a group of entries.");
    Handled::write(&counts.handled, &mut out);
    counts.commits.write(&mut out, commit, "How long the engine took for a batch.");
    out
}
