//! Who waits for an answer: a place on an I/O thread.

use tidegate_api::Error;
use tidegate_kv::Outcome;

use crate::core::Millis;

/// A waiting call's place on its I/O thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) thread: u32,
    pub(crate) slot: u32,
}

/// What a call waited for.
#[derive(Debug)]
pub enum Reply {
    /// The entry that it proposed is applied.
    Applied(Box<Outcome>),
    /// The entry was not taken.
    Rejected(Error),
    /// Everything acknowledged before it asked is applied.
    ReadReady,
    /// The seconds that the lease lives from now; `None` for an unknown one.
    Renewed(Option<u64>),
    /// Granted and remaining seconds; `None` for an unknown or expired lease.
    Remaining(Option<(u64, u64)>),
    /// All leases with their deadlines, by id.
    Leases(Vec<(Millis, i64)>),
}

/// What an I/O thread is told, in the order in which it happened.
#[derive(Debug)]
pub(crate) enum Notice {
    Reply(Ticket, Reply),
    /// Events of a revision; the threads share them.
    Events(std::sync::Arc<tidegate_kv::watch::RevisionEvents>),
    /// History up to this revision is compacted.
    Compacted(i64),
    /// Bytes came back to the holder of watches.
    WatchRoom,
    /// A new term.
    Term(u64),
}
