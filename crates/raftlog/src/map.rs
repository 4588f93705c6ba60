//! Where each entry lies, in memory that does not grow with the number of entries.
//!
//! ```text
//!  points   (1, seg 1 @ 4168)      (40, seg 1 @ 69744)      (58, seg 2 @ 4168)       sorted by index and by place
//!              │ 1 2 3 … 39            │ 40 … 57                │ 58 …
//!  file     ───▼───────────────────────▼───────────────╮  ──────▼──────────
//! ```
//! From a point, the entries up to the next point follow each other in the file, with only small records of other kinds between
//! them: the first entry of a segment and the first one behind a truncation always get a point, so a walk meets no dead entry and
//! never leaves its file. 16 bytes for each 64 KiB of log.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use tidegate_base::{LogIndex, LogPosition, Term};

use crate::{record::Place, segment::Segment, types::TermRun};

/// Distance of two points, so the most bytes that a read walks over before it finds its entry.
const SPACING: u64 = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) index: LogIndex,
    pub(crate) place: Place,
}

#[derive(Default)]
pub(crate) struct Map {
    /// The entry before the first.
    pub(crate) base: LogPosition,
    pub(crate) last: LogPosition,
    runs: VecDeque<TermRun>,
    points: VecDeque<Point>,
    /// The next entry gets a point wherever it lies.
    broken: bool,
    /// Without gaps in their numbers; the last one is active.
    pub(crate) segments: VecDeque<Arc<Segment>>,
}

/// The map, shared by the one writer and all readers. The writer changes it once for each group, after the write.
pub(crate) type SharedMap = Arc<RwLock<Map>>;

/// Locks the map. Only asserts of the writer can panic under the lock, and they take the writer's thread with them.
pub(crate) fn read(map: &RwLock<Map>) -> RwLockReadGuard<'_, Map> {
    map.read().unwrap_or_else(PoisonError::into_inner)
}

/// As [`read`], to change it.
pub(crate) fn write(map: &RwLock<Map>) -> RwLockWriteGuard<'_, Map> {
    map.write().unwrap_or_else(PoisonError::into_inner)
}

impl Map {
    /// Adds the entry behind the last one.
    pub(crate) fn push(&mut self, position: LogPosition, place: Place) {
        assert_eq!(position.index, self.last.index.next(), "entries are added without gaps");
        self.last = position;
        if self.runs.back().is_none_or(|run| run.term != position.term) {
            self.runs.push_back(TermRun { first: position.index, term: position.term });
        }
        let far = |point: &Point| point.place.segment != place.segment || place.offset - point.place.offset >= SPACING;
        if self.broken || self.points.back().is_none_or(far) {
            self.points.push_back(Point { index: position.index, place });
            self.broken = false;
        }
    }

    /// Forgets the entries behind `last`, which is the base or an entry.
    pub(crate) fn truncate(&mut self, last: LogPosition) {
        assert!(last.index >= self.base.index && last.index <= self.last.index, "truncation outside the log");
        while self.points.back().is_some_and(|point| point.index > last.index) {
            self.points.pop_back();
        }
        while self.runs.back().is_some_and(|run| run.first > last.index) {
            self.runs.pop_back();
        }
        self.last = last;
        self.broken = true;
    }

    /// Forgets all entries; the log goes on behind `base`.
    pub(crate) fn reset(&mut self, base: LogPosition) {
        self.points.clear();
        self.runs.clear();
        (self.base, self.last) = (base, base);
        self.broken = true;
    }

    /// Index of the first entry that lies in a segment behind `segment`, or the one that will be written next.
    pub(crate) fn first_behind(&self, segment: u64) -> LogIndex {
        let at = self.points.partition_point(|point| point.place.segment <= segment);
        self.points.get(at).map_or(self.last.index.next(), |point| point.index)
    }

    /// Forgets the oldest segment and the entries in it. The caller has checked that nobody needs them.
    pub(crate) fn drop_oldest(&mut self) -> Option<Arc<Segment>> {
        let oldest = self.segments.pop_front()?;
        let base = self.first_behind(oldest.sequence).prev();
        if base > self.base.index {
            let term = self.term(base).expect("an index between base and last");
            self.base = LogPosition { index: base, term };
        }
        while self.points.front().is_some_and(|point| point.place.segment <= oldest.sequence) {
            self.points.pop_front();
        }
        while self.runs.get(1).is_some_and(|run| run.first <= self.base.index.next()) {
            self.runs.pop_front();
        }
        if self.base == self.last {
            self.runs.clear();
        }
        if let Some(run) = self.runs.front_mut() {
            run.first = run.first.max(self.base.index.next());
        }
        Some(oldest)
    }

