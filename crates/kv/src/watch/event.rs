//! Events of one revision, encoded once for the wire and shared by every stream that sends them.
//!
//! ```text
//!   bytes   │5a len type kv…│5a len type kv…│ …        field 11 of a WatchResponse, repeated
//!   events   ▲ start, key, sub, kind                  one small record each
//!   or       │len, kind, key│len, kind, key│ …         of a revision too large to be handed round
//! ```
//! Why encoded and not kept as slices of the log entry: a slice pins the whole message it was cut from, which nobody
//! counts any more once the entry is applied; the encoded form is exactly as large as it says.

use bytes::Bytes;
use std::sync::Arc;
use tidegate_base::{Budget, Holder, Lease};

use super::wire;

/// Most encoded bytes of one revision that travel to the threads. Of a larger one they are told the keys, while these take
/// at most a quarter of it, and else the revision only.
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

/// How much of a revision is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Events,
    /// Which keys changed and how: who looks at one of them reads the rest.
    Keys,
    /// That it happened.
    Number,
}

/// Events of one revision, or its keys, or only its number.
#[derive(Debug)]
pub struct RevisionEvents {
    revision: i64,
    told: Told,
    /// Encoded events, or keys as [`put_key`] lays them out.
    bytes: Bytes,
    events: Box<[Meta]>,
    only_creations: bool,
    /// Stands for `bytes` and `events`. Not for results of jobs, which the hub's own lease covers.
    _lease: Option<Lease>,
}

impl RevisionEvents {
    fn new(revision: i64, told: Told, bytes: Bytes) -> Self {
        Self { revision, told, bytes, events: Box::default(), only_creations: false, _lease: None }
    }

    /// Tells that `revision` happened, and nothing of what it changed.
    pub fn unknown(revision: i64) -> Self {
        Self::new(revision, Told::Number, Bytes::new())
    }

    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Whether the events are here.
    pub fn is_known(&self) -> bool {
        self.told == Told::Events
    }

    /// Whether it is told which keys changed.
    pub fn tells_keys(&self) -> bool {
        self.told != Told::Number
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
        &self.events
    }

    /// Each change of the revision, when its keys are told.
    pub(super) fn keys(&self) -> impl Iterator<Item = (EventKind, &[u8])> {
        let mut rest = if self.told == Told::Keys { &self.bytes[..] } else { &[] };
        let bare = std::iter::from_fn(move || {
            let (number, behind) = wire::take_varint(rest)?;
            let (key, behind) = behind.split_at_checked(usize::try_from(number >> 1).ok()?)?;
            rest = behind;
            Some((if number & 1 == 1 { EventKind::Delete } else { EventKind::Put }, key))
        });
        (0..self.len()).map(|event| (self.kind(event), self.key(event))).chain(bare)
    }

    /// The same revision with less told: the keys if they take at most `bytes_max` bytes.
    fn without_events(&self, bytes_max: usize) -> Self {
        let mut keys = Vec::new();
        let fits = self.is_known() && self.keys().all(|(kind, key)| put_key(&mut keys, kind, key, bytes_max));
        if fits { Self::new(self.revision, Told::Keys, keys.into()) } else { Self::unknown(self.revision) }
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

/// Adds a change without its event; `false`, and nothing added, beyond `bytes_max`.
fn put_key(keys: &mut Vec<u8>, kind: EventKind, key: &[u8], bytes_max: usize) -> bool {
    let number = (key.len() as u64) << 1 | u64::from(kind == EventKind::Delete);
    let fits = keys.len() as u64 + wire::varint_len(number) + key.len() as u64 <= bytes_max as u64;
    if fits {
        wire::put_varint(keys, number);
        keys.extend_from_slice(key);
    }
    fits
}

/// Encodes the events of one revision.
#[derive(Debug)]
pub struct RevisionBuilder {
    revision: i64,
    told: Told,
    bytes: Vec<u8>,
    events: Vec<Meta>,
    bytes_max: usize,
}

impl RevisionBuilder {
    /// Holds at most `bytes_max` bytes: [`LIVE_BYTES_MAX`] for what apply publishes, the job's own bound for results.
    pub fn new(revision: i64, bytes_max: usize) -> Self {
        let bytes_max = bytes_max.min(i32::MAX as usize);
        Self { revision, told: Told::Events, bytes: Vec::new(), events: Vec::new(), bytes_max }
    }

    /// Bytes of the event in here, if it fits: looked at before its values are fetched.
    ///
    /// # Errors
    /// [`Full`], with the bytes it would take.
    pub fn room_for(&self, kind: EventKind, pair: &PairShape, previous: Option<&PairShape>) -> Result<usize, Full> {
        let len = usize::try_from(wire::event_field_len(kind, pair, previous)).unwrap_or(usize::MAX);
        let bytes = len.saturating_add(self.bytes() + size_of::<Meta>());
        if bytes > self.bytes_max { Err(Full { bytes }) } else { Ok(len) }
    }

    /// Adds the next event. Subs must ascend.
    ///
    /// # Errors
    /// [`Full`], with the bytes it would take.
    pub fn push(&mut self, event: &EventRef<'_>) -> Result<(), Full> {
        debug_assert!(self.told == Told::Events, "results are never cut");
        debug_assert!(self.events.last().is_none_or(|last| last.sub < event.sub), "subs ascend");
        let previous = event.previous.map(|pair| pair.shape());
        let len = self.room_for(event.kind, &event.pair.shape(), previous.as_ref())?;
        let start = self.bytes.len();
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

    /// For apply: adds the next event. Once the events are too many only their keys are kept, and of too many keys nothing.
    pub fn record(&mut self, event: &EventRef<'_>) {
        if self.told == Told::Events {
            if self.push(event).is_ok() {
                return;
            }
            let whole = std::mem::replace(self, Self::new(self.revision, self.bytes_max));
            let keys = whole.finish().without_events(self.keys_max());
            (self.told, self.bytes) = (keys.told, keys.bytes.into());
        }
        let keys_max = self.keys_max();
        if self.told == Told::Keys && !put_key(&mut self.bytes, event.kind, event.pair.key, keys_max) {
            (self.told, self.bytes) = (Told::Number, Vec::new());
        }
    }

    fn keys_max(&self) -> usize {
        self.bytes_max / 4
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes.len() + self.events.len() * size_of::<Meta>() + size_of::<RevisionEvents>()
    }

    /// Whether no event is in here.
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
        let events = self.events.into_boxed_slice();
        RevisionEvents { events, only_creations, ..RevisionEvents::new(self.revision, self.told, self.bytes.into()) }
    }

    /// For apply: leases the bytes from [`Holder::Watches`], for as long as any thread keeps them. Without room, the keys
    /// are told, or only the revision.
    pub fn publish(self, budget: &Budget) -> Arc<RevisionEvents> {
        let keys_max = self.keys_max();
        let mut events = self.finish();
        while events.tells_keys() {
            match budget.try_lease(Holder::Watches, events.bytes() as u64) {
                Some(lease) => {
                    events._lease = Some(lease);
                    break;
                }
                None => events = events.without_events(keys_max),
            }
        }
        Arc::new(events)
    }
}
