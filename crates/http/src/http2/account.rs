use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use h2::server::Kept;
use tidegate_base::Lease;

use crate::{
    admission::Party,
    conn::{CONNECTION_BYTES, Local, Overdrawing, Peer},
};

/// What the waiting calls of one connection may hold together.
const HELD_MAX: u64 = 2 << 20;
/// A connection without streams, buffers and tables: task, `h2`'s fixed state, the socket's entry. Measured with jemalloc
/// (`examples/echo.rs`): 4.1 KiB.
const BARE_BYTES: u64 = 4352;
/// A stream without its call's future: `h2`'s state, our two halves, its place among the calls. Measured: 0.8 KiB.
const EXCHANGE_BYTES: u64 = 1 << 10;
/// A stream that was reset and that `h2` remembers for a while.
const RESET_BYTES: u64 = 400;
/// The lease follows what is held in steps of this,
const STEP: u64 = 2 << 10;
/// and within a turn grows by this much: each time costs what other threads write too.
const GROWTH: u64 = 8 << 10;

/// One connection's account, shared by its calls.
///
/// ```text
///   bare │ tables, buffers (h2 says) │ streams, each with its call's future │ held: pulled, and under no call's lease
///   ─────┴──────────── up to CONNECTION_BYTES at no charge ─────────────────┴── the rest in steps
/// ```
/// Buffers that live within a turn only are not in it: a thread has one set of them, as it has a stack.
pub(crate) struct Conn {
    pub(crate) id: u64,
    pub(crate) peer: Peer,
    pub(crate) requests: Party,
    pub(crate) answers: Party,
    pub(crate) local: Rc<Local>,
    lease: RefCell<Lease>,
    /// Part of the lease that is above the budget's limit.
    overdrawn: Cell<u64>,
    /// What `h2` kept after the last turn.
    kept: Cell<u64>,
    /// Of streams and their calls.
    called: Cell<u64>,
    /// Bytes that were pulled, not given back to the client's window, and are not under a call's lease.
    held: Cell<u64>,
    /// Calls with a message that waits for its lease.
    waiting: Cell<u32>,
    streams: Cell<u32>,
}

impl Conn {
    /// `lease` has [`CONNECTION_BYTES`].
    pub(crate) fn new(id: u64, peer: Peer, lease: Lease, local: Rc<Local>) -> Self {
        let (requests, answers) = (local.net.requests.party(), local.net.answers.party());
        Self {
            id,
            peer,
            requests,
            answers,
            local,
            lease: RefCell::new(lease),
            overdrawn: Cell::new(0),
            kept: Cell::new(0),
            called: Cell::new(0),
            held: Cell::new(0),
            waiting: Cell::new(0),
            streams: Cell::new(0),
        }
    }

    pub(crate) fn open_stream(&self) {
        self.streams.set(self.streams.get() + 1);
        self.local.stats().streams_opened.add(1);
        self.local.load(1);
    }

    /// Charges an open stream, with a call whose future takes `future` bytes. Returns what it is charged, to be given to
    /// [`Conn::close_stream`], and whether the budget has room: if not, the call must end.
    pub(crate) fn charge_call(&self, future: u64) -> (u64, bool) {
        let bytes = EXCHANGE_BYTES + future;
        self.called.set(self.called.get() + bytes);
        (bytes, self.cover(Overdrawing::Call))
    }

    pub(crate) fn close_stream(&self, charged: u64) {
        self.called.set(self.called.get() - charged);
        self.streams.set(self.streams.get() - 1);
        self.local.stats().streams_closed.add(1);
        self.local.load(-1);
    }

    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.get()
    }

    pub(crate) fn start_wait(&self) {
        self.waiting.set(self.waiting.get() + 1);
        self.local.stats().waited.add(1);
    }

    pub(crate) fn end_wait(&self) {
        self.waiting.set(self.waiting.get() - 1);
    }

    pub(crate) fn held(&self) -> u64 {
        self.held.get()
    }

    pub(crate) fn hold(&self, bytes: usize) {
        self.held.set(self.held.get() + bytes as u64);
    }

    pub(crate) fn release(&self, bytes: usize) {
        self.held.set(self.held.get() - bytes as u64);
    }

    /// Charges what is held to the connection. `false` when that is too much, for this connection or for the budget: who
    /// asks must then let go of what it holds.
    pub(crate) fn charge_held(&self) -> bool {
        self.held.get() <= HELD_MAX && self.cover(Overdrawing::Nothing)
    }

    /// Follows what is held at the end of a turn, up and down. `false` when the budget has no room for it: the connection
    /// must then end, since what `h2` has read and not written cannot be refused.
    pub(crate) fn settle(&self, kept: Kept) -> bool {
        let others = (kept.streams as u64).saturating_sub(u64::from(self.streams.get()));
        self.kept.set(kept.bytes as u64 + others * RESET_BYTES);
        let wanted = self.wanted();
        let mut lease = self.lease.borrow_mut();
        if lease.bytes() > wanted {
            let back = self.overdrawn.get().min(lease.bytes() - wanted);
            self.overdrawn.set(self.overdrawn.get() - back);
            self.local.net.overdraft.give(back);
            lease.shrink_to(wanted);
        }
        drop(lease);
        self.cover(Overdrawing::Connection)
    }

    fn wanted(&self) -> u64 {
        let own = BARE_BYTES + self.kept.get() + self.called.get();
        CONNECTION_BYTES + (own.saturating_sub(CONNECTION_BYTES) + self.held.get()).next_multiple_of(STEP)
    }

    /// Grows the lease to what is held.
    fn cover(&self, who: Overdrawing) -> bool {
        let mut lease = self.lease.borrow_mut();
        let wanted = self.wanted();
        let Some(more) = wanted.checked_sub(lease.bytes()).filter(|more| *more > 0) else { return true };
        if (more < GROWTH && lease.try_grow(GROWTH)) || lease.try_grow(more) {
            return true;
        }
        if !self.local.net.overdraft.take(more, who) {
            return false;
        }
        self.overdrawn.set(self.overdrawn.get() + more);
        lease.force_to(wanted);
        true
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.local.net.overdraft.give(self.overdrawn.get());
    }
}

/// Bytes that an allocation of `bytes` takes: jemalloc has four size classes for each doubling, and none closer than 16 bytes.
pub(super) fn size_class(bytes: usize) -> u64 {
    bytes.next_multiple_of((bytes.next_power_of_two() >> 3).max(16)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_classes_are_those_of_jemalloc() {
        for (bytes, class) in [(0, 0), (1, 16), (129, 160), (1000, 1024), (1032, 1280), (3700, 4096), (4097, 5120)] {
            assert_eq!(size_class(bytes), class, "{bytes}");
        }
    }
}