    /// The term of an entry, or of the base.
    pub(crate) fn term(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        if index < self.base.index || index > self.last.index {
            return None;
        }
        let behind = self.runs.partition_point(|run| run.first <= index);
        self.runs.get(behind.checked_sub(1)?).map(|run| run.term)
    }

    /// The point to walk from to reach an entry.
    pub(crate) fn locate(&self, index: LogIndex) -> Option<Point> {
        let behind = self.points.partition_point(|point| point.index <= index);
        self.points.get(behind.checked_sub(1)?).copied()
    }

    pub(crate) fn segment(&self, sequence: u64) -> Option<&Arc<Segment>> {
        let first = self.segments.front()?.sequence;
        self.segments.get(usize::try_from(sequence.checked_sub(first)?).ok()?)
    }

    pub(crate) fn runs(&self) -> Vec<TermRun> {
        self.runs.iter().copied().collect()
    }

    pub(crate) fn run_count(&self) -> usize {
        self.runs.len()
    }

    /// Memory of points and runs.
    pub(crate) fn bytes(&self) -> u64 {
        (self.points.capacity() * size_of::<Point>() + self.runs.capacity() * size_of::<TermRun>()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimDisk;

    fn place(segment: u64, offset: u64) -> Place {
        Place { segment, offset }
    }

    fn segment(sequence: u64) -> Arc<Segment> {
        let file = crate::Disk::create(&SimDisk::new(0), std::path::Path::new("/s"), 0).unwrap();
        Arc::new(Segment::new(sequence, file, 0))
    }

    #[test]
    fn points_are_sparse_and_follow_segments_and_truncations() {
        let mut map = Map::default();
        for n in 0..200u64 {
            map.push(LogPosition::new(n + 1, 1), place(1, 4096 + n * 1024));
        }
        map.push(LogPosition::new(201, 2), place(2, 4096));
        let indexes = |map: &Map| map.points.iter().map(|point| point.index.0).collect::<Vec<_>>();
        assert_eq!(indexes(&map), [1, 65, 129, 193, 201]);
        map.truncate(LogPosition::new(100, 1));
        map.push(LogPosition::new(101, 3), place(2, 5000));
        map.push(LogPosition::new(102, 3), place(2, 5200));
        assert_eq!(indexes(&map), [1, 65, 101]);
        assert_eq!(map.locate(LogIndex(100)).unwrap().index, LogIndex(65));
        assert_eq!(map.locate(LogIndex(102)).unwrap().place, place(2, 5000));
        let terms = [1, 100, 101, 102].map(|index| map.term(LogIndex(index)).unwrap().0);
        assert_eq!(terms, [1, 1, 3, 3]);
        assert_eq!(map.term(LogIndex(103)), None);
    }

    #[test]
    fn dropped_segments_take_their_entries_with_them() {
        let mut map = Map::default();
        map.segments.extend([1, 2, 3].map(segment));
        for (index, term, sequence) in [(1, 1, 1), (2, 1, 1), (3, 1, 2), (4, 2, 2)] {
            map.push(LogPosition::new(index, term), place(sequence, 4096 + index * 64));
        }
        assert_eq!(map.first_behind(1), LogIndex(3));
        assert_eq!(map.drop_oldest().unwrap().sequence, 1);
        assert_eq!(map.base, LogPosition::new(2, 1));
        assert_eq!(
            map.runs(),
            [TermRun { first: LogIndex(3), term: Term(1) }, TermRun { first: LogIndex(4), term: Term(2) }]
        );
        assert!(map.segment(1).is_none() && map.segment(2).is_some());
        // Nothing lies in segment 3 yet: the whole log goes, and its end stays known.
        map.drop_oldest();
        assert_eq!((map.base, map.last), (LogPosition::new(4, 2), LogPosition::new(4, 2)));
        assert_eq!(map.term(LogIndex(4)), Some(Term(2)));
        assert!(map.runs().is_empty());
    }
}
