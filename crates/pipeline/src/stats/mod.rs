//! Statistics of requests: counted by each thread for itself, summed up when somebody asks.
//!
//! Nothing ticks: what decays does so at the next request or question. An object that nobody asks for costs nothing, one that
//! is in use costs at most 512 bytes a thread.

mod codes;
mod histogram;
mod rates;
mod snapshot;
mod stat;
#[cfg(test)]
mod tests;
mod threads;
mod traffic;

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

pub use histogram::{Histogram, Quantiles};
pub use snapshot::Snapshot;
pub use stat::{STAT_BYTES, Stat};
pub use threads::{Counted, PerThread};
pub use traffic::{Distribution, MILLIS, SIZES, Traffic, TrafficSum};

/// Rates and windows move on in steps of this length.
const TICK: Duration = Duration::from_secs(5);

/// A request that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub status: u16,
    pub took: Duration,
    /// Bytes of request and answer, heads included.
    pub received: u64,
    pub sent: u64,
}

impl Sample {
    /// Whether it counts as an error. Source: the reference.
    pub const fn is_error(&self) -> bool {
        self.status >= 400
    }
}

/// What a filter tells of one of its pools of servers.
#[derive(Debug, Clone)]
pub struct PoolTraffic {
    /// `main`, `candidate#0`
    pub name: String,
    /// How a server is picked, and which requests come here.
    pub balance: &'static str,
    pub filter: &'static str,
    pub traffic: std::sync::Arc<PerThread<Traffic>>,
}

/// Number of the tick that `now` belongs to.
fn tick(now: Instant) -> u32 {
    static START: OnceLock<Instant> = OnceLock::new();
    let since = now.saturating_duration_since(*START.get_or_init(tidegate_base::clock::now));
    u32::try_from(since.as_secs() / TICK.as_secs()).unwrap_or(u32::MAX)
}

/// Adds to a number that only this thread writes.
fn add(number: &std::sync::atomic::AtomicU64, more: u64) {
    use std::sync::atomic::Ordering::Relaxed;
    number.store(number.load(Relaxed).wrapping_add(more), Relaxed);
}
