//! Reads for the hub, on a work thread, one bounded slice each.

use tidegate_engine::{Engine, Tier};
use tidegate_kv::{
    Bound, Info, ReadError, Reader, Row, StoredEvent, Version,
    watch::{
        Ask, Done, EventKind, EventRef, Job, Measurer, PairRef, PairShape, RevisionBuilder, RevisionEvents, Scope, Work,
    },
};

/// Rows that one slice looks at: about a millisecond.
const ROWS: usize = 2000;

pub(super) fn run<E: Engine>(reader: &Reader<E>, job: Job) -> Done {
    let (from, done) = match &job.work {
        Work::CatchUp { scope, from, to, previous } => {
            let done = match scope {
                Scope::Key(span) => catch_up_key(reader, span.start(), *from, *to, *previous, job.bytes_max),
                Scope::Spans(spans) => {
                    catch_up(reader, |key| spans.contains(key), *from, *to, *previous, job.bytes_max)
                }
            };
            (*from, done)
        }
        Work::Measure { revision, from_sub, asks } => (*revision, measure(reader, *revision, *from_sub, asks)),
        Work::Events { revision, from_sub, ask } => {
            (*revision, events(reader, *revision, *from_sub, ask, job.bytes_max))
        }
    };
    // Nothing is pinned: what was read counts only if it was still history afterwards.
    let compacted = reader.compacted();
    if from < compacted {
        return Done::Compacted(compacted);
    }
    done.unwrap_or_else(|error| {
        tracing::error!(%error, "a watch cannot be caught up");
        Done::Failed
    })
}

