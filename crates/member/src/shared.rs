//! What the threads of a member share.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use tidegate_api::Error;
use tidegate_base::{Budget, LogIndex};
use tidegate_engine::Engine;
use tidegate_kv::{Envelope, Reader};
use tidegate_raft::{Role, Status};
use tokio::sync::watch;

use crate::{
    config::Config,
    mailbox::{Inbox, Mailbox},
    memory::{AllocatorStats, MemoryReport},
    metrics::Counts,
    sketch::KeySketch,
    sorts::Sorts,
    threads::{RaftInput, Work},
};

/// Consensus as everybody else sees it: a moment old.
#[derive(Debug, Default)]
pub(crate) struct Consensus {
    term: AtomicU64,
    leader: AtomicU64,
    commit: AtomicU64,
    leads: AtomicBool,
    /// Reads need no round: see `Core::reads_alone`.
    reads_alone: AtomicBool,
    leases: AtomicUsize,
    leader_changes: AtomicU64,
}

impl Consensus {
    pub(crate) fn publish(&self, status: Status, reads_alone: bool, leases: usize) {
        self.term.store(status.term.0, Ordering::Relaxed);
        if self.leader.swap(status.leader, Ordering::Relaxed) != status.leader && status.leader != 0 {
            self.leader_changes.fetch_add(1, Ordering::Relaxed);
        }
        self.commit.store(status.commit.0, Ordering::Relaxed);
        self.leads.store(status.role == Role::Leader, Ordering::Relaxed);
        self.leases.store(leases, Ordering::Relaxed);
        self.reads_alone.store(reads_alone, Ordering::SeqCst);
    }

    pub(crate) fn term(&self) -> u64 {
        self.term.load(Ordering::Relaxed)
    }

    /// Id of the leader; 0 when there is none.
    pub(crate) fn leader(&self) -> u64 {
        self.leader.load(Ordering::Relaxed)
    }

    /// Leaders seen since the start.
    pub(crate) fn leader_changes(&self) -> u64 {
        self.leader_changes.load(Ordering::Relaxed)
    }

    pub(crate) fn leads(&self) -> bool {
        self.leads.load(Ordering::Relaxed)
    }

    pub(crate) fn commit(&self) -> LogIndex {
        LogIndex(self.commit.load(Ordering::Relaxed))
    }

    pub(crate) fn reads_alone(&self) -> bool {
        self.reads_alone.load(Ordering::SeqCst)
    }

    pub(crate) fn leases(&self) -> usize {
        self.leases.load(Ordering::Relaxed)
    }
}

pub(crate) struct Shared<E: Engine> {
    pub(crate) config: Config,
    pub(crate) budget: Budget,
    pub(crate) reader: Reader<E>,
    pub(crate) consensus: Consensus,
    pub(crate) counts: Counts,
    pub(crate) raft: Inbox<RaftInput>,
    /// One for each I/O thread.
    pub(crate) mailboxes: Vec<Mailbox>,
    pub(crate) work: Work,
    pub(crate) sorts: Sorts,
    pub(crate) costs: Mutex<KeySketch>,
    /// Watches of all threads: without any, apply encodes no events.
    pub(crate) watches: AtomicUsize,
    stopping: watch::Sender<bool>,
    /// History is physically gone up to this revision.
    pub(crate) swept: watch::Sender<i64>,
    next_request: AtomicU64,
    next_lease: AtomicU64,
}

impl<E: Engine> Shared<E> {
    pub(crate) fn new(
        config: Config,
        budget: Budget,
        reader: Reader<E>,
        io_threads: usize,
        work: Work,
        seed: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            budget,
            reader,
            consensus: Consensus::default(),
            counts: Counts::new(io_threads),
            raft: Inbox::new(),
            mailboxes: (0..io_threads).map(|_| Mailbox::new()).collect(),
            work,
            sorts: Sorts::default(),
            costs: Mutex::default(),
            watches: AtomicUsize::new(0),
            stopping: watch::Sender::new(false),
            swept: watch::Sender::new(0),
            next_request: AtomicU64::new(seed),
            next_lease: AtomicU64::new(seed),
        })
    }

    /// From now on nothing new is taken, and streams end.
    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Waits until the member stops.
    pub(crate) async fn stopped(&self) {
        // The sender lives in `self`: waiting cannot fail.
        drop(self.stopping.subscribe().wait_for(|stopping| *stopping).await);
    }

    /// An envelope with a request id of its own.
    pub(crate) fn envelope(&self, command: tidegate_kv::Command) -> Envelope {
        Envelope::new(command, self.next_request.fetch_add(1, Ordering::Relaxed))
    }

    /// A positive lease id. The counter starts at random and its bits are spread, so that ids of a member's earlier lives do
    /// not come back; an id that exists all the same is refused by apply and another is tried.
    pub(crate) fn lease_id(&self) -> i64 {
        let mut id = self.next_lease.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        id ^= id >> 31;
        (id & (i64::MAX as u64)).max(1).cast_signed()
    }

    /// A number without a pattern, to spread what would else happen at once.
    pub(crate) fn jitter(&self) -> u32 {
        u32::try_from(self.lease_id() & i64::from(u32::MAX)).expect("32 bits")
    }

    /// Room for the deadline of a new lease, to be held until its grant is applied and counted.
    pub(crate) fn room_for_lease(&self) -> Result<tidegate_base::Lease, Error> {
        let bytes = crate::core::Lessor::BYTES_PER_LEASE;
        self.budget.try_lease(tidegate_base::Holder::Leases, bytes).ok_or(Error::TooManyRequests)
    }

    pub(crate) fn memory(&self) -> MemoryReport {
        let allocator = self.config.allocator.map_or_else(AllocatorStats::default, |stats| stats());
        let costs = self.costs.lock().unwrap_or_else(PoisonError::into_inner).top(10);
        MemoryReport::new(&self.budget, self.reader.engine().usage(), allocator, costs)
    }
}
