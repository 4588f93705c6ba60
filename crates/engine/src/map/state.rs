//! Rows, what a crash would take back, and the switches of tests.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    mem,
    sync::Arc,
};

use crate::{Batch, Error, Space, Usage};

pub(super) type Key = Arc<[u8]>;
pub(super) type Value = Arc<[u8]>;
pub(super) type Rows = BTreeMap<Key, Value>;

/// One row as it was before a change, `None` when there was none.
struct Undo {
    space: Space,
    key: Key,
    before: Option<Value>,
}

/// What one batch replaced, in the order of its changes.
struct Journal {
    undo: Vec<Undo>,
    bytes: u64,
}

/// Changes of one batch, in order: the last change of a key wins.
#[derive(Debug, Default)]
pub struct MapBatch {
    changes: Vec<(Space, Key, Option<Value>)>,
    bytes: usize,
}

impl MapBatch {
    pub(super) fn keys(&self) -> impl Iterator<Item = (Space, Key)> {
        self.changes.iter().map(|(space, key, _)| (*space, Arc::clone(key)))
    }

    fn push(&mut self, space: Space, key: &[u8], value: Option<Value>) {
        self.bytes += key.len() + value.as_ref().map_or(0, |value| value.len());
        self.changes.push((space, Arc::from(key), value));
    }
}

impl Batch for MapBatch {
    fn put(&mut self, space: Space, key: &[u8], value: &[u8]) {
        self.push(space, key, Some(Arc::from(value)));
    }

    fn delete(&mut self, space: Space, key: &[u8]) {
        self.push(space, key, None);
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

pub(super) struct State {
    spaces: [Arc<Rows>; 4],
    /// For each row changed since the last completed flush: what it was then.
    flushed_rows: [BTreeMap<Key, Option<Value>>; 4],
    /// The batches since then, oldest first.
    journal: Vec<Journal>,
    /// A flush was begun when the journal had this many batches.
    begun: Option<usize>,
    held: bool,
    failed: bool,
    pub(super) fail_flush: bool,
    pub(super) fail_write: bool,
    pub(super) auto_flush: Option<u64>,
    pub(super) unflushed_limit: u64,
    pub(super) cache_limit: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            spaces: Default::default(),
            flushed_rows: Default::default(),
            journal: Vec::new(),
            begun: None,
            held: false,
            failed: false,
            fail_flush: false,
            fail_write: false,
            auto_flush: None,
            unflushed_limit: u64::MAX,
            cache_limit: u64::MAX,
        }
    }
}

impl State {
    pub(super) fn from_rows(spaces: [Rows; 4]) -> Self {
        Self { spaces: spaces.map(Arc::new), ..Self::default() }
    }

    pub(super) fn rows(&self, space: Space) -> &Rows {
        &self.spaces[space.index()]
    }

    /// The rows for a cursor: a later write copies them first.
    pub(super) fn share(&self, space: Space) -> Arc<Rows> {
        Arc::clone(&self.spaces[space.index()])
    }

    pub(super) fn apply(&mut self, batch: &mut MapBatch) -> Result<(), Error> {
        self.background_failure()?;
        if mem::take(&mut self.fail_write) {
            self.failed = true;
            return Err(failure("write"));
        }
        let MapBatch { changes, bytes } = mem::take(batch);
        let mut undo = Vec::with_capacity(changes.len());
        for (space, key, value) in changes {
            let rows = Arc::make_mut(&mut self.spaces[space.index()]);
            let before = match value {
                Some(value) => rows.insert(Arc::clone(&key), value),
                None => rows.remove(&key),
            };
            if let Entry::Vacant(first) = self.flushed_rows[space.index()].entry(Arc::clone(&key)) {
                first.insert(before.clone());
            }
            undo.push(Undo { space, key, before });
        }
        self.journal.push(Journal { undo, bytes: bytes as u64 });
        if self.auto_flush.is_some_and(|above| self.unflushed() > above) {
            self.flush(false)?;
        }
        Ok(())
    }

    pub(super) fn flushed(&self, space: Space, key: &[u8]) -> Option<&Value> {
        match self.flushed_rows[space.index()].get(key) {
            Some(then) => then.as_ref(),
            None => self.rows(space).get(key),
        }
    }

    /// All rows as of the last completed flush.
    pub(super) fn flushed_state(&self) -> [Rows; 4] {
        Space::ALL.map(|space| {
            let mut rows = self.rows(space).clone();
            for (key, then) in &self.flushed_rows[space.index()] {
                match then {
                    Some(value) => rows.insert(Arc::clone(key), Arc::clone(value)),
                    None => rows.remove(key),
                };
            }
            rows
        })
    }

    pub(super) fn flush(&mut self, wait: bool) -> Result<(), Error> {
        self.background_failure()?;
        if mem::take(&mut self.fail_flush) {
            self.failed = true;
            self.begun = None;
            // One that nobody waits for tells at the next write, flush or housekeeping.
            return if wait { Err(failure("flush")) } else { Ok(()) };
        }
        self.begun = Some(self.journal.len());
        if wait || !self.held {
            self.finish_flush();
        }
        Ok(())
    }

    pub(super) fn finish_flush(&mut self) {
        let Some(done) = self.begun.take() else { return };
        self.journal.drain(..done);
        self.flushed_rows = Default::default();
        for Undo { space, key, before } in self.journal.iter().flat_map(|batch| &batch.undo) {
            self.flushed_rows[space.index()].entry(Arc::clone(key)).or_insert_with(|| before.clone());
        }
    }

    pub(super) fn hold_flushes(&mut self, held: bool) {
        self.held = held;
        if !held {
            self.finish_flush();
        }
    }

    pub(super) fn crash(&mut self, keep: usize) {
        for batch in self.journal.drain(keep.min(self.journal.len())..).rev() {
            for Undo { space, key, before } in batch.undo.into_iter().rev() {
                let rows = Arc::make_mut(&mut self.spaces[space.index()]);
                match before {
                    Some(value) => rows.insert(key, value),
                    None => rows.remove(&key),
                };
            }
        }
        // What is left is on disk now.
        self.begun = Some(self.journal.len());
        self.finish_flush();
        (self.failed, self.fail_flush, self.fail_write) = (false, false, false);
    }

    pub(super) fn background_failure(&self) -> Result<(), Error> {
        if self.failed { Err(failure("background flush")) } else { Ok(()) }
    }

    pub(super) fn unflushed_batches(&self) -> usize {
        self.journal.len()
    }

    fn unflushed(&self) -> u64 {
        self.journal.iter().map(|batch| batch.bytes).sum()
    }

    pub(super) fn usage(&self) -> Usage {
        let unflushed = self.unflushed();
        Usage { unflushed, memtables: unflushed, cache_limit: self.cache_limit, ..Usage::default() }
    }
}

fn failure(action: &'static str) -> Error {
    Error::Io { action, detail: "told to fail".into() }
}
