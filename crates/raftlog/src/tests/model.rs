//! What a log should hold: the checker of the crash tests.

use std::collections::BTreeMap;

use tidegate_base::{LogIndex, LogPosition, Term};

use crate::{Entry, HardState, LogReader, Recovered};

/// One record's effect. A crash keeps some first ones of those that were not synced.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Truncate(LogIndex),
    Entry(Entry),
    HardState(HardState),
    Reset(LogPosition),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    /// The log may begin here or, in whole segments, before.
    pub(super) base: LogPosition,
    pub(super) entries: BTreeMap<LogIndex, Entry>,
    pub(super) hard_state: HardState,
    reset: LogPosition,
    /// Terms of indexes that a purge may have made the base.
    terms: BTreeMap<LogIndex, Term>,
}

impl Model {
    pub(super) fn take(&mut self, step: &Step) {
        match step {
            Step::Truncate(last) => {
                self.entries.split_off(&last.next());
                self.terms.split_off(&last.next());
            }
            Step::Entry(entry) => {
                self.terms.insert(entry.position.index, entry.position.term);
                self.entries.insert(entry.position.index, entry.clone());
            }
            Step::HardState(state) => self.hard_state = *state,
            Step::Reset(base) => {
                self.entries.clear();
                self.terms = BTreeMap::from([(base.index, base.term)]);
                (self.base, self.reset) = (*base, *base);
            }
        }
    }

    pub(super) fn last(&self) -> LogPosition {
        self.entries.last_key_value().map_or(self.reset, |(_, entry)| entry.position)
    }

    /// What no later append may replace.
    pub(super) fn committed(&self) -> LogIndex {
        self.hard_state.commit.max(self.reset.index)
    }

    /// Allows whole segments up to `index` to be gone.
    pub(super) fn purge(&mut self, index: LogIndex) {
        let index = index.min(self.last().index).max(self.base.index);
        let term = self.terms.get(&index).copied().unwrap_or(self.base.term);
        self.base = LogPosition { index, term };
    }

    /// Compares a log with this state; says what differs.
    pub(super) fn compare(&self, recovered: &Recovered, reader: &LogReader) -> Result<(), String> {
        let last = self.last();
        let mut hard_state = self.hard_state;
        if hard_state.term < last.term {
            hard_state = HardState { term: last.term, vote: 0, ..hard_state };
        }
        hard_state.commit = hard_state.commit.max(recovered.base.index);
        if recovered.last != last || recovered.hard_state != hard_state {
            let (found, state) = (recovered.last, recovered.hard_state);
            return Err(format!("last {found:?} and {state:?} instead of {last:?} and {hard_state:?}"));
        }
        let base = recovered.base;
        let base_fits = base.index >= self.reset.index
            && base.index <= self.base.index
            && (base == LogPosition::default() || self.terms.get(&base.index) == Some(&base.term));
        if !base_fits || reader.bounds() != (base, last) {
            return Err(format!("base {base:?} instead of one up to {:?}", self.base));
        }
        for (index, entry) in self.entries.range(base.index.next()..) {
            if recovered.term(*index) != Some(entry.position.term) {
                return Err(format!("term of {index} is {:?}", recovered.term(*index)));
            }
            let found = reader.read(*index).map_err(|error| error.to_string())?;
            if found != *entry {
                return Err(format!("entry {index} has other content"));
            }
        }
        Ok(())
    }
}
