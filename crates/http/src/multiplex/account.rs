//! What one connection holds besides its streams' own leases.

use std::{
    cell::{Cell, RefCell},
    task::Waker,
};

use h2::server::Kept;
use tidegate_base::Lease;

use crate::tls::{TlsDetails, TlsInfo};

/// A connection without streams: task, `h2`'s fixed state, its tables, the socket's entry. As for gRPC, where it is measured.
pub(super) const CONNECTION_BYTES: u64 = 10 << 10;
/// Of which this is there for what `h2` keeps between turns.
const KEPT_FREE: u64 = 5 << 10;
/// Unread bytes of bodies up to which the window of the connection grows with them.
pub(super) const HELD_MAX: u64 = 1 << 20;
/// Unsent bytes of all answers together: enough to keep a connection busy.
const QUEUED_MAX: u64 = 512 << 10;
/// A stream that was reset and that `h2` remembers for a while.
const RESET_BYTES: u64 = 400;
/// The lease follows what is held in steps of this.
const STEP: u64 = 4 << 10;

/// The account of a connection, shared by its streams.
pub(super) struct Account {
    lease: RefCell<Lease>,
    /// What the connection has without streams.
    base: u64,
    /// What `h2` kept after the last turn.
    kept: Cell<u64>,
    /// Pulled and not read.
    held: Cell<u64>,
    /// Given to `h2` and not yet sent.
    queued: Cell<u64>,
    /// Given to `h2` since the driver looked.
    given: Cell<u64>,
    /// Something was sent since those who wait for room were woken.
    freed: Cell<bool>,
    /// Streams that wait for room for what they send, each once.
    waiting: RefCell<Vec<Waker>>,
    tls: Option<TlsDetails>,
}

impl Account {
    /// `lease` has [`CONNECTION_BYTES`], and what `tls` takes.
    pub(super) fn new(lease: Lease, tls: Option<TlsDetails>) -> Self {
        let (kept, held, queued, given) = (Cell::new(0), Cell::new(0), Cell::new(0), Cell::new(0));
        let (freed, waiting) = (Cell::new(false), RefCell::default());
        Self { base: lease.bytes(), lease: RefCell::new(lease), kept, held, queued, given, freed, waiting, tls }
    }

    pub(super) fn tls(&self) -> Option<TlsInfo<'_>> {
        self.tls.as_ref().map(TlsDetails::info)
    }

    pub(super) fn held(&self) -> u64 {
        self.held.get()
    }

    /// Charges bytes that were pulled; false when the budget has no room: who asks must let go of them.
    pub(super) fn hold(&self, bytes: usize) -> bool {
        self.held.set(self.held.get() + bytes as u64);
        self.cover()
    }

    pub(super) fn release(&self, bytes: usize) {
        self.held.set(self.held.get() - bytes as u64);
    }

    /// Charges bytes to be sent; false, and no change, when there is no room for them now.
    pub(super) fn queue(&self, bytes: usize) -> bool {
        let (before, bytes) = (self.queued.get(), bytes as u64);
        if before > 0 && before + bytes > QUEUED_MAX {
            return false;
        }
        self.queued.set(before + bytes);
        let paid = self.cover();
        if paid {
            self.given.set(self.given.get() + bytes);
        } else {
            self.queued.set(before);
        }
        paid
    }

    /// Bytes to be sent since the last call.
    pub(super) fn take_given(&self) -> u64 {
        self.given.take()
    }

    /// Whether bytes are on their way, whose end makes room.
    pub(super) fn is_sending(&self) -> bool {
        self.queued.get() > 0
    }

    pub(super) fn wait(&self, waker: &Waker) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }

    /// Bytes were sent, or dropped.
    pub(super) fn sent(&self, bytes: usize) {
        self.queued.set(self.queued.get() - bytes as u64);
        self.freed.set(self.freed.get() | (bytes > 0));
    }

    /// Follows what is held at the end of a turn, up and down, and lets those go on who wait for room. False when the
    /// budget has no room for what is there.
    pub(super) fn settle(&self, kept: Kept, streams: usize) -> bool {
        let others = kept.streams.saturating_sub(streams) as u64;
        self.kept.set(kept.bytes as u64 + others * RESET_BYTES);
        let wanted = self.wanted();
        let mut lease = self.lease.borrow_mut();
        if lease.bytes() > wanted {
            lease.shrink_to(wanted);
        }
        drop(lease);
        // Only what was sent makes room: who was woken for less would wait again at once.
        if self.queued.get() <= QUEUED_MAX / 2 && self.freed.take() {
            self.waiting.take().into_iter().for_each(Waker::wake);
        }
        self.cover()
    }

    fn wanted(&self) -> u64 {
        let more = self.kept.get().saturating_sub(KEPT_FREE) + self.held.get() + self.queued.get();
        self.base + more.next_multiple_of(STEP)
    }

    /// Grows the lease to what is held.
    fn cover(&self) -> bool {
        let mut lease = self.lease.borrow_mut();
        self.wanted().checked_sub(lease.bytes()).is_none_or(|more| more == 0 || lease.try_grow(more))
    }
}
