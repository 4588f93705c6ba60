//! Limits of a hub, what a client asks for, and the texts it can get back.

use bytes::Bytes;
use tidegate_base::{Holder, Limits};

/// Charged for a watch besides the bytes of its keys: its record, its place in the stream's table, and its node in the
/// index, each at the worst fill of its table (test `a_watch_costs_what_is_charged`).
pub(super) const WATCH_BYTES: u64 = 208;
/// Charged for a stream: its record and the answers to requests that may wait in it.
pub(super) const STREAM_BYTES: u64 = 896;
/// Charged for an entry of a stream's queue besides its list of events.
pub(super) const ITEM_BYTES: u64 = 72;
/// Answers to requests that may wait in a stream before its next request must not be read.
pub(super) const ANSWERS_MAX: u32 = 8;
/// Largest frame that is made in one piece, and largest piece of another one.
pub(super) const CHUNK_BYTES: usize = 32 << 10;
/// Most watches that share one read.
pub(super) const SHARED_MAX: usize = 512;
/// Watches whose cursors lie this close together share one read, and an exact key this close to the present is read
/// through the events like a range.
pub(super) const NEAR_REVISIONS: i64 = 1000;
/// A watch that is at most this far behind is served from the ring without a read.
pub(super) const REPLAY_REVISIONS: i64 = 64;
/// Largest protobuf message: 2^31 − 1 bytes, less what the fields besides events take.
const MESSAGE_BYTES_MAX: u64 = i32::MAX as u64 - 1024;

pub(super) const NEGATIVE_START: &str = "etcdserver: mvcc: required revision has been compacted";
pub(super) const EMPTY_RANGE: &str = "mvcc: watcher range is empty";
pub(super) const DUPLICATE_ID: &str = "mvcc: duplicate watch ID provided on the WatchStream";
pub(super) const TOO_MANY: &str = "rpc error: code = ResourceExhausted desc = etcdserver: too many requests";

/// Limits of one hub. All are bytes but the number of jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub cluster_id: u64,
    pub member_id: u64,
    /// Entries waiting in one stream.
    pub queue_bytes: u64,
    /// Recent revisions kept for streams that are not yet served.
    pub ring_bytes: u64,
    /// Reads at once; the hub leases `jobs_max × job_bytes` for as long as it lives, so that they always go on.
    pub jobs_max: usize,
    pub job_bytes: usize,
    /// Largest answer to a watch that allows fragments.
    pub fragment_bytes: u64,
    /// Largest answer to a watch that does not.
    pub message_bytes: u64,
    /// Room in [`Holder::Watches`] that new watches leave to queues and frames: beyond it a create is refused.
    pub keep_free: u64,
}

impl Config {
    /// Shares the floor of [`Holder::Watches`] among `threads` hubs: an eighth each for recent revisions and for reads,
    /// a quarter free of watches for queues and frames. `request_bytes_max` is the largest request a client may send.
    pub fn new(limits: &Limits, threads: usize, cluster_id: u64, member_id: u64, request_bytes_max: u64) -> Self {
        let floor = limits.floor(Holder::Watches);
        let share = floor / 8 / (threads.max(1) as u64);
        let jobs_max = 4;
        let job_bytes = usize::try_from(share / 4).unwrap_or(usize::MAX).clamp(CHUNK_BYTES, 256 << 10);
        Self {
            cluster_id,
            member_id,
            queue_bytes: (256 << 10).min(floor / 64),
            ring_bytes: share,
            jobs_max,
            job_bytes,
            fragment_bytes: request_bytes_max.saturating_add(512 << 10).min(MESSAGE_BYTES_MAX),
            message_bytes: MESSAGE_BYTES_MAX,
            keep_free: floor / 4,
        }
    }

    /// Watches of keys of `key_bytes` bytes that the floor of [`Holder::Watches`] admits; more borrow from the pool.
    pub fn watches_admitted(limits: &Limits, key_bytes: u64) -> u64 {
        // Half of the floor: a quarter is kept free, an eighth each for recent revisions and for reads.
        limits.floor(Holder::Watches) / 2 / (WATCH_BYTES + key_bytes)
    }
}

/// A create request, its fields as they came.
#[derive(Debug, Clone, Default)]
pub struct CreateSpec {
    pub key: Bytes,
    pub range_end: Bytes,
    pub start_revision: i64,
    /// Filter NOPUT.
    pub no_put: bool,
    /// Filter NODELETE.
    pub no_delete: bool,
    pub prev_kv: bool,
    pub progress_notify: bool,
    pub fragment: bool,
    /// 0: the hub chooses.
    pub watch_id: i64,
}
