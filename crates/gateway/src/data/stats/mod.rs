//! What HTTPServers count: for themselves, for each of their backends, and for the busiest of their paths.
//!
//! ```text
//!   request answered ──► this thread's numbers ◄──summed up── status, metrics
//! ```
//! Nothing of it goes through the store: who wants to know asks the node.

pub(super) mod metrics;
mod pattern;
mod top;

use std::{
    cell::OnceCell,
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use serde_json::{Value, json};
use tidegate_base::Budget;
use tidegate_pipeline::stats::{PerThread, Sample, Snapshot, Stat, Traffic};

pub(super) use pattern::PathText;
pub(super) use top::Top;

/// The numbers of one server, which survive its edits.
#[derive(Default)]
pub(crate) struct ServerStats {
    all: PerThread<Stat>,
    top: PerThread<Top>,
    /// By name of the pipeline.
    backends: Mutex<BTreeMap<Box<str>, Arc<PerThread<Traffic>>>>,
}

impl ServerStats {
    /// The numbers of a backend, made where it has none.
    pub(super) fn backend(&self, name: &str) -> Arc<PerThread<Traffic>> {
        Arc::clone(self.backends().entry(name.into()).or_default())
    }

    /// Forgets backends that the server no longer names.
    pub(super) fn keep(&self, is_named: impl Fn(&str) -> bool) {
        self.backends().retain(|name, _| is_named(name));
    }

    fn backends(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Arc<PerThread<Traffic>>>> {
        self.backends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sum(&self, now: Instant) -> Snapshot {
        self.all.sum(now)
    }

    /// Each backend that was asked for something, by name.
    pub(super) fn asked_backends(&self) -> Vec<(Box<str>, Arc<PerThread<Traffic>>)> {
        let backends = self.backends();
        let asked = backends.iter().filter(|(_, numbers)| !numbers.is_empty());
        asked.map(|(name, numbers)| (name.clone(), Arc::clone(numbers))).collect()
    }

    /// The busiest paths, as a status lists them.
    pub(super) fn top(&self, now: Instant) -> Value {
        let list = top::busiest(&self.top, now).into_iter().map(|(path, sum)| {
            let mut map = sum.to_map();
            map.insert("path".to_owned(), json!(String::from_utf8_lossy(&path)));
            Value::Object(map)
        });
        list.collect()
    }
}

/// What one thread writes of a server.
#[derive(Default)]
pub(super) struct Own {
    all: OnceCell<Arc<Stat>>,
    top: OnceCell<Arc<Top>>,
}

impl Own {
    pub(super) fn record(&self, stats: &ServerStats, budget: &Budget, path: &[u8], now: Instant, sample: &Sample) {
        if let Some(all) = stats.all.own(&self.all, budget) {
            all.record(now, sample);
        }
        if let Some(top) = stats.top.own(&self.top, budget) {
            top.record(path, now, sample);
        }
    }
}
