//! Read indexes under way: who waits for which, and when one is asked for.
//!
//! One round is on its way at a time, and serves all that asked before it left; what comes meanwhile waits for the next.

use std::collections::VecDeque;

use tidegate_base::LogIndex;
use tidegate_raft::ReadId;

use super::Millis;

/// A read index that the leader dropped is asked for again.
const AGAIN: Millis = 500;
/// Without a quorum no round ends: who asked has given up by then.
const PATIENCE: Millis = 10_000;

struct Round<T> {
    id: ReadId,
    /// First asked for, and last.
    since: Millis,
    asked: Millis,
    index: Option<LogIndex>,
    waiting: Vec<T>,
}

pub(super) struct Rounds<T> {
    /// Confirmed ones, and behind them at most one that is not.
    rounds: VecDeque<Round<T>>,
    /// What the next round will serve.
    next: Vec<T>,
    last_id: u64,
}

impl<T> Default for Rounds<T> {
    fn default() -> Self {
        Self { rounds: VecDeque::new(), next: Vec::new(), last_id: 0 }
    }
}

impl<T> Rounds<T> {
    pub(super) fn join(&mut self, waiting: T) {
        self.next.push(waiting);
    }

    /// The round to ask a read index for now, if one is due.
    pub(super) fn due(&mut self, now: Millis) -> Option<ReadId> {
        match self.rounds.back_mut().filter(|round| round.index.is_none()) {
            Some(lost) if lost.asked + AGAIN <= now => {
                lost.asked = now;
                Some(lost.id)
            }
            None if !self.next.is_empty() => {
                self.last_id += 1;
                let (id, waiting) = (ReadId(self.last_id), std::mem::take(&mut self.next));
                self.rounds.push_back(Round { id, since: now, asked: now, index: None, waiting });
                Some(id)
            }
            Some(_) | None => None,
        }
    }

    /// Who has waited in vain for long.
    pub(super) fn give_up(&mut self, now: Millis) -> Vec<T> {
        let vain = |round: &mut Round<T>| round.index.is_none() && round.since + PATIENCE <= now;
        self.rounds.pop_back_if(vain).map_or_else(Vec::new, |round| round.waiting)
    }

    pub(super) fn confirm(&mut self, id: ReadId, index: LogIndex) {
        if let Some(round) = self.rounds.iter_mut().find(|round| round.id == id) {
            round.index.get_or_insert(index);
        }
    }

    /// What waits for no more than `applied`, in the order in which it was asked.
    pub(super) fn take_ready(&mut self, applied: LogIndex) -> Vec<T> {
        let ready = self.rounds.iter().take_while(|round| round.index.is_some_and(|index| index <= applied)).count();
        self.rounds.drain(..ready).flat_map(|round| round.waiting).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_serves_all_that_asked_before_it_left() {
        let mut rounds = Rounds::default();
        rounds.join(1);
        let first = rounds.due(0).unwrap();
        rounds.join(2);
        rounds.join(3);
        assert_eq!(rounds.due(10), None, "one is on its way");
        assert_eq!(rounds.due(AGAIN), Some(first), "it was lost");
        rounds.confirm(first, LogIndex(7));
        let second = rounds.due(AGAIN).unwrap();
        rounds.confirm(second, LogIndex(9));
        assert_eq!(rounds.take_ready(LogIndex(6)), [0i32; 0]);
        assert_eq!(rounds.take_ready(LogIndex(8)), [1]);
        assert_eq!(rounds.take_ready(LogIndex(9)), [2, 3]);
    }

    #[test]
    fn who_asked_in_vain_is_let_go_and_the_next_round_leaves() {
        let mut rounds = Rounds::default();
        rounds.join('a');
        rounds.due(0).unwrap();
        rounds.join('b');
        assert!(rounds.give_up(PATIENCE - 1).is_empty());
        assert_eq!(rounds.give_up(PATIENCE), ['a']);
        assert!(rounds.due(PATIENCE).is_some());
    }
}
