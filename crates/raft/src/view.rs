//! What the core may know of the log: which positions exist.
//!
//! ```text
//!   before │ run: term 3 from 8 │ run: term 5 from 21 │ last 40
//!      7   │ 8 9 10 …        20 │ 21 22 …          40 │
//! ```
//! Memory follows the number of elections, not of entries.

use raft::{
    Error, GetEntriesContext, RaftState, Storage, StorageError,
    eraftpb::{ConfState, Entry, HardState, Snapshot},
};
use tidegate_base::{LogIndex, LogPosition, Term};

/// Most stubs made at once: what a restart has to apply again may be millions.
const STUBS_MAX: u64 = 4096;

/// Entries from `first` up to the next run have this term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TermRun {
    pub first: LogIndex,
    pub term: Term,
}

/// Which entries the log holds, the ones included that are handed over and not yet durable.
#[derive(Debug, Clone)]
pub struct LogView {
    before: LogPosition,
    last: u64,
    runs: Vec<TermRun>,
    hard_state: HardState,
    voters: Vec<u64>,
}

impl LogView {
    /// A log whose entries begin behind `before` and whose terms are `runs`, in ascending order.
    pub fn new(before: LogPosition, last: LogIndex, runs: Vec<TermRun>) -> Self {
        Self { before, last: last.0, runs, hard_state: HardState::default(), voters: Vec::new() }
    }

    pub(crate) fn set_initial(&mut self, hard_state: HardState, voters: Vec<u64>) {
        self.hard_state = hard_state;
        self.voters = voters;
    }

    pub fn last(&self) -> LogIndex {
        LogIndex(self.last)
    }

    /// The position in front of the first entry.
    pub fn before(&self) -> LogPosition {
        self.before
    }

    /// Term of the entry at `index`; `None` outside of the log. The position before the log counts as inside.
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.before.index {
            return Some(self.before.term);
        }
        if index < self.before.index || index.0 > self.last {
            return None;
        }
        let behind = self.runs.partition_point(|run| run.first <= index);
        behind.checked_sub(1).map(|at| self.runs[at].term)
    }

    /// Appends `count` entries of `term` from `first` on; what stood there or behind is gone.
    pub(crate) fn append(&mut self, first: u64, count: u64, term: u64) {
        self.runs.retain(|run| run.first.0 < first);
        if self.runs.last().is_none_or(|run| run.term.0 != term) {
            self.runs.push(TermRun { first: LogIndex(first), term: Term(term) });
        }
        self.last = first + count - 1;
    }

    /// Forgets the entries up to and including `index`, which stay readable as a position only.
    pub(crate) fn purge(&mut self, index: LogIndex) {
        let index = index.0.min(self.last);
        if index <= self.before.index.0 {
            return;
        }
        let Some(term) = self.term_at(LogIndex(index)) else { return };
        self.before = LogPosition { index: LogIndex(index), term };
        let behind = self.runs.partition_point(|run| run.first.0 <= index);
        self.runs.drain(..behind.saturating_sub(1));
        if let Some(run) = self.runs.first_mut() {
            run.first = LogIndex(run.first.0.max(index + 1));
        }
        if index == self.last {
            self.runs.clear();
        }
    }
}

impl Storage for LogView {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let mut conf_state = ConfState::default();
        conf_state.set_voters(self.voters.clone());
        Ok(RaftState { hard_state: self.hard_state.clone(), conf_state })
    }

    /// Stubs, always: payloads never pass through the core. The limit in bytes has no meaning for them, but one that asks
    /// for a limit goes on where the stubs end. Without one, a campaign looks for changes of the configuration in all that is
    /// not applied, which may be millions of entries: the log of this version holds none.
    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.before.index.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        if high > self.last + 1 {
            return Err(Error::Store(StorageError::Unavailable));
        }
        if max_size.into().is_none() {
            return Ok(Vec::new());
        }
        let high = high.min(low.saturating_add(STUBS_MAX));
        let stub = |index| Ok(Entry { index, term: self.term(index)?, ..Entry::default() });
        (low..high).map(stub).collect()
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        match self.term_at(LogIndex(index)) {
            Some(term) => Ok(term.0),
            None if index < self.before.index.0 => Err(Error::Store(StorageError::Compacted)),
            None => Err(Error::Store(StorageError::Unavailable)),
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.before.index.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last)
    }

    fn snapshot(&self, _request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> LogView {
        let runs = vec![TermRun { first: LogIndex(8), term: Term(3) }, TermRun { first: LogIndex(21), term: Term(5) }];
        LogView::new(LogPosition::new(7, 2), LogIndex(40), runs)
    }

    #[test]
    fn terms_come_from_the_run_of_an_index() {
        let view = view();
        for (index, term) in
            [(6, None), (7, Some(2)), (8, Some(3)), (20, Some(3)), (21, Some(5)), (40, Some(5)), (41, None)]
        {
            assert_eq!(view.term_at(LogIndex(index)), term.map(Term), "index {index}");
        }
    }

    #[test]
    fn append_replaces_what_stood_behind() {
        let mut view = view();
        view.append(15, 2, 6);
        assert_eq!(view.last(), LogIndex(16));
        assert_eq!(view.term_at(LogIndex(14)), Some(Term(3)));
        assert_eq!(view.term_at(LogIndex(16)), Some(Term(6)));
        assert_eq!(view.runs.len(), 2);
        view.append(17, 1, 6);
        assert_eq!(view.runs.len(), 2, "the same term goes on");
    }

    #[test]
    fn purge_keeps_the_position_before_the_log() {
        let mut view = view();
        view.purge(LogIndex(20));
        assert_eq!(view.before(), LogPosition::new(20, 3));
        assert_eq!(view.term_at(LogIndex(21)), Some(Term(5)));
        view.purge(LogIndex(90));
        assert_eq!((view.before(), view.last()), (LogPosition::new(40, 5), LogIndex(40)));
        view.append(41, 3, 5);
        assert_eq!(view.term_at(LogIndex(43)), Some(Term(5)));
    }

    #[test]
    fn stubs_have_positions_and_no_payload() {
        let entries = view().entries(19, 23, u64::MAX, GetEntriesContext::empty(false)).unwrap();
        let positions: Vec<_> = entries.iter().map(|e| (e.index, e.term, e.data.len())).collect();
        assert_eq!(positions, [(19, 3, 0), (20, 3, 0), (21, 5, 0), (22, 5, 0)]);
        assert!(view().entries(7, 9, u64::MAX, GetEntriesContext::empty(false)).is_err());
        assert!(view().entries(39, 42, u64::MAX, GetEntriesContext::empty(false)).is_err());
        assert!(view().entries(19, 23, None, GetEntriesContext::empty(false)).unwrap().is_empty());
        let long =
            LogView::new(LogPosition::default(), LogIndex(9000), vec![TermRun { first: LogIndex(1), term: Term(1) }]);
        let stubs = long.entries(2, 9001, u64::MAX, GetEntriesContext::empty(false)).unwrap();
        assert_eq!((stubs.len() as u64, stubs[0].index), (STUBS_MAX, 2));
    }
}
