//! Opening a log: what is whole, what is a torn tail, and what is damage.
//!
//! ```text
//!               durable ──────────────┐ (mark of D, E)
//!   A   B   C   ·                     │
//!   ■■■ ■■■ ■■■ │ ■■■ ▒▒▒ ■■■         │   D sound, E bad, F sound with a mark before E: nobody was told of E. The log ends behind D
//!               │  D   E   F
//!   ■■■ ▒▒▒ ■■■ │ ■■■                     B bad, D says that B was durable: damage, and the member must not vote with what is left
//! ```
//! Every record says what was durable when it was written. So the first bad record is a torn tail only when no sound record behind it
//! says otherwise, and when nothing the member relies on is lost with it. A segment is begun only when the one before is durable to
//! its end, so a tail never spans two.

use std::{
    io::IoSlice,
    path::Path,
    sync::Arc,
};

use tidegate_base::{LogIndex, Term};

use crate::{
    disk::Disk,
    error::OpenError,
    record::{Kind, Place},
    replay::{Content, Replay},
    scan::{Found, Scanner},
    segment::{self, START, Segment},
    types::{Cut, Expect, HardState, Recovered},
};

/// What opening leaves for the writer.
pub(crate) struct Survey {
    pub(crate) replay: Replay,
    pub(crate) salt: u64,
    /// Where the next record goes, in the last of the map's segments.
    pub(crate) end: u64,
    pub(crate) spares: Vec<Arc<Segment>>,
    pub(crate) recovered: Recovered,
}

/// Names of all segments in order; removes what was never finished.
pub(crate) fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<u64>, OpenError> {
    let shown = dir.display().to_string();
    let mut numbers = Vec::new();
    for name in disk.list(dir).map_err(OpenError::io("list", &shown))? {
        if name.ends_with(segment::UNFINISHED_SUFFIX) {
            disk.remove(&dir.join(&name)).map_err(OpenError::io("remove", &name))?;
        }
        numbers.extend(segment::number(&name));
    }
    numbers.sort_unstable();
    if let Some(gap) = numbers.windows(2).find(|pair| pair[0] + 1 != pair[1]) {
        return Err(OpenError::Missing { file: segment::name(gap[0] + 1) });
    }
    Ok(numbers)
}

/// Reads an existing log. Changes nothing on disk before it is sure that nothing is damaged.
pub(crate) fn survey(disk: &dyn Disk, dir: &Path, numbers: &[u64], expect: Expect) -> Result<Survey, OpenError> {
    let mut segments = Vec::with_capacity(numbers.len());
    let mut salt = None;
    for number in numbers {
        let segment = open(disk, dir, *number)?;
        let own = segment::read_header(&segment)?;
        if *salt.get_or_insert(own) != own {
            return Err(OpenError::corrupt(&segment.name, 24, "the file belongs to another log"));
        }
        segments.push(Arc::new(segment));
    }
    let salt = salt.expect("called for a log that has a segment");
    let mut scanner = Scanner::new(salt);
    let (mut replay, active, end) = replay(&segments, &mut scanner)?;
    let stale = judge(&segments, active, end, &mut scanner)?;
    check_expectations(&replay, &segments[active], end, expect)?;
    let cut = stale.iter().any(Option::is_some).then(|| Cut { file: segments[active].name.clone(), offset: end });
    settle(&segments[active..], end, &stale, replay.mark)?;
    let spares = segments.split_off(active + 1);
    replay.map.segments = segments.into();
    let recovered = recovered(&replay, cut);
    Ok(Survey { replay, salt, end, spares, recovered })
}

fn open(disk: &dyn Disk, dir: &Path, number: u64) -> Result<Segment, OpenError> {
    let name = segment::name(number);
    let file = disk.open(&dir.join(&name)).map_err(OpenError::io("open", &name))?;
    let len = file.len().map_err(OpenError::io("read the length of", &name))?;
    Ok(Segment::new(number, file, len))
}

/// Follows the records to the first bad one; returns the segment it is in and its offset.
fn replay(segments: &[Arc<Segment>], scanner: &mut Scanner) -> Result<(Replay, usize, u64), OpenError> {
    let mut replay = Replay::default();
    let mut end = 0;
    for (at, segment) in segments.iter().enumerate() {
        let previous_end = std::mem::replace(&mut end, START);
        loop {
            let found = scanner.record_at(segment, end).map_err(OpenError::io("read", &segment.name))?;
            let Found::Record(header) = found else { break };
            if (end == START) != (header.kind == Kind::Begin) {
                return Err(OpenError::corrupt(&segment.name, end, "a segment begins with its begin record, and has one"));
            }
            let content = match header.kind {
                Kind::Begin => scanner.payload(segment, end).map(Content::Begin),
                Kind::HardState => scanner.payload(segment, end).map(Content::HardState),
                _ => Ok(Content::Other),
            };
            let content = content.map_err(OpenError::io("read", &segment.name))?;
            let place = Place { segment: segment.sequence, offset: end };
            if let Err(detail) = replay.apply(&header, &content, place, previous_end) {
                // What does not fit a segment's beginning is missing at the end of the one before.
                let (file, offset) =
                    if end == START && at > 0 { (&segments[at - 1].name, previous_end) } else { (&segment.name, end) };
                return Err(OpenError::corrupt(file, offset, detail));
            }
            end += header.bytes();
        }
        let begun = |next: &Arc<Segment>| {
            let found = scanner.record_at(next, START).map_err(OpenError::io("read", &next.name))?;
            Ok(matches!(found, Found::Record(header) if header.kind == Kind::Begin))
        };
        if !segments.get(at + 1).map_or(Ok(false), begun)? {
            return Ok((replay, at, end));
        }
    }
    unreachable!("the last segment has none behind it")
}

