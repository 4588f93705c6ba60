//! Apply: the one writer of the store. The same entries give the same answers on every member.
//!
//! ```text
//!   entry ─► decide: compares, refusals ─► operations in order ─► rows in the open batch + overlay
//!                    (nothing is written)        │ batch full: Step::More, the cursor says how far it came
//!                                                ▼
//!   commit: batch and meta row, all spaces at once ─► visible revision ─► applied index
//! ```
//! No clock, no randomness, no order of a hash table, and nothing that depends on the budget or on how far compaction came
//! decides an answer here.

mod entry;
mod ops;
mod overlay;
mod shape;
mod single;
mod sweep;
mod txn;

pub use self::{shape::range_spec, sweep::Sweep};

use std::sync::Arc;

use bytes::Bytes;
use tidegate_base::{
    LogIndex, LogPosition,
    planted::{Fault, is_planted},
};
use tidegate_engine::{Batch, Engine, Error as EngineError, Lookup, Space, Tier};

use self::{entry::Entry, overlay::Overlay};
use crate::{
    EnvelopeError, Outcome, ReadError, Reader,
    reader::{Head, Shared},
    rows::{BadRow, HeadRow, META_KEY, Meta, head_key, head_user_key},
};

/// Why a member cannot go on: its state or its log is not what it must be.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    BadRow(#[from] BadRow),
    #[error("log entry {index}: {error}")]
    Envelope { index: LogIndex, error: EnvelopeError },
    #[error("log entry {index}: the message cannot be decoded: {detail}")]
    Message { index: LogIndex, detail: String },
    #[error("log entry {got} came where {expected} was due")]
    Order { expected: LogIndex, got: LogIndex },
    #[error("read of the store failed: {0}")]
    Read(String),
}

impl From<ReadError> for Fatal {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Engine(error) => Fatal::Engine(error),
            ReadError::BadRow(row) => Fatal::BadRow(row),
            other => Fatal::Read(other.to_string()),
        }
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(
        "the keyspaces do not agree where they stand: {first} and {second} differ; the files were not written together"
    )]
    Disagree { first: &'static str, second: &'static str },
    #[error("the meta row of {space} cannot be read: damaged, or written by a newer version")]
    Meta { space: &'static str },
}

#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Size at which a batch is full. One row may be larger.
    pub batch_bytes: usize,
    /// Most bytes of one entry's events that are kept for watchers.
    pub live_bytes_max: usize,
    /// Bytes of newest versions that are kept for the reads of keys written lately.
    pub heads_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { batch_bytes: 4 << 20, live_bytes_max: crate::watch::LIVE_BYTES_MAX, heads_bytes: 1 << 20 }
    }
}

/// Progress of an entry.
#[derive(Debug)]
pub enum Step {
    Done(Box<Outcome>),
    /// The batch is full and the entry is not at its end: [`Machine::commit`], then [`Machine::resume`].
    More,
}

pub struct Machine<E: Engine> {
    reader: Reader<E>,
    batch: E::Batch,
    overlay: Overlay,
    written: u64,
    meta: Meta,
    /// The entry that is under way.
    entry: Option<Box<Entry>>,
    config: Config,
    /// Keys and bytes written since they were last taken.
    costs: Vec<(Bytes, u64)>,
    scratch: Vec<u8>,
    events_wanted: bool,
    /// Revision that the present walk of the sweep goes to; not above `meta.swept` between walks.
    sweep_to: i64,
}

impl<E: Engine> Machine<E> {
    /// Opens the store in `engine`; a new one is made if it is empty.
    ///
    /// # Errors
    /// [`OpenError`]: the member must not start.
    pub fn open(engine: Arc<E>, config: Config) -> Result<Self, OpenError> {
        let row = |space| -> Result<Option<Vec<u8>>, EngineError> {
            Ok(engine.get(space, META_KEY, Tier::All)?.known().map(|row| row.as_ref().to_vec()))
        };
        let first = row(Space::ALL[0])?;
        for space in &Space::ALL[1..] {
            if row(*space)? != first {
                return Err(OpenError::Disagree { first: Space::ALL[0].name(), second: space.name() });
            }
        }
        let mut meta = match first {
            None => Meta::new(),
            Some(row) => Meta::decode(&row).ok_or(OpenError::Meta { space: Space::ALL[0].name() })?,
        };
        meta.sweep.sub = 0; // what the walk's target was is not stored: see `sweep`
        let shared = Arc::new(Shared::new(meta.visible, meta.compacted, meta.applied.index, config.heads_bytes));
        Ok(Self {
            batch: engine.batch(),
            reader: Reader::new(engine, shared),
            overlay: Overlay::default(),
            written: 0,
            meta,
            entry: None,
            config,
            costs: Vec::new(),
            scratch: Vec::new(),
            events_wanted: true,
            sweep_to: 0,
        })
    }

    pub fn reader(&self) -> Reader<E> {
        self.reader.clone()
    }

