//! Reads for the hub, on a work thread, in bounded slices: what a read knows so far is kept between them, and no iterator.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use tidegate_base::{
    clock,
    planted::{Fault, is_planted},
};
use tidegate_engine::{Engine, Tier};
use tidegate_kv::{
    Bound, Found, Info, KeyEvent, ReadError, Reader, StoredEvent, Version,
    watch::{
        Ask, Done, EventKind, EventRef, Full, KeySpan, Measurer, PairRef, PairShape, RevisionBuilder, RevisionEvents,
        Scope, Spans, Work,
    },
};

/// Rows that one slice looks at: about a millisecond.
const ROWS: usize = 2000;
/// When look-ups or the disk make rows slower, a slice ends by the clock, which is looked at every few rows.
const TIME: Duration = Duration::from_millis(1);
const ROWS_BETWEEN_LOOKS: usize = 8;

/// What one turn on a work thread may do.
pub(crate) struct Slice {
    rows: usize,
    until: Option<Instant>,
}

impl Slice {
    pub(crate) fn begin() -> Self {
        Self { rows: ROWS, until: Some(clock::now() + TIME) }
    }

    /// One that ends after `rows` rows, however long they take.
    pub(crate) fn rows(rows: usize) -> Self {
        Self { rows, until: None }
    }

    /// Whether the next row belongs to the next slice.
    fn is_over(&mut self) -> bool {
        if self.rows == 0 {
            return true;
        }
        self.rows -= 1;
        self.rows.is_multiple_of(ROWS_BETWEEN_LOOKS) && self.until.is_some_and(|until| clock::now() >= until)
    }
}

/// A read under way.
pub(crate) struct Walk {
    /// First revision that it needs.
    from: i64,
    kind: Kind,
}

enum Kind {
    Key { span: KeySpan, to: i64, previous: bool, collector: Collector },
    Spans { spans: Spans, at: Version, to: i64, previous: bool, collector: Collector },
    Measure { at: Version, measurer: Measurer },
    Events { at: Version, ask: Ask, builder: RevisionBuilder },
}

impl Walk {
    /// `bytes_max`: most bytes of the events in its result.
    pub(crate) fn new(work: Work, bytes_max: usize) -> Self {
        match work {
            Work::CatchUp { scope, from, to, previous } => {
                let collector = Collector::new(bytes_max);
                let kind = match scope {
                    Scope::Key(span) => Kind::Key { span, to, previous, collector },
                    Scope::Spans(spans) => Kind::Spans { spans, at: Version::new(from, 0), to, previous, collector },
                };
                Self { from, kind }
            }
            Work::Measure { revision, from_sub, asks } => {
                let at = Version::new(revision, from_sub);
                Self { from: revision, kind: Kind::Measure { at, measurer: Measurer::new(asks) } }
            }
            Work::Events { revision, from_sub, ask } => {
                let (at, builder) = (Version::new(revision, from_sub), RevisionBuilder::new(revision, bytes_max));
                Self { from: revision, kind: Kind::Events { at, ask, builder } }
            }
        }
    }

    /// Goes on for one slice: with the rest of the read, or its result.
    pub(crate) fn step<E: Engine>(self, reader: &Reader<E>, slice: &mut Slice) -> Result<Self, Done> {
        let from = self.from;
        let went = match self.kind {
            Kind::Key { span, to, previous, collector } => {
                catch_up_key(reader, &span, from, to, previous, collector, slice)
            }
            Kind::Spans { spans, at, to, previous, collector } => {
                catch_up(reader, spans, (from, at, to), previous, collector, slice)
            }
            Kind::Measure { at, measurer } => measure(reader, at, measurer, slice),
            Kind::Events { at, ask, builder } => events(reader, at, ask, builder, slice),
        };
        // Nothing is pinned: what was read counts only if it was still history afterwards.
        let compacted = reader.compacted();
        if from < compacted {
            return Err(Done::Compacted(compacted));
        }
        match went {
            Ok(Turn::Rest(kind)) => Ok(Self { from, kind }),
            Ok(Turn::End(done)) => Err(done),
            Err(error) => {
                tracing::error!(%error, "a watch cannot be caught up");
                Err(Done::Failed)
            }
        }
    }
}

/// What a slice came to.
enum Turn {
    Rest(Kind),
    End(Done),
}

/// A change that a walk met.
struct Change<'a> {
    key: &'a [u8],
    at: Version,
    info: Info,
    /// The value, when it stands in the row.
    value: Option<&'a [u8]>,
    /// The value has a row of its own.
    blob: bool,
}

