//! The engine as ordered maps in memory: the specification of [`Engine`], and the engine of simulations.
//!
//! ```text
//!   batches   1   2   3   4   5   6        flushed_rows: what rows changed since the flush held then
//!             ████████│▒▒▒▒▒▒▒▒▒▒▒▒        journal:      for each batch since, the rows it replaced
//!              flushed│ lost by a crash, from the end: any number of them, whole
//! ```
//! Why an undo journal and not a copy of the maps per flush: a simulation flushes and crashes thousands of times, and
//! pays for what changed. The maps are shared with open cursors and copied when a write meets one: a cursor sees one
//! state, as on a real engine.
//!
//! What a test decides: which flushes end and when ([`MapEngine::hold_flushes`]), which fail, how many batches survive
//! a crash, and which rows count as cached.

mod checkpoint;
mod cursor;
mod state;

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

pub use cursor::MapCursor;
pub use state::MapBatch;
use state::{Key, State};

use crate::{Engine, Error, Lookup, Scan, Space, Tier, Usage};

const POISON: &str = "no panic under the lock";

type Predicate = Box<dyn Fn(Space, &[u8]) -> bool + Send>;

/// Which rows a read of [`Tier::Cached`] finds.
#[derive(Default)]
enum Residency {
    #[default]
    Everything,
    /// Rows read or written since all were evicted.
    Touched(BTreeSet<(Space, Key)>),
    /// All but those that the predicate names.
    Except(Predicate),
}

/// Ordered maps behind a lock. Cheap to make; unbounded, so never for production.
#[derive(Default)]
pub struct MapEngine {
    state: RwLock<State>,
    residency: Mutex<Residency>,
}

impl MapEngine {
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads what [`Engine::checkpoint`] wrote into the directory `path`. All of it is flushed.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Corruption`] when its content is not what was written.
    pub fn open_checkpoint(path: &Path) -> Result<Self, Error> {
        Ok(Self { state: RwLock::new(State::from_rows(checkpoint::read(path)?)), residency: Mutex::default() })
    }

    /// What [`MapEngine::open_checkpoint`] of a checkpoint taken now would be, without a file.
    pub fn checkpoint_in_memory(&self) -> Self {
        Self { state: RwLock::new(State::from_rows(self.read().flushed_state())), residency: Mutex::default() }
    }

    /// Loses every batch since the last completed flush, as a crash may. Flushes begun are forgotten; open cursors keep
    /// what they saw.
    pub fn crash(&self) {
        self.crash_keeping(0);
    }

    /// Crashes but keeps the first `batches` of those since the last completed flush: a real engine flushes by itself.
    pub fn crash_keeping(&self, batches: usize) {
        self.write_state().crash(batches);
    }

    /// Batches that a crash may lose: the most that [`MapEngine::crash_keeping`] can keep.
    pub fn unflushed_batches(&self) -> usize {
        self.read().unflushed_batches()
    }

    /// The next flush fails, and what it covered is not durable.
    pub fn flush_fail_next(&self) {
        self.write_state().fail_flush = true;
    }

    /// The next write fails, and nothing of it is visible.
    pub fn write_fail_next(&self) {
        self.write_state().fail_write = true;
    }

    /// While `held`, a flush that nobody waits for only begins; [`MapEngine::finish_flush`], or a flush with wait, ends
    /// it. Letting go ends it too.
    pub fn hold_flushes(&self, held: bool) {
        self.write_state().hold_flushes(held);
    }

    /// Ends the flush that was begun while flushes were held: the batches before its begin are durable.
    pub fn finish_flush(&self) {
        self.write_state().finish_flush();
    }

    /// From now on flushes by itself after a write that leaves more than `bytes` unflushed.
    pub fn flush_above(&self, bytes: u64) {
        self.write_state().auto_flush = Some(bytes);
    }

    /// Sets what [`Engine::unflushed_limit`] answers; at first there is none.
    pub fn set_unflushed_limit(&self, bytes: u64) {
        self.write_state().unflushed_limit = bytes;
    }

    /// Takes every row out of the cache; rows come back as they are written or read with [`Tier::All`].
    pub fn evict_all(&self) {
        *self.residency() = Residency::Touched(BTreeSet::new());
    }

    /// From now on the rows that `evicted` names are never cached, as large values on a real engine.
    pub fn evict_where(&self, evicted: impl Fn(Space, &[u8]) -> bool + Send + 'static) {
        *self.residency() = Residency::Except(Box::new(evicted));
    }

    /// Everything is cached again, as at first.
    pub fn cache_all(&self) {
        *self.residency() = Residency::Everything;
    }

    /// Rows in `space`.
    pub fn len(&self, space: Space) -> usize {
        self.read().rows(space).len()
    }

    pub fn is_empty(&self) -> bool {
        Space::ALL.iter().all(|space| self.len(*space) == 0)
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().expect(POISON)
    }

    fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().expect(POISON)
    }

    fn residency(&self) -> MutexGuard<'_, Residency> {
        self.residency.lock().expect(POISON)
    }

    /// Whether a row is in memory; a read of all tiers brings it there.
    fn resident(&self, space: Space, key: &[u8], tier: Tier) -> bool {
        match (&mut *self.residency(), tier) {
            (Residency::Everything, _) | (Residency::Except(_), Tier::All) => true,
            (Residency::Except(evicted), Tier::Cached) => !evicted(space, key),
            (Residency::Touched(rows), Tier::Cached) => rows.contains(&(space, Arc::from(key))),
            (Residency::Touched(rows), Tier::All) => {
                rows.insert((space, Arc::from(key)));
                true
            }
        }
    }
}

impl Engine for MapEngine {
    type Batch = MapBatch;
    type Value<'a> = Arc<[u8]>;
    type Cursor<'a> = MapCursor;

    fn batch(&self) -> MapBatch {
        MapBatch::default()
    }

    fn write(&self, batch: &mut MapBatch) -> Result<(), Error> {
        let mut state = self.write_state();
        if let Residency::Touched(rows) = &mut *self.residency() {
            rows.extend(batch.keys());
        }
        state.apply(batch)
    }

    fn get(&self, space: Space, key: &[u8], tier: Tier) -> Result<Lookup<Arc<[u8]>>, Error> {
        if !self.resident(space, key, tier) {
            return Ok(Lookup::NotCached);
        }
        Ok(match self.read().rows(space).get(key) {
            Some(value) => Lookup::Found(Arc::clone(value)),
            None => Lookup::Absent,
        })
    }

    fn get_flushed(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.read().flushed(space, key).map(|value| value.to_vec()))
    }

    fn scan(&self, space: Space, scan: Scan<'_>) -> Result<MapCursor, Error> {
        Ok(MapCursor::new(self.read().share(space), scan))
    }

    fn flush(&self, wait: bool) -> Result<(), Error> {
        self.write_state().flush(wait)
    }

    fn checkpoint(&self, path: &Path) -> Result<(), Error> {
        let rows = self.read().flushed_state();
        checkpoint::write(path, &rows)
    }

    fn usage(&self) -> Usage {
        self.read().usage()
    }

    fn unflushed_limit(&self) -> u64 {
        self.read().unflushed_limit
    }

    fn set_cache(&self, bytes: u64) {
        self.write_state().cache_limit = bytes;
    }

    fn maintain(&self) -> Result<(), Error> {
        self.write_state().background_failure()
    }
}

#[cfg(test)]
mod tests;