    /// The last entry that is applied as a whole.
    pub fn applied(&self) -> LogPosition {
        self.meta.applied
    }

    /// The entry that a crash interrupted: it must be applied again, first.
    pub fn pending(&self) -> Option<LogIndex> {
        self.meta.cursor.as_ref().map(|cursor| cursor.index)
    }

    /// Entries up to here are in what the engine has made durable: the log is needed only behind it.
    ///
    /// # Errors
    /// [`Fatal`].
    pub fn flushed(&self) -> Result<LogIndex, Fatal> {
        let mut least = LogIndex(u64::MAX);
        for space in Space::ALL {
            let index = match self.reader.engine.get_flushed(space, META_KEY)? {
                None => LogIndex(0),
                Some(row) => {
                    Meta::decode(&row)
                        .ok_or_else(|| BadRow::new(space, META_KEY, "the flushed meta row cannot be read"))?
                        .applied
                        .index
                }
            };
            least = least.min(index);
        }
        Ok(least)
    }

    /// Whether events of the entries to come are wanted: not when nobody watches.
    pub fn want_events(&mut self, wanted: bool) {
        self.events_wanted = wanted;
    }

    /// Keys and bytes that were written since the last call.
    pub fn take_costs(&mut self) -> std::vec::Drain<'_, (Bytes, u64)> {
        self.costs.drain(..)
    }

    /// Whether the batch is full, so that it should be committed before the next entry.
    pub fn batch_is_full(&self) -> bool {
        self.batch.bytes() >= self.config.batch_bytes
    }

    /// Bytes that the open batch holds, with its copy for the reads of apply.
    pub fn open_bytes(&self) -> usize {
        self.batch.bytes() + self.overlay.bytes()
    }

    /// Bytes that were given to the engine since the start.
    pub fn written(&self) -> u64 {
        self.written
    }

    pub fn has_uncommitted(&self) -> bool {
        !self.batch.is_empty() || self.meta.applied.index != self.reader.applied()
    }

    /// Writes the open batch and publishes it: afterwards the outcomes of its entries may be told.
    ///
    /// # Errors
    /// [`Fatal`]: nothing of the batch is visible.
    pub fn commit(&mut self) -> Result<(), Fatal> {
        if is_planted(Fault::AppliedIndexOutsideTheBatch) {
            self.reader.engine.write(&mut self.batch)?;
        }
        let meta = self.meta.encode();
        for space in Space::ALL {
            self.batch.put(space, META_KEY, &meta);
        }
        self.written += self.batch.bytes() as u64;
        self.reader.engine.write(&mut self.batch)?;
        // Behind the engine, which a reader may ask as well, and before anybody may see it.
        for (row_key, head) in self.overlay.take() {
            self.reader.shared.heads.put(head_user_key(&row_key).unwrap_or_default(), head);
        }
        self.reader.shared.publish(self.meta.visible, self.meta.compacted, self.meta.applied.index);
        Ok(())
    }

    /// Commits what is open, so that the engine can be asked for all of it.
    fn commit_open(&mut self) -> Result<(), Fatal> {
        if self.batch.is_empty() { Ok(()) } else { self.commit() }
    }

    fn head(&self, key: &[u8]) -> Result<Option<Head>, Fatal> {
        let row_key = head_key(key);
        if let Some(head) = self.overlay.head(&row_key) {
            return Ok(Some(head.clone()));
        }
        if let Some(head) = self.reader.shared.heads.get(key, Head::clone) {
            return Ok(Some(head));
        }
        match self.reader.engine.get(Space::Head, &row_key, Tier::All)? {
            Lookup::Found(row) => Ok(Some(Head::from_row(&HeadRow::decode(&row_key, row.as_ref())?))),
            Lookup::Absent | Lookup::NotCached => Ok(None),
        }
    }

    /// The value of a live head. Not one of the open batch that the overlay does not hold.
    fn value_of(&self, head: &Head) -> Result<Bytes, Fatal> {
        match &head.value {
            Some(value) => Ok(value.clone()),
            None => Ok(self.reader.value(head.at, head.blob, Tier::All)?.known().unwrap_or_default()),
        }
    }

    /// Whether the newest value of `key` was written in the open batch and can only be read there.
    fn value_is_in_the_batch(&self, key: &[u8]) -> bool {
        self.overlay.head(&head_key(key)).is_some_and(|head| head.live() && head.value.is_none())
    }

    fn state(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fatal> {
        if let Some(row) = self.overlay.state(key) {
            return Ok(row.clone());
        }
        Ok(self.reader.engine.get(Space::State, key, Tier::All)?.known().map(|row| row.as_ref().to_vec()))
    }

    fn put_state(&mut self, key: Vec<u8>, row: Vec<u8>) {
        self.batch.put(Space::State, &key, &row);
        self.overlay.put_state(key, Some(row));
    }

    fn delete_state(&mut self, key: Vec<u8>) {
        self.batch.delete(Space::State, &key);
        self.overlay.put_state(key, None);
    }
}
