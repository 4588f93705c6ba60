use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use tidegate_base::Lease;

use crate::{
    admission::Party,
    conn::{Local, Peer, STREAM_BYTES, STREAMS_LEAST},
};

/// What the waiting calls of one connection may hold together.
const HELD_MAX: u64 = 2 << 20;
/// What is held is charged in steps of this.
const HELD_STEP: u64 = 16 << 10;

/// One connection's account, shared by its calls.
pub(crate) struct Conn {
    pub(crate) id: u64,
    pub(crate) peer: Peer,
    pub(crate) requests: Party,
    pub(crate) answers: Party,
    pub(crate) local: Rc<Local>,
    lease: RefCell<Lease>,
    /// Bytes that were pulled, not given back to the client's window, and are not under a call's lease.
    held: Cell<u64>,
    held_charged: Cell<u64>,
    /// Calls with a message that waits for its lease.
    waiting: Cell<u32>,
    streams: Cell<u32>,
    /// Peak of streams, rounded up to a power of two: `h2` keeps tables of that size for the connection's life.
    streams_charged: Cell<u32>,
}

impl Conn {
    pub(crate) fn new(id: u64, peer: Peer, lease: Lease, local: Rc<Local>) -> Self {
        let (requests, answers) = (local.net.requests.party(), local.net.answers.party());
        Self {
            id,
            peer,
            requests,
            answers,
            local,
            lease: RefCell::new(lease),
            held: Cell::new(0),
            held_charged: Cell::new(0),
            waiting: Cell::new(0),
            streams: Cell::new(0),
            streams_charged: Cell::new(0),
        }
    }

    /// Counts a new stream; `false` when the budget has no room for it.
    pub(crate) fn open_stream(&self) -> bool {
        let streams = self.streams.get() + 1;
        let charged = self.streams_charged.get();
        if streams > charged {
            let peak = streams.next_power_of_two().max(STREAMS_LEAST);
            if !self.lease.borrow_mut().try_grow(u64::from(peak - charged) * STREAM_BYTES) {
                return false;
            }
            self.streams_charged.set(peak);
        }
        self.streams.set(streams);
        self.local.stats().streams_opened.add(1);
        self.local.load(1);
        true
    }

    pub(crate) fn close_stream(&self) {
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
        let (held, charged) = (self.held.get(), self.held_charged.get());
        if held > HELD_MAX {
            return false;
        }
        let wanted = held.next_multiple_of(HELD_STEP);
        if wanted > charged {
            if !self.lease.borrow_mut().try_grow(wanted - charged) {
                return false;
            }
            self.held_charged.set(wanted);
        }
        true
    }

    /// Gives back what is charged above what is held.
    pub(crate) fn settle_held(&self) {
        let wanted = self.held.get().next_multiple_of(HELD_STEP);
        let charged = self.held_charged.get();
        if wanted < charged {
            let mut lease = self.lease.borrow_mut();
            let bytes = lease.bytes() - (charged - wanted);
            lease.shrink_to(bytes);
            self.held_charged.set(wanted);
        }
    }
}
