use std::sync::atomic::{AtomicU64, Ordering};

use crate::grpc::Code;

/// A number that one thread writes and any thread reads: no locked instruction, and no lost update either.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Only on the thread that owns it.
    pub(crate) fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters of one I/O thread, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct ThreadStats {
    pub(crate) connections_opened: Counter,
    pub(crate) connections_closed: Counter,
    pub(crate) streams_opened: Counter,
    pub(crate) streams_closed: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) waited: Counter,
    pub(crate) stalled: Counter,
    pub(crate) panics: Counter,
    calls: [Counter; Code::COUNT],
}

impl ThreadStats {
    pub(crate) fn ended(&self, code: Code) {
        self.calls[usize::from(code.number())].add(1);
    }

    pub(super) fn add_to(&self, sum: &mut Stats) {
        sum.connections += self.connections_opened.get().saturating_sub(self.connections_closed.get());
        sum.connections_total += self.connections_opened.get();
        sum.streams += self.streams_opened.get().saturating_sub(self.streams_closed.get());
        sum.bytes_in += self.bytes_in.get();
        sum.bytes_out += self.bytes_out.get();
        sum.waited += self.waited.get();
        sum.stalled += self.stalled.get();
        sum.panics += self.panics.get();
        for (sum, calls) in sum.calls.iter_mut().zip(&self.calls) {
            *sum += calls.get();
        }
    }
}

/// Sum over the I/O threads, each counter as it stood at some moment of the call that made it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Open now, of any protocol.
    pub connections: u64,
    pub connections_total: u64,
    /// Closed at once, for lack of bytes or because a thread's queue was full.
    pub connections_refused: u64,
    /// Open now.
    pub streams: u64,
    /// Bytes of HTTP/2 connections.
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Messages that had to wait for their lease.
    pub waited: u64,
    /// Calls ended because they had a lease and brought no bytes.
    pub stalled: u64,
    /// Calls that ended by a panic.
    pub panics: u64,
    /// Calls by outcome, indexed by [`Code::number`].
    pub calls: [u64; Code::COUNT],
}
