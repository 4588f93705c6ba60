//! Revisions that somebody still reads.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::Shared;

/// Threads use different shards, so that a pin costs an uncontended lock.
const SHARDS: usize = 8;

#[derive(Default)]
pub(crate) struct Pins {
    shards: [Mutex<BTreeMap<i64, u32>>; SHARDS],
}

impl Pins {
    fn shard(&self, at: usize) -> MutexGuard<'_, BTreeMap<i64, u32>> {
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn oldest(&self) -> Option<i64> {
        (0..SHARDS).filter_map(|at| self.shard(at).keys().next().copied()).min()
    }
}

/// Keeps what a read at its revision sees. Give it back within ten minutes: until then compaction frees nothing above it.
pub struct Pin {
    shared: Arc<Shared>,
    shard: usize,
    revision: i64,
}

impl Pin {
    pub(crate) fn take(shared: &Arc<Shared>, revision: i64) -> Self {
        let mut hasher = DefaultHasher::new();
        std::thread::current().id().hash(&mut hasher);
        #[expect(clippy::cast_possible_truncation, reason = "the remainder is below 8")]
        let shard = (hasher.finish() % SHARDS as u64) as usize;
        *shared.pins.shard(shard).entry(revision).or_default() += 1;
        Self { shared: Arc::clone(shared), shard, revision }
    }

    pub fn revision(&self) -> i64 {
        self.revision
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut shard = self.shared.pins.shard(self.shard);
        let count = shard.get_mut(&self.revision).expect("a pin is counted until it is dropped");
        *count -= 1;
        if *count == 0 {
            shard.remove(&self.revision);
        }
    }
}

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pin({})", self.revision)
    }
}
