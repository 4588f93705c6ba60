//! Reads that the hub wants from the engine, and their results.

use super::{
    event::{EventKind, PairShape, RevisionEvents, event_field_len},
    index::Index,
    span::{KeySpan, Spans},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId(pub(super) u64);

/// One read. It may run on any thread; jobs may end in any order.
#[derive(Debug)]
pub struct Job {
    pub id: JobId,
    pub work: Work,
    /// Most bytes that the events of the result may hold (`RevisionEvents::bytes`, summed). The hub has leased them.
    pub bytes_max: usize,
}

#[derive(Debug)]
pub enum Work {
    /// Whole revisions with events in `scope`, ascending: [`Done::CaughtUp`].
    CatchUp { scope: Scope, from: i64, to: i64, previous: bool },
    /// Sizes of what several watches get of one revision that is too large to hold: [`Done::Measured`]. See [`Measurer`].
    Measure { revision: i64, from_sub: u32, asks: Vec<Ask> },
    /// The next events of one revision, from `from_sub` on, as many as fit: [`Done::Events`].
    Events { revision: i64, from_sub: u32, ask: Ask },
}

#[derive(Debug)]
pub enum Scope {
    /// One key, far behind: through the versions of the key.
    Key(KeySpan),
    /// Through the events of the revisions.
    Spans(Spans),
}

/// What one watch wants of a revision.
#[derive(Debug, Clone)]
pub struct Ask {
    pub span: KeySpan,
    pub no_put: bool,
    pub no_delete: bool,
    /// Whether events carry the pair as it stood at the revision before: absent for a put that created its key, and when
    /// that revision is compacted.
    pub previous: bool,
    /// Most bytes of one answer.
    pub bytes_max: u64,
}

impl Ask {
    pub fn wants(&self, kind: EventKind, key: &[u8]) -> bool {
        self.takes(kind) && self.span.contains(key)
    }

    fn takes(&self, kind: EventKind) -> bool {
        match kind {
            EventKind::Put => !self.no_put,
            EventKind::Delete => !self.no_delete,
        }
    }
}

/// What one answer to an [`Ask`] holds: whole events up to `bytes_max`, and at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    pub events: u64,
    /// Encoded bytes of these events.
    pub bytes: u64,
    /// The sub that the next answer begins with.
    pub next: Option<u32>,
}

impl Size {
    /// Adds an event; `false` when it belongs to the next answer.
    pub(super) fn add(&mut self, len: u64, sub: u32, bytes_max: u64) -> bool {
        if self.next.is_some() {
            return false;
        }
        if self.events > 0 && self.bytes + len > bytes_max {
            self.next = Some(sub);
            return false;
        }
        self.events += 1;
        self.bytes += len;
        true
    }
}

/// Result of a job.
#[derive(Debug)]
pub enum Done {
    CaughtUp {
        /// Revisions with at least one event in the scope, ascending, complete.
        revisions: Vec<RevisionEvents>,
        /// The first revision that was not looked at: `to + 1` at the end. A read may stop early (at `bytes_max`, at the
        /// end of its slice), but not before it got past `from`, but for `large`.
        next: i64,
        /// Revision `next` alone holds more than `bytes_max`.
        large: bool,
    },
    /// One size for each ask.
    Measured(Vec<Size>),
    Events {
        /// Events that the ask wants, with previous pairs if it asks for them.
        events: RevisionEvents,
        /// The sub to go on from; `None` at the end of the revision.
        next: Option<u32>,
    },
    /// The next event alone needs this many bytes ([`super::Full`]).
    NeedsBytes(usize),
    /// A revision that the job needs lies below this compacted revision.
    Compacted(i64),
    /// The engine failed: the member is about to stop. The hub tries again at its next tick.
    Failed,
}

/// Sums one pass over a revision for all asks of [`Work::Measure`]. O(log asks + matches) an event.
#[derive(Debug)]
pub struct Measurer {
    asks: Vec<Ask>,
    sizes: Vec<Size>,
    index: Index,
    any_previous: bool,
    /// Answers that are not full.
    open: usize,
}

impl Measurer {
    pub fn new(asks: Vec<Ask>) -> Self {
        let mut index = Index::default();
        for (slot, ask) in (0..).zip(&asks) {
            index.insert(&ask.span, slot);
        }
        let any_previous = asks.iter().any(|ask| ask.previous);
        let open = asks.len();
        Self { sizes: vec![Size::default(); open], asks, index, any_previous, open }
    }

    /// Whether the length of the event's previous pair is needed.
    pub fn needs_previous(&self) -> bool {
        self.any_previous
    }

    /// Whether every answer is full: what follows in the revision changes nothing.
    pub fn is_full(&self) -> bool {
        self.open == 0
    }

    /// Takes the next event, in order of subs.
    pub fn event(&mut self, kind: EventKind, sub: u32, key: &[u8], pair: &PairShape, previous: Option<&PairShape>) {
        let Self { asks, sizes, index, open, .. } = self;
        index.stab(key, |slot| {
            let (ask, size) = (&asks[slot as usize], &mut sizes[slot as usize]);
            if ask.takes(kind) && size.next.is_none() {
                let previous = previous.filter(|_| ask.previous);
                let taken = size.add(event_field_len(kind, pair, previous), sub, ask.bytes_max);
                *open -= usize::from(!taken);
            }
        });
    }

    pub fn finish(self) -> Vec<Size> {
        self.sizes
    }
}
