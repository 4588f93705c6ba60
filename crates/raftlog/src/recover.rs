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

use std::{io::IoSlice, path::Path, sync::Arc};

use tidegate_base::{
    LogIndex, Term,
    planted::{Fault, is_planted},
};

use crate::{
    disk::Disk,
    error::OpenError,
    record::{Kind, Place},
    replay::{Content, Replay},
    scan::{Ahead, Found, Scanner},
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
    let ahead = judge(&segments, active, end, &mut scanner)?;
    check_expectations(&replay, &segments[active], end, expect)?;
    let cut = ahead.iter().any(|ahead| ahead.records);
    let cut = cut.then(|| Cut { file: segments[active].name.clone(), offset: end });
    rewrite(&segments[active], replay.mark, end)?;
    clear(&segments[active], end, ahead[0].used_end)?;
    let mut spares = segments.split_off(active + 1);
    if ahead[1..].iter().any(|ahead| ahead.used_end > 0) {
        discard(disk, dir, &mut spares)?;
    }
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
                return Err(OpenError::corrupt(
                    &segment.name,
                    end,
                    "a segment begins with its begin record, and has one",
                ));
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

/// Decides whether the bad record at `end` is a torn tail. Returns what is behind it in its segment, and in each one behind that.
fn judge(segments: &[Arc<Segment>], active: usize, end: u64, scanner: &mut Scanner) -> Result<Vec<Ahead>, OpenError> {
    let bad = Place { segment: segments[active].sequence, offset: end };
    let mut all: Vec<Ahead> = Vec::new();
    // While nothing sound is behind it in its own segment, the first bad record may as well be the first of the next one.
    let mut blamed = (&segments[active].name, end);
    for (segment, from) in segments[active..].iter().zip(std::iter::once(end).chain(std::iter::repeat(START))) {
        let ahead = scanner.look_ahead(segment, from).map_err(OpenError::io("read", &segment.name))?;
        if let Some((mark, offset)) = ahead.highest_mark {
            if from == START && !all.iter().any(|before| before.records) {
                blamed = (&segment.name, START);
            }
            if mark > bad && !is_planted(Fault::TornTailAcceptedInTheMiddle) {
                let detail = format!(
                    "no sound record here, but the one in {} at {offset} says that the log was durable up to {} in segment {:x}",
                    segment.name, mark.offset, mark.segment
                );
                return Err(OpenError::corrupt(blamed.0, blamed.1, detail));
            }
        }
        all.push(ahead);
    }
    let first = &segments[0];
    if active == 0 && end == START && first.sequence != 1 {
        return Err(OpenError::corrupt(&first.name, START, "the first segment has no begin record"));
    }
    Ok(all)
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
        let detail =
            format!("the log begins behind entry {base}, and only entries up to {} are applied", expect.applied);
        return corrupt(detail);
    }
    Ok(())
}

const CHUNK: usize = 256 << 10;

/// Writes what lies behind the last mark once more. It may be in the page cache only, even marked clean there after a failed sync of
/// the process before: only now a sync says something about it.
fn rewrite(active: &Segment, mark: Option<Place>, end: u64) -> Result<(), OpenError> {
    let mut buffer = vec![0; CHUNK];
    let mut at = mark.filter(|mark| mark.segment == active.sequence).map_or(START, |mark| mark.offset);
    while at < end {
        let n = usize::try_from(end - at).map_or(CHUNK, |left| left.min(CHUNK));
        let read = active.file.read_at(&mut buffer[..n], at).map_err(OpenError::io("read", &active.name))?;
        if read < n {
            return Err(OpenError::corrupt(&active.name, at, "the file became shorter while it was read"));
        }
        active.file.write_at(&mut [IoSlice::new(&buffer[..n])], at).map_err(OpenError::io("write", &active.name))?;
        at += n as u64;
    }
    Ok(())
}

/// Overwrites all that is behind the cut with zeros, and makes the segment durable.
///
/// Not only whole records: half of a stale header can be completed, after another power cut, by the bytes that a new record has in the
/// sector behind it, when both have the same mark.
fn clear(active: &Segment, end: u64, used_end: u64) -> Result<(), OpenError> {
    let zeros = vec![0; CHUNK];
    let mut at = end;
    while at < used_end {
        let n = usize::try_from(used_end - at).map_or(CHUNK, |left| left.min(CHUNK));
        active.file.write_at(&mut [IoSlice::new(&zeros[..n])], at).map_err(OpenError::io("write", &active.name))?;
        at += n as u64;
    }
    active.file.sync_data().map_err(OpenError::io("sync", &active.name))
}

/// Removes the spares, for the same reason: one that was reused may be full of bytes, and a new one costs less than zeros. The last
/// first, each of them durably, so that no gap can appear.
fn discard(disk: &dyn Disk, dir: &Path, spares: &mut Vec<Arc<Segment>>) -> Result<(), OpenError> {
    while let Some(spare) = spares.pop() {
        disk.remove(&dir.join(&spare.name)).map_err(OpenError::io("remove", &spare.name))?;
        disk.sync_dir(dir).map_err(OpenError::io("sync directory", &dir.display().to_string()))?;
    }
    Ok(())
}

fn recovered(replay: &Replay, cut: Option<Cut>) -> Recovered {
    let Replay { map, hard_state, .. } = replay;
    let mut hard_state = *hard_state;
    if hard_state.term < map.last.term {
        hard_state = HardState { term: map.last.term, vote: 0, ..hard_state };
    }
    hard_state.commit = hard_state.commit.max(map.base.index);
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
