//! Settings of one member.

use std::{path::PathBuf, time::Duration};

use tidegate_base::{ByteSize, Limits};

use crate::memory::AllocatorStats;

#[derive(Debug, Clone)]
pub struct Config {
    pub name: String,
    pub data_dir: PathBuf,
    pub member_id: u64,
    pub cluster_id: u64,
    pub peer_urls: Vec<String>,
    pub client_urls: Vec<String>,
    pub heartbeat: Duration,
    pub election_ticks: usize,
    /// Most bytes of a request.
    pub request_bytes_max: u64,
    pub txn_ops_max: usize,
    /// Shown; not enforced yet.
    pub quota_bytes: i64,
    pub progress_every: Duration,
    /// Bytes of log kept on disk beyond what a restart needs.
    pub log_retention: ByteSize,
    /// How long an answer may keep the history that it reads: then its stream is reset.
    pub pin_max: Duration,
    pub limits: Limits,
    /// What the program's allocator says, if it says anything.
    pub allocator: Option<fn() -> AllocatorStats>,
}

impl Config {
    /// What [`Config::pin_max`] should be.
    pub const PIN_MAX: Duration = Duration::from_secs(600);

    /// Seconds below which no lease is granted: one and a half election timeouts, rounded up.
    pub fn lease_ttl_least(&self) -> i64 {
        let election = self.heartbeat * u32::try_from(self.election_ticks).unwrap_or(u32::MAX);
        let least = (election * 3 / 2).as_millis().div_ceil(1000);
        i64::try_from(least).unwrap_or(i64::MAX).max(1)
    }

    /// Bytes that a message may have on the wire: as etcd's limit, half a MiB above the request's.
    pub fn message_bytes_max(&self) -> usize {
        usize::try_from(self.request_bytes_max).unwrap_or(usize::MAX).saturating_add(512 << 10)
    }
}
