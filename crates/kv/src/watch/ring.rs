//! Recent revisions, oldest first, for streams that are not served yet.
//!
//! Queues hold numbers of revisions and of events in them, and find the events here. A revision that has left the ring is
//! read again: so a stream that stands still pins nothing, however large the revision it was about to send.

use std::{collections::VecDeque, sync::Arc};

use super::{event::RevisionEvents, hub::StreamId};

/// Charged for an entry besides the events, which carry a lease of their own.
pub(super) const ENTRY_BYTES: u64 = size_of::<Entry>() as u64;

/// The events of a revision with their previous pairs.
#[derive(Debug)]
pub(super) enum Previous {
    NotAsked,
    /// Being read; these streams wait for it.
    Asked(Vec<StreamId>),
    Known(Arc<RevisionEvents>),
    /// Not to be kept here: each watch reads its own.
    TooLarge,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) events: Arc<RevisionEvents>,
    pub(super) previous: Previous,
}

impl Entry {
    /// The events as a watch wants them that asks for previous pairs or not.
    pub(super) fn data(&self, previous: bool) -> Option<&Arc<RevisionEvents>> {
        match &self.previous {
            _ if !previous || self.events.only_creations() => Some(&self.events),
            Previous::Known(events) => Some(events),
            _ => None,
        }
    }

    fn extra_bytes(&self) -> u64 {
        match &self.previous {
            Previous::Known(events) => events.bytes() as u64,
            _ => 0,
        }
    }
}

/// What the ring let go.
#[derive(Debug, Default)]
pub(super) struct Evicted {
    /// Bytes of the hub's own that came back.
    pub(super) bytes: u64,
    /// Streams that waited for previous pairs of a revision that is gone.
    pub(super) waiters: Vec<StreamId>,
}

#[derive(Debug)]
pub(super) struct Ring {
    entries: VecDeque<Entry>,
    bytes: u64,
    /// Every revision from here to the last one is in the ring.
    from: i64,
}

impl Ring {
    pub(super) fn new(last: i64) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, from: last + 1 }
    }

    pub(super) fn get(&self, revision: i64) -> Option<&Entry> {
        let at = self.entries.binary_search_by_key(&revision, |entry| entry.events.revision()).ok()?;
        self.entries.get(at)
    }

    pub(super) fn get_mut(&mut self, revision: i64) -> Option<&mut Entry> {
        let at = self.entries.binary_search_by_key(&revision, |entry| entry.events.revision()).ok()?;
        self.entries.get_mut(at)
    }

    /// Whether every revision from `revision` on is here.
    pub(super) fn covers(&self, revision: i64) -> bool {
        revision >= self.from
    }

    pub(super) fn push(&mut self, events: Arc<RevisionEvents>) {
        self.bytes += events.bytes() as u64 + ENTRY_BYTES;
        self.entries.push_back(Entry { events, previous: Previous::NotAsked });
    }

    /// Stores previous pairs, for which the caller has taken bytes.
    pub(super) fn set_previous(&mut self, revision: i64, events: Arc<RevisionEvents>) {
        let bytes = events.bytes() as u64;
        if let Some(entry) = self.get_mut(revision) {
            entry.previous = Previous::Known(events);
            self.bytes += bytes;
        }
    }

    /// The revision after `last` is not in the ring, nor is any gap filled later.
    pub(super) fn gap(&mut self, last: i64) {
        self.from = last + 1;
    }

    /// Lets the oldest revisions go until at most `bytes_max` are held.
    pub(super) fn shrink_to(&mut self, bytes_max: u64) -> Evicted {
        let mut evicted = Evicted::default();
        while self.bytes > bytes_max
            && let Some(entry) = self.entries.pop_front()
        {
            self.bytes -= entry.events.bytes() as u64 + ENTRY_BYTES + entry.extra_bytes();
            evicted.bytes += ENTRY_BYTES + entry.extra_bytes();
            self.from = self.from.max(entry.events.revision() + 1);
            if let Previous::Asked(waiters) = entry.previous {
                evicted.waiters.extend(waiters);
            }
        }
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
        evicted
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn since(&self, revision: i64) -> impl Iterator<Item = &Arc<RevisionEvents>> {
        let at = self.entries.partition_point(|entry| entry.events.revision() < revision);
        self.entries.range(at..).map(|entry| &entry.events)
    }
}
