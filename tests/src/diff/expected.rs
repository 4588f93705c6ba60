//! Which events a watch must get, by all that happened: so that both stores are waited for, and none may leave anything out.

use std::collections::{BTreeMap, BTreeSet};

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
    /// It begins in the past.
    past: bool,
    /// The client has ended it.
    cancelled: bool,
}

#[derive(Default)]
pub(super) struct Expected {
    history: Vec<Change>,
    /// By stream and number; a number may be used again.
    watches: BTreeMap<(usize, i64), Vec<Wanted>>,
    /// Answers without events, by stream and number.
    others: BTreeMap<(usize, i64), usize>,
    /// Watches of which it is open whether compaction ended them.
    unsure: BTreeSet<(usize, i64)>,
    /// Revisions that were compacted to.
    pub(super) compactions: Vec<i64>,
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
        let others = self.others.entry((stream, answer.watch_id)).or_default();
        *others += 1;
        if answer.canceled {
            return;
        }
        let now = answer.header.as_ref().map_or(0, |header| header.revision);
        let from = if create.start_revision == 0 { now + 1 } else { create.start_revision };
        let gone = from < compacted;
        *others += usize::from(gone);
        let key = if create.key.is_empty() { Bytes::from_static(b"\0") } else { create.key.clone() };
        self.watches.entry((stream, answer.watch_id)).or_default().push(Wanted {
            range: KeyRange::new(key, create.range_end.clone()),
            from,
            puts: !create.filters.contains(&0),
            deletions: !create.filters.contains(&1),
            until: if gone { 0 } else { usize::MAX },
            past: from <= now,
            cancelled: false,
        });
    }

    /// Compaction to `revision` comes, everything being told. etcd looks at watches that begin in the past ten times a
    /// second: one that has had no event may be behind still, and is ended then.
    pub(super) fn compact(&mut self, revision: i64) {
        let behind = |(place, all): (&(usize, i64), &Vec<Wanted>)| {
            let wanted = all.last()?;
            let late = wanted.past && wanted.from < revision && wanted.until == usize::MAX;
            (late && self.events(wanted) == 0).then_some(*place)
        };
        let unsure: Vec<_> = self.watches.iter().filter_map(behind).collect();
        self.unsure.extend(unsure);
    }

    /// Whether it is open what a watch must get.
    pub(super) fn unsure(&self, stream: usize, id: i64) -> bool {
        self.unsure.contains(&(stream, id))
    }

    /// Whether it is open whether all of a stream's watches are in sync.
    pub(super) fn unsure_progress(&self, stream: usize) -> bool {
        self.unsure.iter().any(|(other, _)| *other == stream)
    }

    /// The client ends the watch now, everything being told. Also one that compaction has ended is there until then.
    pub(super) fn cancel(&mut self, stream: usize, id: i64) {
        let now = self.history.len();
        if let Some(wanted) = self.watches.get_mut(&(stream, id)).and_then(|all| all.last_mut())
            && !wanted.cancelled
        {
            wanted.cancelled = true;
            wanted.until = wanted.until.min(now);
            *self.others.entry((stream, id)).or_default() += 1;
        }
    }

    pub(super) fn close(&mut self, stream: usize) {
        self.watches.retain(|(other, _), _| *other != stream);
        self.others.retain(|(other, _), _| *other != stream);
        self.unsure.retain(|(other, _)| *other != stream);
    }

    /// How many events a watch must have got by now.
    pub(super) fn count(&self, stream: usize, id: i64) -> usize {
        self.watches.get(&(stream, id)).map_or(0, |all| all.iter().map(|wanted| self.events(wanted)).sum())
    }

    fn events(&self, wanted: &Wanted) -> usize {
        let own = |change: &&Change| {
            change.revision >= wanted.from
                && (if change.deletes { wanted.deletions } else { wanted.puts })
                && wanted.range.contains(&change.key)
                && (change.deletes || !self.gone(change.revision, &change.key))
        };
        self.history.iter().take(wanted.until).filter(own).count()
    }

    /// Whether a put is history that a store may have or not: the same transaction has deleted the key again, and compaction to
    /// just this revision keeps the deletion only, wherever it has come to. See "puts within a compacted revision".
    pub(super) fn gone(&self, revision: i64, key: &[u8]) -> bool {
        let deletes = |change: &Change| change.revision == revision && change.key == key && change.deletes;
        self.compactions.contains(&revision) && self.history.iter().any(deletes)
    }

    /// Whether a transaction at this revision has deleted a key and put it.
    pub(super) fn rewritten(&self, revision: i64) -> bool {
        let of = |deletes: bool| {
            self.history.iter().filter(move |change| change.revision == revision && change.deletes == deletes)
        };
        of(true).any(|deletion| of(false).any(|put| put.key == deletion.key))
    }

    /// How many answers without events a watch must have got by now.
    pub(super) fn others(&self, stream: usize, id: i64) -> usize {
        self.others.get(&(stream, id)).copied().unwrap_or(0)
    }

    /// The watches of a stream.
    pub(super) fn ids(&self, stream: usize) -> impl Iterator<Item = i64> {
        self.others.keys().filter(move |(other, _)| *other == stream).map(|(_, id)| *id)
    }
}
