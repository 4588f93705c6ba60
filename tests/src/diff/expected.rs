//! Which events a watch must get, by all that happened: so that both stores are waited for, and none may leave anything out.

use std::collections::BTreeMap;

use bytes::Bytes;
use tidegate_api::{
    KeyRange,
    pb::{Event, WatchCreateRequest, WatchResponse, event::EventType},
};

/// A change as the witness saw it.
struct Change {
    revision: i64,
    key: Bytes,
    deletes: bool,
}

/// A watch that was accepted.
struct Wanted {
    range: KeyRange,
    from: i64,
    puts: bool,
    deletions: bool,
    /// Changes from here on are not its own any more.
    until: usize,
}

#[derive(Default)]
pub(super) struct Expected {
    history: Vec<Change>,
    /// By stream and number; a number may be used again.
    watches: BTreeMap<(usize, i64), Vec<Wanted>>,
    /// Answers without events, by stream.
    others: BTreeMap<usize, usize>,
}

impl Expected {
    /// Takes in what the witness has seen.
    pub(super) fn learn(&mut self, events: &[Event]) {
        for event in &events[self.history.len()..] {
            let pair = event.kv.clone().unwrap_or_default();
            let deletes = event.r#type() == EventType::Delete;
            self.history.push(Change { revision: pair.mod_revision, key: pair.key, deletes });
        }
    }

    /// A creation that was answered.
    pub(super) fn watch(&mut self, stream: usize, create: &WatchCreateRequest, answer: &WatchResponse, compacted: i64) {
        *self.others.entry(stream).or_default() += 1;
        if answer.canceled {
            return;
        }
        let from = match create.start_revision {
            0 => answer.header.as_ref().map_or(0, |header| header.revision) + 1,
            from => from,
        };
        let gone = from < compacted;
        if gone {
            *self.others.entry(stream).or_default() += 1;
        }
        let key = if create.key.is_empty() { Bytes::from_static(b"\0") } else { create.key.clone() };
        self.watches.entry((stream, answer.watch_id)).or_default().push(Wanted {
            range: KeyRange::new(key, create.range_end.clone()),
            from,
            puts: !create.filters.contains(&0),
            deletions: !create.filters.contains(&1),
            until: if gone { 0 } else { usize::MAX },
        });
    }

    /// The watch ends now, everything before being told.
    pub(super) fn cancel(&mut self, stream: usize, id: i64) {
        let now = self.history.len();
        if let Some(wanted) = self.watches.get_mut(&(stream, id)).and_then(|all| all.last_mut())
            && wanted.until == usize::MAX
        {
            wanted.until = now;
            *self.others.entry(stream).or_default() += 1;
        }
    }

    pub(super) fn close(&mut self, stream: usize) {
        self.watches.retain(|(other, _), _| *other != stream);
        self.others.remove(&stream);
    }

    /// How many events a watch must have got by now; `None` for one that is not known.
    pub(super) fn count(&self, stream: usize, id: i64) -> Option<usize> {
        let all = self.watches.get(&(stream, id))?;
        let of = |wanted: &Wanted| {
            let own = |change: &&Change| {
                change.revision >= wanted.from
                    && (if change.deletes { wanted.deletions } else { wanted.puts })
                    && wanted.range.contains(&change.key)
            };
            self.history.iter().take(wanted.until).filter(own).count()
        };
        Some(all.iter().map(of).sum())
    }

    /// How many answers without events a stream must have got by now.
    pub(super) fn others(&self, stream: usize) -> usize {
        self.others.get(&stream).copied().unwrap_or(0)
    }
}
