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

use std::panic::{AssertUnwindSafe, catch_unwind};

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
        for (sum, more) in self.faults.iter_mut().zip(other.faults) {
            *sum += more;
        }
    }
}

/// Runs one seed.
///
/// # Errors
/// What was found wrong, in words.
pub fn run(seed: u64) -> Result<Report, String> {
    catch_unwind(AssertUnwindSafe(|| world::World::new(seed).run())).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}