fn kind(info: &Info) -> EventKind {
    if info.deleted { EventKind::Delete } else { EventKind::Put }
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

/// The pair as it stood at the revision before: none for a creation, and none once that revision is compacted.
fn previous_of<E: Engine>(reader: &Reader<E>, key: &[u8], at: Version, info: &Info) -> Result<Option<Row>, ReadError> {
    if (!info.deleted && info.create == at.main) || at.main - 1 < reader.compacted() {
        return Ok(None);
    }
    match reader.get(key, Bound::at(at.main - 1), Tier::All) {
        Ok(row) => Ok(row.known().flatten()),
        Err(ReadError::Compacted(_)) => Ok(None),
        Err(error) => Err(error),
    }
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

    /// Adds an event; `false` when it does not fit.
    fn push(&mut self, revision: i64, event: &EventRef<'_>) -> bool {
        if self.open.as_ref().is_some_and(|open| open.revision() != revision) {
            self.close();
        }
        let room = self.bytes_max.saturating_sub(self.bytes);
        let open = self.open.get_or_insert_with(|| RevisionBuilder::new(revision, room));
        self.full = open.push(event).is_err();
        !self.full
    }

    /// `stopped`: the revision at which the walk ended early.
    fn finish(mut self, to: i64, stopped: Option<i64>) -> Done {
        match stopped {
            None => {
                self.close();
                Done::CaughtUp { revisions: self.revisions, next: to + 1, large: false }
            }
            Some(next) => {
                // What was begun of `next` is begun again later; a revision before it is whole.
                if self.open.as_ref().is_some_and(|open| open.revision() < next) {
                    self.close();
                }
                let large = self.full && self.revisions.is_empty();
                Done::CaughtUp { revisions: self.revisions, next, large }
            }
        }
    }
}

fn catch_up<E: Engine>(
    reader: &Reader<E>,
    wanted: impl Fn(&[u8]) -> bool,
    from: i64,
    to: i64,
    previous: bool,
    bytes_max: usize,
) -> Result<Done, ReadError> {
    let mut collector = Collector::new(bytes_max);
    let (mut rows, mut current, mut stopped) = (0, from, None);
    reader.each_event(Version::new(from, 0), to, |event| {
        if event.at.main != current && rows >= ROWS && event.at.main > from {
            stopped = Some(event.at.main);
            return Ok(false);
        }
        current = event.at.main;
        rows += 1;
        if wanted(event.key) && !push_event(reader, &mut collector, event, previous)? {
            stopped = Some(event.at.main);
            return Ok(false);
        }
        Ok(true)
    })?;
    Ok(collector.finish(to, stopped))
}

fn push_event<E: Engine>(
    reader: &Reader<E>,
    collector: &mut Collector,
    event: &StoredEvent<'_>,
    previous: bool,
) -> Result<bool, ReadError> {
    // A value that cannot fit is not fetched.
    if event.info.value_len > collector.bytes_max as u64 {
        collector.full = true;
        if collector.open.as_ref().is_some_and(|open| open.revision() != event.at.main) {
            collector.close();
        }
        return Ok(false);
    }
    let fetched = if event.is_blob() { reader.value(event.at, true, Tier::All)?.known() } else { None };
    let value = fetched.as_deref().or(event.value).unwrap_or_default();
    let before = if previous { previous_of(reader, event.key, event.at, &event.info)? } else { None };
    let event_ref = EventRef {
        kind: kind(&event.info),
        sub: event.at.sub,
        pair: pair(event.key, event.at, &event.info, value),
        previous: before.as_ref().map(|row| pair(event.key, row.at, &row.info, &row.value)),
    };
    Ok(collector.push(event.at.main, &event_ref))
}

fn catch_up_key<E: Engine>(
    reader: &Reader<E>,
    key: &[u8],
    from: i64,
    to: i64,
    previous: bool,
    bytes_max: usize,
) -> Result<Done, ReadError> {
    let mut collector = Collector::new(bytes_max);
    let (mut rows, mut stopped) = (0, None);
    reader.each_version(key, from, to, |version| {
        if rows >= ROWS && version.at.main > from {
            stopped = Some(version.at.main);
            return Ok(false);
        }
        rows += 1;
        if version.info.value_len > bytes_max as u64 {
            collector.full = true;
            collector.close();
            stopped = Some(version.at.main);
            return Ok(false);
        }
        let value =
            if version.info.deleted { None } else { reader.value(version.at, version.blob, Tier::All)?.known() };
        let before = if previous { previous_of(reader, key, version.at, &version.info)? } else { None };
        let event = EventRef {
            kind: kind(&version.info),
            sub: version.at.sub,
            pair: pair(key, version.at, &version.info, value.as_deref().unwrap_or_default()),
            previous: before.as_ref().map(|row| pair(key, row.at, &row.info, &row.value)),
        };
        if collector.push(version.at.main, &event) {
            Ok(true)
        } else {
            stopped = Some(version.at.main);
            Ok(false)
        }
    })?;
    Ok(collector.finish(to, stopped))
}

fn measure<E: Engine>(reader: &Reader<E>, revision: i64, from_sub: u32, asks: &[Ask]) -> Result<Done, ReadError> {
    let mut measurer = Measurer::new(asks);
    reader.each_event(Version::new(revision, from_sub), revision, |event| {
        let before =
            if measurer.needs_previous() { previous_of(reader, event.key, event.at, &event.info)? } else { None };
        let before = before.map(|row| shape(event.key, row.at, &row.info));
        let own = shape(event.key, event.at, &event.info);
        measurer.event(kind(&event.info), event.at.sub, event.key, &own, before.as_ref());
        Ok(!measurer.is_full())
    })?;
    Ok(Done::Measured(measurer.finish()))
}

fn events<E: Engine>(
    reader: &Reader<E>,
    revision: i64,
    from_sub: u32,
    ask: &Ask,
    bytes_max: usize,
) -> Result<Done, ReadError> {
    let mut builder = RevisionBuilder::new(revision, bytes_max);
    let (mut next, mut needs) = (None, None);
    reader.each_event(Version::new(revision, from_sub), revision, |event| {
        if !ask.wants(kind(&event.info), event.key) {
            return Ok(true);
        }
        let fetched = if event.is_blob() { reader.value(event.at, true, Tier::All)?.known() } else { None };
        let value = fetched.as_deref().or(event.value).unwrap_or_default();
        let before = if ask.previous { previous_of(reader, event.key, event.at, &event.info)? } else { None };
        let event_ref = EventRef {
            kind: kind(&event.info),
            sub: event.at.sub,
            pair: pair(event.key, event.at, &event.info, value),
            previous: before.as_ref().map(|row| pair(event.key, row.at, &row.info, &row.value)),
        };
        match builder.push(&event_ref) {
            Ok(()) => Ok(true),
            Err(full) if builder.is_empty() => {
                needs = Some(full.bytes);
                Ok(false)
            }
            Err(_) => {
                next = Some(event.at.sub);
                Ok(false)
            }
        }
    })?;
    Ok(match needs {
        Some(bytes) => Done::NeedsBytes(bytes),
        None => Done::Events { events: builder.finish(), next },
    })
}
