//! Events of one revision, encoded once for the wire and shared by every stream that sends them.
//!
//! ```text
//!   bytes   │5a len type kv…│5a len type kv…│ …        field 11 of a WatchResponse, repeated
//!   events   ▲ start, key, sub, kind                  one small record each
//! ```
//! Why encoded and not kept as slices of the log entry: a slice pins the whole message it was cut from, which nobody
//! counts any more once the entry is applied; the encoded form is exactly as large as it says.

use bytes::Bytes;
use std::sync::Arc;
use tidegate_base::{Budget, Holder, Lease};

use super::wire;

/// Most encoded bytes of one revision that travel to the threads; of a larger one they are told the revision only.
pub const LIVE_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    Put,
    Delete,
}

/// A pair as an event shows it. Of a deletion only key and `modified` count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairRef<'a> {
    pub key: &'a [u8],
    pub value: &'a [u8],
    pub create: i64,
    pub modified: i64,
    pub version: i64,
    pub lease: i64,
}

impl PairRef<'_> {
    pub fn shape(&self) -> PairShape {
        PairShape {
            key_len: self.key.len(),
            value_len: self.value.len(),
            create: self.create,
            modified: self.modified,
            version: self.version,
            lease: self.lease,
        }
    }
}

/// What decides the encoded length of a pair: everything but its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairShape {
    pub key_len: usize,
    pub value_len: usize,
    pub create: i64,
    pub modified: i64,
    pub version: i64,
    pub lease: i64,
}

/// An event of revision `pair.modified`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRef<'a> {
    pub kind: EventKind,
    pub sub: u32,
    pub pair: PairRef<'a>,
    /// The pair as it stood at the revision before, for watches that ask for it.
    pub previous: Option<PairRef<'a>>,
}

/// Length of an event as field 11 of a `WatchResponse`, tag included.
pub fn event_field_len(kind: EventKind, pair: &PairShape, previous: Option<&PairShape>) -> u64 {
    wire::event_field_len(kind, pair, previous)
}

#[derive(Debug, Clone, Copy)]
struct Meta {
    start: u32,
    key_at: u32,
    key_len: u32,
    sub: u32,
    kind: EventKind,
    /// A put that created its key: it has no previous pair.
    creation: bool,
}

/// Events of one revision, or only its number.
#[derive(Debug)]
pub struct RevisionEvents {
    revision: i64,
    bytes: Bytes,
    /// `None`: told the revision only.
    events: Option<Box<[Meta]>>,
    only_creations: bool,
    /// Stands for `bytes` and `events`. Not for results of jobs, which the hub's own lease covers.
    _lease: Option<Lease>,
}

impl RevisionEvents {
    /// Tells that `revision` happened, and nothing of what it changed.
    pub fn unknown(revision: i64) -> Self {
        Self { revision, bytes: Bytes::new(), events: None, only_creations: false, _lease: None }
    }

    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Whether the events are here.
    pub fn is_known(&self) -> bool {
        self.events.is_some()
    }

    pub fn len(&self) -> usize {
        self.metas().len()
    }

    pub fn is_empty(&self) -> bool {
        self.metas().is_empty()
    }

    /// Bytes it holds.
    pub fn bytes(&self) -> usize {
        self.bytes.len() + size_of_val(self.metas()) + size_of::<Self>()
    }

    fn metas(&self) -> &[Meta] {
        self.events.as_deref().unwrap_or_default()
    }

    pub(super) fn key(&self, event: usize) -> &[u8] {
        let meta = &self.metas()[event];
        &self.bytes[meta.key_at as usize..][..meta.key_len as usize]
    }

    pub(super) fn kind(&self, event: usize) -> EventKind {
        self.metas()[event].kind
    }

    pub(super) fn sub(&self, event: usize) -> u32 {
        self.metas()[event].sub
    }

    /// Whether no event has a previous pair.
    pub(super) fn only_creations(&self) -> bool {
        self.only_creations
    }

    /// The event as field 11, tag included.
    pub(super) fn field(&self, event: usize) -> &[u8] {
        let metas = self.metas();
        let end = metas.get(event + 1).map_or(self.bytes.len(), |next| next.start as usize);
        &self.bytes[metas[event].start as usize..end]
    }

    /// Number of the first event at or behind `sub`.
    pub(super) fn at_sub(&self, sub: u32) -> usize {
        self.metas().partition_point(|meta| meta.sub < sub)
    }
}

/// An event that would make the revision larger than the builder may hold. Nothing was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// Bytes that the builder would hold with it.
    pub bytes: usize,
}

/// Encodes the events of one revision.
#[derive(Debug)]
pub struct RevisionBuilder {
    revision: i64,
    bytes: Vec<u8>,
    events: Vec<Meta>,
    bytes_max: usize,
}

impl RevisionBuilder {
    /// Holds at most `bytes_max` bytes: [`LIVE_BYTES_MAX`] for what apply publishes, the job's own bound for results.
    pub fn new(revision: i64, bytes_max: usize) -> Self {
        let bytes_max = bytes_max.min(i32::MAX as usize);
        Self { revision, bytes: Vec::new(), events: Vec::new(), bytes_max }
    }

    /// Adds the next event. Subs must ascend.
    ///
    /// # Errors
    /// [`Full`], with the bytes it would take.
    pub fn push(&mut self, event: &EventRef<'_>) -> Result<(), Full> {
        debug_assert!(self.events.last().is_none_or(|last| last.sub < event.sub), "subs ascend");
        let previous = event.previous.map(|pair| pair.shape());
        let len = wire::event_field_len(event.kind, &event.pair.shape(), previous.as_ref());
        let bytes = usize::try_from(len).unwrap_or(usize::MAX).saturating_add(self.bytes() + size_of::<Meta>());
        if bytes > self.bytes_max {
            return Err(Full { bytes });
        }
        let start = self.bytes.len();
        let len = usize::try_from(len).expect("is below the bound");
        if start == 0 {
            self.bytes.reserve_exact(len);
        }
        let key_at = wire::put_event(&mut self.bytes, event);
        debug_assert_eq!(self.bytes.len() - start, len, "length and encoding agree");
        let offset = |n: usize| u32::try_from(n).expect("the bound is below 2 GiB");
        self.events.push(Meta {
            start: offset(start),
            key_at: offset(key_at),
            key_len: offset(event.pair.key.len()),
            sub: event.sub,
            kind: event.kind,
            creation: event.kind == EventKind::Put && event.pair.create == event.pair.modified,
        });
        Ok(())
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes.len() + self.events.len() * size_of::<Meta>() + size_of::<RevisionEvents>()
    }

    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// For results of jobs, whose bytes the hub has leased already.
    pub fn finish(mut self) -> RevisionEvents {
        self.bytes.shrink_to_fit();
        let only_creations = self.events.iter().all(|event| event.creation);
        let events = Some(self.events.into_boxed_slice());
        RevisionEvents { revision: self.revision, bytes: self.bytes.into(), events, only_creations, _lease: None }
    }

    /// For apply: leases the bytes from [`Holder::Watches`], for as long as any thread keeps them. Without room, only
    /// the revision is told.
    pub fn publish(self, budget: &Budget) -> Arc<RevisionEvents> {
        let mut events = self.finish();
        match budget.try_lease(Holder::Watches, events.bytes() as u64) {
            Some(lease) => events._lease = Some(lease),
            None => events = RevisionEvents::unknown(events.revision),
        }
        Arc::new(events)
    }
}