impl<'a> Change<'a> {
    fn of_event(event: &StoredEvent<'a>) -> Self {
        Self { key: event.key, at: event.at, info: event.info, value: event.value, blob: event.is_blob() }
    }

    fn of_version(key: &'a [u8], version: &KeyEvent) -> Self {
        Self { key, at: version.at, info: version.info, value: None, blob: version.blob }
    }

    fn kind(&self) -> EventKind {
        if self.info.deleted { EventKind::Delete } else { EventKind::Put }
    }

    fn shape(&self) -> PairShape {
        shape(self.key, self.at, &self.info)
    }

    /// The pair as it stood at the revision before, its value not fetched: none for a creation, and none once that revision
    /// is compacted.
    fn previous<E: Engine>(&self, reader: &Reader<E>) -> Result<Option<Found>, ReadError> {
        let before = self.at.main - 1;
        if !self.info.deleted && self.info.create == self.at.main {
            return Ok(None);
        }
        let found = reader.find(self.key, Bound::at(before), Tier::All)?.known().flatten();
        // Looked at afterwards: of what is compacted any part may be gone.
        Ok(found.filter(|_| before >= reader.compacted()))
    }

    /// Adds it to `builder`. Values are fetched once it is known that they fit.
    fn push<E: Engine>(
        &self,
        reader: &Reader<E>,
        previous: bool,
        builder: &mut RevisionBuilder,
    ) -> Result<Result<(), Full>, ReadError> {
        let before = if previous { self.previous(reader)? } else { None };
        let before_shape = before.as_ref().map(|found| shape(self.key, found.at, &found.info));
        if let Err(full) = builder.room_for(self.kind(), &self.shape(), before_shape.as_ref()) {
            return Ok(Err(full));
        }
        let fetched = match self.value {
            None if !self.info.deleted => reader.value(self.at, self.blob, Tier::All)?.known(),
            _ => None,
        };
        let value = self.value.or(fetched.as_deref()).unwrap_or_default();
        let before = match before {
            Some(found) => match found.value.clone() {
                Some(value) => Some((found, value)),
                None => match reader.value(found.at, found.blob, Tier::All) {
                    Ok(value) => value.known().map(|value| (found, value)),
                    Err(ReadError::Compacted(_)) => None,
                    Err(error) => return Err(error),
                },
            },
            None => None,
        };
        Ok(builder.push(&EventRef {
            kind: self.kind(),
            sub: self.at.sub,
            pair: pair(self.key, self.at, &self.info, value),
            previous: before.as_ref().map(|(found, value)| pair(self.key, found.at, &found.info, value)),
        }))
    }
}

fn shape(key: &[u8], at: Version, info: &Info) -> PairShape {
    PairShape {
        key_len: key.len(),
        value_len: usize::try_from(info.value_len).unwrap_or(usize::MAX),
        create: info.create,
        modified: at.main,
        version: info.version,
        lease: info.lease,
    }
}

fn pair<'a>(key: &'a [u8], at: Version, info: &Info, value: &'a [u8]) -> PairRef<'a> {
    PairRef { key, value, create: info.create, modified: at.main, version: info.version, lease: info.lease }
}

/// Revisions that are being collected under a limit of bytes.
struct Collector {
    revisions: Vec<RevisionEvents>,
    open: Option<RevisionBuilder>,
    bytes: usize,
    bytes_max: usize,
    full: bool,
}

impl Collector {
    fn new(bytes_max: usize) -> Self {
        Self { revisions: Vec::new(), open: None, bytes: 0, bytes_max, full: false }
    }

    fn close(&mut self) {
        if let Some(builder) = self.open.take().filter(|builder| !builder.is_empty()) {
            let events = builder.finish();
            self.bytes += events.bytes();
            self.revisions.push(events);
        }
    }

    /// Adds a change; `false` when it does not fit.
    fn push<E: Engine>(&mut self, reader: &Reader<E>, change: &Change<'_>, previous: bool) -> Result<bool, ReadError> {
        let revision = change.at.main;
        if self.open.as_ref().is_some_and(|open| open.revision() != revision) {
            self.close();
        }
        let room = self.bytes_max.saturating_sub(self.bytes);
        let open = self.open.get_or_insert_with(|| RevisionBuilder::new(revision, room));
        self.full = change.push(reader, previous, open)?.is_err();
        Ok(!self.full)
    }

