//! What a Proxy counts of its pools.

use std::{
    cell::OnceCell,
    sync::Arc,
    time::{Duration, Instant},
};

use tidegate_base::Budget;
use tidegate_pipeline::stats::{PerThread, Sample, Stat, Traffic};

/// The numbers of one pool.
#[derive(Default)]
pub(super) struct Counted {
    pub(super) stat: PerThread<Stat>,
    pub(super) traffic: Arc<PerThread<Traffic>>,
}

/// What one thread writes of it.
#[derive(Default)]
pub(super) struct Own {
    stat: OnceCell<Arc<Stat>>,
    traffic: OnceCell<Arc<Traffic>>,
}

impl Own {
    /// Where no memory is free for it, nothing is counted until some is.
    pub(super) fn record(&self, counted: &Counted, budget: &Budget, now: Instant, sample: &Sample) {
        if let Some(stat) = counted.stat.own(&self.stat, budget) {
            stat.record(now, sample);
        }
        if let Some(traffic) = counted.traffic.own(&self.traffic, budget) {
            traffic.record(sample);
        }
    }
}

/// A call to a pool that has come to its answer, or to none.
pub(super) struct Call {
    pub(super) pool: usize,
    pub(super) start: Instant,
}

impl Call {
    pub(super) fn took(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.start)
    }
}
