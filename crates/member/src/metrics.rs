//! `/metrics`: our own account of memory, and the names that etcd's dashboards and alerts read.

use std::{fmt::Write as _, sync::atomic::Ordering};

use tidegate_engine::Engine;

use crate::{
    shared::Shared,
    version::{STORAGE_VERSION, VERSION},
};

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
    let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let consensus = &shared.consensus;
    let revision = |number: i64| u64::try_from(number).unwrap_or(0);
    let quota = if shared.config.quota_bytes == 0 { 2 << 30 } else { revision(shared.config.quota_bytes) };

    one("etcd_server_has_leader", "gauge", "Whether a leader is known.", "", u64::from(consensus.leader() != 0));
    one("etcd_server_is_leader", "gauge", "Whether this member leads.", "", u64::from(consensus.leads()));
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
    one("etcd_mvcc_put_total", "counter", "Put requests.", "", get(&counts.puts));
    one("etcd_mvcc_delete_total", "counter", "DeleteRange requests.", "", get(&counts.deletes));
    one("etcd_mvcc_txn_total", "counter", "Txn requests.", "", get(&counts.txns));
    one("etcd_mvcc_range_total", "counter", "Range requests.", "", get(&counts.ranges));
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
        get(&counts.fsyncs),
    );
    one("process_resident_memory_bytes", "gauge", "Resident memory.", "", process.rss);
    out
}