/// Decides whether the bad record at `end` is a torn tail. Returns, for its segment and each one behind, up to where bytes could be
/// taken for records later.
fn judge(
    segments: &[Arc<Segment>],
    active: usize,
    end: u64,
    scanner: &mut Scanner,
) -> Result<Vec<Option<u64>>, OpenError> {
    let bad = Place { segment: segments[active].sequence, offset: end };
    let mut stale = Vec::new();
    // While nothing sound is behind it in its own segment, the first bad record may as well be the first of the next one.
    let mut blamed = (&segments[active].name, end);
    for (segment, from) in segments[active..].iter().zip(std::iter::once(end).chain(std::iter::repeat(START))) {
        let ahead = scanner.look_ahead(segment, from).map_err(OpenError::io("read", &segment.name))?;
        if let Some((mark, offset)) = ahead.highest_mark {
            if stale.iter().all(Option::is_none) && from == START {
                blamed = (&segment.name, START);
            }
            if mark > bad {
                let detail = format!(
                    "no sound record here, but the one in {} at {offset} says that the log was durable up to {} in segment {:x}",
                    segment.name, mark.offset, mark.segment
                );
                return Err(OpenError::corrupt(blamed.0, blamed.1, detail));
            }
        }
        stale.push((ahead.stale_end > 0).then_some(ahead.stale_end));
    }
    let first = &segments[0];
    if active == 0 && end == START && first.sequence != 1 {
        return Err(OpenError::corrupt(&first.name, START, "the first segment has no begin record"));
    }
    Ok(stale)
}

fn check_expectations(replay: &Replay, active: &Segment, end: u64, expect: Expect) -> Result<(), OpenError> {
    let (base, last) = (replay.map.base.index, replay.map.last.index);
    let corrupt = |detail: String| Err(OpenError::corrupt(&active.name, end, detail));
    let commit = replay.hard_state.commit;
    if last < commit {
        return corrupt(format!("the log ends with entry {last}, and entries up to {commit} were committed"));
    }
    if last < expect.last_least {
        return corrupt(format!("the log ends with entry {last}, and must reach entry {}", expect.last_least));
    }
    if base > expect.applied {
        let detail = format!("the log begins behind entry {base}, and only entries up to {} are applied", expect.applied);
        return corrupt(detail);
    }
    Ok(())
}

/// Makes sure of what was read, and that what was cut never comes back: a record written later could end exactly where a stale one
/// begins. Its header is overwritten with zeros, with all that lies before it.
///
/// What lies behind the last mark may be in the page cache only, even marked clean after a failed sync of the process before: it is
/// written again, so that the sync says something about it.
fn settle(segments: &[Arc<Segment>], end: u64, stale: &[Option<u64>], mark: Option<Place>) -> Result<(), OpenError> {
    const CHUNK: usize = 256 << 10;
    let active = &segments[0];
    let certain = mark.filter(|mark| mark.segment == active.sequence).map_or(START, |mark| mark.offset);
    let mut buffer = vec![0; CHUNK];
    let mut at = certain;
    while at < end {
        let n = usize::try_from(end - at).map_or(CHUNK, |left| left.min(CHUNK));
        let read = active.file.read_at(&mut buffer[..n], at).map_err(OpenError::io("read", &active.name))?;
        if read < n {
            return Err(OpenError::corrupt(&active.name, at, "the file became shorter while it was read"));
        }
        active.file.write_at(&mut [IoSlice::new(&buffer[..n])], at).map_err(OpenError::io("write", &active.name))?;
        at += n as u64;
    }
    buffer.fill(0);
    for ((segment, stale), from) in segments.iter().zip(stale).zip(std::iter::once(end).chain(std::iter::repeat(START))) {
        let mut at = from;
        while let Some(left) = stale.and_then(|end| end.checked_sub(at)).filter(|left| *left > 0) {
            let n = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
            segment.file.write_at(&mut [IoSlice::new(&buffer[..n])], at).map_err(OpenError::io("write", &segment.name))?;
            at += n as u64;
        }
        if stale.is_some() || Arc::ptr_eq(segment, active) {
            segment.file.sync_data().map_err(OpenError::io("sync", &segment.name))?;
        }
    }
    Ok(())
}

fn recovered(replay: &Replay, cut: Option<Cut>) -> Recovered {
    let Replay { map, hard_state, .. } = replay;
    let mut hard_state = *hard_state;
    if hard_state.term < map.last.term {
        hard_state = HardState { term: map.last.term, vote: 0, ..hard_state };
    }
    Recovered { hard_state, base: map.base, last: map.last, runs: map.runs(), cut }
}

impl Recovered {
    pub(crate) fn empty() -> Self {
        let (base, hard_state) = Default::default();
        Self { hard_state, base, last: base, runs: Vec::new(), cut: None }
    }

    /// Checks what is expected of a log that is not there.
    pub(crate) fn check_empty(dir: &Path, expect: Expect) -> Result<(), OpenError> {
        if expect.last_least > LogIndex(0) {
            return Err(OpenError::Missing { file: dir.join(segment::name(1)).display().to_string() });
        }
        Ok(())
    }

    /// The term of an entry, or of the base.
    pub fn term(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        if index < self.base.index || index > self.last.index {
            return None;
        }
        self.runs.iter().rev().find(|run| run.first <= index).map(|run| run.term)
    }
}