    /// `stopped`: the revision at which the walk ended early.
    fn finish(mut self, to: i64, stopped: Option<i64>) -> Turn {
        let next = match stopped {
            Some(at) if is_planted(Fault::EventLostInCatchUp) => at + 1,
            Some(at) if is_planted(Fault::EventRepeatedInCatchUp) => at - 1,
            stopped => stopped.unwrap_or(to + 1),
        };
        // What was begun of `next` is begun again later; a revision before it is whole.
        if self.open.as_ref().is_some_and(|open| open.revision() < next) {
            self.close();
        }
        let large = self.full && self.revisions.is_empty();
        Turn::End(Done::CaughtUp { revisions: self.revisions, next, large })
    }
}

/// Through the events. A slice that got past the first revision ends the read, so that the watches move on; inside of it,
/// however large it is, the walk goes on in the next slice.
fn catch_up<E: Engine>(
    reader: &Reader<E>,
    spans: Spans,
    (from, at, to): (i64, Version, i64),
    previous: bool,
    mut collector: Collector,
    slice: &mut Slice,
) -> Result<Turn, ReadError> {
    let (mut paused, mut stopped) = (None, None);
    reader.each_event(at, to, |event| {
        if slice.is_over() {
            paused = Some(event.at);
            return Ok(false);
        }
        if spans.contains(event.key) && !collector.push(reader, &Change::of_event(event), previous)? {
            stopped = Some(event.at.main);
            return Ok(false);
        }
        Ok(true)
    })?;
    Ok(match paused {
        Some(at) if at.main == from => Turn::Rest(Kind::Spans { spans, at, to, previous, collector }),
        paused => collector.finish(to, stopped.or(paused.map(|at| at.main))),
    })
}

/// Through the versions of one key, of which a revision has few: one slice.
fn catch_up_key<E: Engine>(
    reader: &Reader<E>,
    span: &KeySpan,
    from: i64,
    to: i64,
    previous: bool,
    mut collector: Collector,
    slice: &mut Slice,
) -> Result<Turn, ReadError> {
    let (key, mut stopped) = (span.start(), None);
    reader.each_version(key, from, to, |version| {
        let over = slice.is_over() && version.at.main > from;
        if over || !collector.push(reader, &Change::of_version(key, &version), previous)? {
            stopped = Some(version.at.main);
            return Ok(false);
        }
        Ok(true)
    })?;
    Ok(collector.finish(to, stopped))
}

fn measure<E: Engine>(
    reader: &Reader<E>,
    at: Version,
    mut measurer: Measurer,
    slice: &mut Slice,
) -> Result<Turn, ReadError> {
    let mut paused = None;
    reader.each_event(at, at.main, |event| {
        if slice.is_over() {
            paused = Some(event.at);
            return Ok(false);
        }
        let change = Change::of_event(event);
        let before = if measurer.needs_previous() { change.previous(reader)? } else { None };
        let before = before.map(|found| shape(event.key, found.at, &found.info));
        measurer.event(change.kind(), event.at.sub, event.key, &change.shape(), before.as_ref());
        Ok(!measurer.is_full())
    })?;
    Ok(match paused {
        Some(at) => Turn::Rest(Kind::Measure { at, measurer }),
        None => Turn::End(Done::Measured(measurer.finish())),
    })
}

fn events<E: Engine>(
    reader: &Reader<E>,
    at: Version,
    ask: Ask,
    mut builder: RevisionBuilder,
    slice: &mut Slice,
) -> Result<Turn, ReadError> {
    let (mut paused, mut stopped) = (None, None);
    reader.each_event(at, at.main, |event| {
        if slice.is_over() {
            paused = Some(event.at);
            return Ok(false);
        }
        let change = Change::of_event(event);
        if !ask.wants(change.kind(), event.key) {
            return Ok(true);
        }
        let pushed = change.push(reader, ask.previous, &mut builder)?;
        stopped = pushed.err().map(|full| (event.at.sub, full.bytes));
        Ok(stopped.is_none())
    })?;
    Ok(match (paused, stopped) {
        (Some(at), _) => Turn::Rest(Kind::Events { at, ask, builder }),
        (None, Some((_, bytes))) if builder.is_empty() => Turn::End(Done::NeedsBytes(bytes)),
        (None, stopped) => Turn::End(Done::Events { events: builder.finish(), next: stopped.map(|(sub, _)| sub) }),
    })
}
