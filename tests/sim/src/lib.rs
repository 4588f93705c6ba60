//! The store, simulated: the production code of consensus, log, apply, watches, leases and budget, on one thread, with the
//! clock, the disk and the network in the hands of a seed.
//!
//! ```text
//!   seed ─► plan: faults, rates, sizes ─► world: one queue of events, one source of chance
//!             clients, watchers ──► members (Stepped) ◄── network: lost, late, twice, cut
//!                    │                   │ applied            SimDisk: any subset of unsynced sectors survives
//!                    └──── checked ◄── oracle                 MapEngine: back to the last flush, and some batches
//! ```
//! The same seed is the same run, event for event. After the chaos everything heals, and within bounded time a leader must be
//! there, every watcher must have everything, and all members must hold the same.

mod client;
mod node;
mod oracle;
mod plan;
mod watcher;
mod world;

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Once,
};

pub use plan::Kind;

/// What happened in one seed, or in many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub events: u64,
    pub simulated_ms: u64,
    pub committed: u64,
    pub acknowledged: u64,
    pub reads: u64,
    pub changes: u64,
    pub watch_events: u64,
    pub elections: u64,
    /// Leases that ended by themselves.
    pub expired: u64,
    /// How often each kind of fault struck.
    pub faults: [u64; Kind::COUNT],
}

impl Report {
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.simulated_ms += other.simulated_ms;
        self.committed += other.committed;
        self.acknowledged += other.acknowledged;
        self.reads += other.reads;
        self.changes += other.changes;
        self.watch_events += other.watch_events;
        self.elections += other.elections;
        self.expired += other.expired;
        for (sum, more) in self.faults.iter_mut().zip(other.faults) {
            *sum += more;
        }
    }
}

thread_local! {
    /// What the last panic on this thread said, and where.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs one seed. Panics are taken for what was found, here and in the code under test, and are not printed from now on.
///
/// # Errors
/// What was found wrong, in words.
pub fn run(seed: u64) -> Result<Report, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| std::panic::set_hook(Box::new(|info| PANIC.set(info.to_string()))));
    catch_unwind(AssertUnwindSafe(|| world::World::new(seed).run())).map_err(|_| PANIC.take())
}
