//! Reads of the store, from any thread, each at a bound.
//!
//! ```text
//!   head      answers when its version lies before the bound      (nearly always)
//!   versions  else: the newest version before the bound            one seek
//!   events    the value, unless it stood in head; from 16 KiB on in a row of its own
//! ```
//! A read that looks at more than one row takes a pin, so that compaction leaves its versions alone.

mod compare;
mod events;
mod get;
mod hash;
mod heads;
mod pins;
mod range;
mod state;
mod wire;

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use tidegate_base::LogIndex;
use tidegate_engine::{Engine, Error as EngineError};

pub(crate) use self::heads::Head;
pub use self::{
    compare::CompareCursor,
    events::{KeyEvent, StoredEvent},
    get::{Found, Row},
    hash::{HashAnswer, HashCursor},
    pins::Pin,
    range::{Piece, RangeCursor, RangeMeasure, RangeSpec, Revisions, SliceLimit, SortField, Sorting},
    wire::{pair_len, put_number_field, put_pair},
};
pub(crate) use self::{compare::matches, range::head_span};
use self::{heads::Heads, pins::Pins};
use crate::{Bound, rows::BadRow};

/// Why a read has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("revision is compacted: history begins at {0}")]
    Compacted(i64),
    #[error("revision is in the future: the newest is {0}")]
    Future(i64),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    BadRow(#[from] BadRow),
}

/// What the one writer publishes and every reader looks at.
pub(crate) struct Shared {
    visible: AtomicI64,
    compacted: AtomicI64,
    applied: AtomicU64,
    pub(crate) pins: Pins,
    pub(crate) heads: Heads,
}

impl Shared {
    pub(crate) fn new(visible: i64, compacted: i64, applied: LogIndex, heads_bytes: usize) -> Self {
        Self {
            visible: AtomicI64::new(visible),
            compacted: AtomicI64::new(compacted),
            applied: AtomicU64::new(applied.0),
            pins: Pins::default(),
            heads: Heads::new(heads_bytes),
        }
    }

    pub(crate) fn visible(&self) -> i64 {
        self.visible.load(Ordering::Acquire)
    }

    pub(crate) fn compacted(&self) -> i64 {
        self.compacted.load(Ordering::SeqCst)
    }

    /// To be called after the batch is in the engine: compaction first, so that no reader is let in below it.
    pub(crate) fn publish(&self, visible: i64, compacted: i64, applied: LogIndex) {
        self.compacted.store(compacted, Ordering::SeqCst);
        self.visible.store(visible, Ordering::Release);
        self.applied.store(applied.0, Ordering::Release);
    }
}

/// The reading side. Cheap to share; every method may be called from any thread.
pub struct Reader<E> {
    pub(crate) engine: Arc<E>,
    pub(crate) shared: Arc<Shared>,
}

impl<E> Clone for Reader<E> {
    fn clone(&self) -> Self {
        Self { engine: Arc::clone(&self.engine), shared: Arc::clone(&self.shared) }
    }
}

impl<E: Engine> Reader<E> {
    pub(crate) fn new(engine: Arc<E>, shared: Arc<Shared>) -> Self {
        Self { engine, shared }
    }

    pub fn engine(&self) -> &E {
        &self.engine
    }

    /// The newest revision that a read may see.
    pub fn visible(&self) -> i64 {
        self.shared.visible()
    }

    /// History below this revision may not be read.
    pub fn compacted(&self) -> i64 {
        self.shared.compacted()
    }

    /// The last entry whose effect [`Reader::visible`] includes.
    pub fn applied(&self) -> LogIndex {
        LogIndex(self.shared.applied.load(Ordering::Acquire))
    }

    /// The bound of a read at `revision`; zero and below mean now, which is never refused.
    ///
    /// # Errors
    /// [`ReadError::Future`] and [`ReadError::Compacted`].
    pub fn bound(&self, revision: i64) -> Result<Bound, ReadError> {
        loop {
            let visible = self.visible();
            if revision > visible {
                return Err(ReadError::Future(visible));
            }
            let bound = Bound::at(if revision <= 0 { visible } else { revision });
            match self.check(bound) {
                // A compaction is published before the revisions that it goes to: they follow at once.
                Err(ReadError::Compacted(_)) if revision <= 0 => std::hint::spin_loop(),
                checked => return checked.map(|()| bound),
            }
        }
    }

    /// The bound of a read at `revision`, pinned; zero and below mean now, which is never refused.
    ///
    /// # Errors
    /// [`ReadError::Future`] and [`ReadError::Compacted`].
    pub fn pinned(&self, revision: i64) -> Result<(Bound, Pin), ReadError> {
        loop {
            let bound = self.bound(revision)?;
            match self.pin(bound) {
                Err(ReadError::Compacted(_)) if revision <= 0 => {}
                pinned => return pinned.map(|pin| (bound, pin)),
            }
        }
    }

    /// Holds off the removal of what a read at `bound` sees, until the pin is dropped.
    ///
    /// # Errors
    /// [`ReadError::Compacted`] when it is too late.
    pub fn pin(&self, bound: Bound) -> Result<Pin, ReadError> {
        // The pin first, then the look: compaction does it the other way round, so one of the two sees the other.
        let pin = Pin::take(&self.shared, bound.revision());
        self.check(bound)?;
        Ok(pin)
    }

    /// Whether all that a read at `bound` sees was still there when this is called: for reads without a pin, afterwards.
    pub fn is_whole(&self, bound: Bound) -> bool {
        self.check(bound).is_ok()
    }

    fn check(&self, bound: Bound) -> Result<(), ReadError> {
        let compacted = self.compacted();
        if bound.revision() < compacted { Err(ReadError::Compacted(compacted)) } else { Ok(()) }
    }

    /// Bytes of the newest versions that are kept in memory.
    pub fn heads_bytes(&self) -> u64 {
        self.shared.heads.bytes() as u64
    }

    /// Revision of the oldest pin.
    pub fn oldest_pin(&self) -> Option<i64> {
        self.shared.pins.oldest()
    }
}
