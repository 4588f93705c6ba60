//! What the records say, one after the other: each must fit the state that those before it left.

use tidegate_base::LogPosition;

use crate::{
    map::Map,
    record::{self, Header, Kind, Place},
    types::HardState,
};

/// State of the log after the records so far.
#[derive(Default)]
pub(crate) struct Replay {
    pub(crate) map: Map,
    pub(crate) hard_state: HardState,
    /// Highest durable mark so far.
    pub(crate) mark: Option<Place>,
    begun: bool,
}

/// The payload, as far as a kind's meaning lies in it.
pub(crate) enum Content {
    Begin([u8; record::BEGIN_LEN]),
    HardState([u8; record::HARD_STATE_LEN]),
    Other,
}

impl Replay {
    /// Takes a sound record. `previous_end` is where the segment before this one ended.
    ///
    /// # Errors
    /// A sentence for people, when the record cannot follow those before it.
    pub(crate) fn apply(
        &mut self,
        header: &Header,
        content: &Content,
        at: Place,
        previous_end: u64,
    ) -> Result<(), String> {
        let Header { kind, position, .. } = *header;
        match (kind, content) {
            (Kind::Begin, Content::Begin(bytes)) => {
                let (end, hard_state) = record::decode_begin(bytes);
                self.begin(position, end, hard_state, previous_end)?;
            }
            (Kind::Entry, _) => {
                let last = self.map.last;
                if position.index != last.index.next() || position.term < last.term {
                    return Err(format!("{} does not follow {}", name(position), name(last)));
                }
                self.map.push(position, at);
            }
            (Kind::HardState, Content::HardState(bytes)) => {
                self.expect_last(position)?;
                self.hard_state = record::decode_hard_state(bytes);
            }
            (Kind::Truncate, _) => self.truncate(position)?,
            (Kind::Reset, _) => self.map.reset(position),
            (Kind::Mark, _) => self.expect_last(position)?,
            (Kind::Begin | Kind::HardState, _) => return Err("a record without its content".to_owned()),
        }
        self.mark = self.mark.max(Some(header.mark));
        Ok(())
    }

    fn begin(&mut self, base: LogPosition, end: u64, hard_state: HardState, previous_end: u64) -> Result<(), String> {
        if !self.begun {
            // What came before was purged, or never was.
            self.begun = true;
            self.map.reset(base);
            self.hard_state = hard_state;
            return Ok(());
        }
        if end != previous_end {
            return Err(format!("the segment before should end at {end} and ends at {previous_end}"));
        }
        self.expect_last(base)?;
        if hard_state == self.hard_state {
            Ok(())
        } else {
            Err("the hard state is not that of the segment before".to_owned())
        }
    }

    fn truncate(&mut self, last: LogPosition) -> Result<(), String> {
        if last.index > self.map.last.index {
            return Err(format!("truncation to {} behind {}", name(last), name(self.map.last)));
        }
        match self.map.term(last.index) {
            Some(term) if term == last.term => self.map.truncate(last),
            Some(_) => return Err(format!("truncation to {}, which is not in the log", name(last))),
            // The entries it kept are in a segment that was purged.
            None => self.map.reset(last),
        }
        Ok(())
    }

    fn expect_last(&self, position: LogPosition) -> Result<(), String> {
        if position == self.map.last {
            return Ok(());
        }
        Err(format!("the last entry should be {} and is {}", name(position), name(self.map.last)))
    }
}

fn name(position: LogPosition) -> String {
    format!("entry {} of term {}", position.index, position.term)
}

#[cfg(test)]
mod tests {
    use tidegate_base::{LogIndex, Term};

    use super::*;

    /// A script of kinds and positions that ends as it should, or with the words of the error.
    fn check(script: &[(Kind, u64, u64)], expected: Result<(u64, u64), &str>) {
        let mut replay = Replay::default();
        let zero = Place { segment: 1, offset: 0 };
        let mut outcome = Ok(());
        for (step, &(kind, index, term)) in script.iter().enumerate() {
            let position = LogPosition::new(index, term);
            let header = Header { kind, entry_type: 0, position, mark: zero, length: 0, head_crc: 0, whole_crc: 0 };
            let content = match kind {
                Kind::Begin => Content::Begin(record::encode_begin(500, HardState::default())),
                Kind::HardState => Content::HardState(record::encode_hard_state(HardState::default())),
                _ => Content::Other,
            };
            outcome =
                outcome.and_then(|()| replay.apply(&header, &content, Place { segment: 1, offset: step as u64 }, 500));
        }
        let found = outcome.map(|()| (replay.map.base.index.0, replay.map.last.index.0));
        match (found, expected) {
            (Err(found), Err(words)) => assert!(found.contains(words), "{found}"),
            (found, expected) => assert_eq!(found.as_ref().ok(), expected.as_ref().ok(), "{script:?}: {found:?}"),
        }
    }

    #[test]
    fn records_must_fit_those_before_them() {
        use Kind::{Begin, Entry, HardState, Mark, Reset, Truncate};
        check(&[(Begin, 0, 0), (Entry, 1, 1), (Entry, 2, 1), (HardState, 2, 1), (Mark, 2, 1)], Ok((0, 2)));
        check(&[(Begin, 0, 0), (Entry, 2, 1)], Err("entry 2 of term 1 does not follow entry 0 of term 0"));
        check(&[(Begin, 5, 2), (Entry, 6, 1)], Err("does not follow"));
        check(&[(Begin, 0, 0), (Entry, 1, 1), (Entry, 1, 2)], Err("does not follow"));
        check(&[(Begin, 0, 0), (Entry, 1, 1), (Entry, 2, 1), (Truncate, 1, 1), (Entry, 2, 3)], Ok((0, 2)));
        check(&[(Begin, 0, 0), (Entry, 1, 1), (Truncate, 1, 9)], Err("not in the log"));
        check(&[(Begin, 0, 0), (Entry, 1, 1), (Truncate, 2, 1)], Err("behind"));
        check(&[(Begin, 9, 4), (Entry, 10, 4), (Truncate, 3, 2), (Entry, 4, 5)], Ok((3, 4)));
        check(&[(Begin, 0, 0), (Entry, 1, 1), (Reset, 50, 3), (Entry, 51, 3)], Ok((50, 51)));
        check(&[(Begin, 0, 0), (Entry, 1, 1), (Begin, 1, 1)], Ok((0, 1)));
        check(&[(Begin, 0, 0), (Entry, 1, 1), (Begin, 2, 1)], Err("the last entry should be entry 2"));
        check(&[(Begin, 0, 0), (Entry, 1, 1), (HardState, 2, 1)], Err("the last entry should be"));
    }

    #[test]
    fn term_of_the_base_is_kept() {
        let mut map = Map::default();
        map.reset(LogPosition::new(9, 4));
        assert_eq!(map.term(LogIndex(9)), Some(Term(4)));
    }
}
