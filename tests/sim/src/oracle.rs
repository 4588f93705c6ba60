//! What is committed, and what must follow from it: a machine that never crashes, never compacts physically and has no fault
//! planted, and a map of versions that its events fill.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use tidegate_api::{
    KeyRange,
    pb::{KeyValue, event::EventType},
};
use tidegate_base::{LogIndex, Payload, Term, planted};
use tidegate_engine::{MapEngine, Tier};
use tidegate_kv::{Bound, Config, HashCursor, LeaseChange, Machine, Outcome, RangeSpec, Reader, Step, Version};
use tidegate_raftlog::Entry;

/// A change of a key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    pub(crate) at: Version,
    pub(crate) kind: EventType,
    pub(crate) pair: KeyValue,
    /// The pair before it, if there was one.
    pub(crate) previous: Option<KeyValue>,
}

/// An entry that was applied somewhere, so committed.
struct Committed {
    term: Term,
    crc: u32,
    /// Visible and compacted revision after it.
    revision: i64,
    compacted: i64,
}

pub(crate) struct Oracle {
    machine: Machine<MapEngine>,
    log: Vec<Committed>,
    /// All changes, in order.
    pub(crate) changes: Vec<Change>,
    keys: BTreeMap<Bytes, Vec<usize>>,
    outcomes: BTreeMap<u64, String>,
    pub(crate) compacted: i64,
    /// Leases that exist, with their seconds.
    pub(crate) leases: BTreeMap<i64, i64>,
    /// How often each was revoked.
    revocations: BTreeMap<i64, u32>,
}

/// What an answer says apart from what only the member with the client knows.
fn told(outcome: &Outcome) -> String {
    format!("revision {} changed {}: {:?}", outcome.revision, outcome.changed, outcome.result)
}

fn crc(payload: &Payload) -> u32 {
    crc32c::crc32c(&payload.contiguous())
}

impl Oracle {
    pub(crate) fn new() -> Self {
        let machine = Machine::open(Arc::new(MapEngine::new()), Config::default()).expect("an empty engine opens");
        Self {
            machine,
            log: Vec::new(),
            changes: Vec::new(),
            keys: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            compacted: -1,
            leases: BTreeMap::new(),
            revocations: BTreeMap::new(),
        }
    }

    pub(crate) fn committed(&self) -> LogIndex {
        LogIndex(self.log.len() as u64)
    }

    /// Of the last committed entry.
    pub(crate) fn term(&self) -> Term {
        self.log.last().map_or(Term(0), |entry| entry.term)
    }

    /// The last committed entry of an earlier term.
    pub(crate) fn last_before(&self, term: Term) -> Option<(LogIndex, Term)> {
        let count = self.log.partition_point(|entry| entry.term < term);
        let last = self.log.get(count.checked_sub(1)?)?;
        Some((LogIndex(count as u64), last.term))
    }

    fn entry(&self, index: LogIndex) -> Option<&Committed> {
        self.log.get(usize::try_from(index.0.checked_sub(1)?).expect("an index of a short log"))
    }

    pub(crate) fn revision(&self) -> i64 {
        self.log.last().map_or(1, |entry| entry.revision)
    }

    /// Visible and compacted revision after the entry at `index`.
    pub(crate) fn after(&self, index: LogIndex) -> (i64, i64) {
        self.entry(index).map_or((1, -1), |entry| (entry.revision, entry.compacted))
    }

    /// A member has applied `entry`: the same one as every other, or the first time. Then its request id comes back, and the
    /// leases that it ended.
    pub(crate) fn applied(&mut self, entry: &Entry) -> Option<(u64, Vec<i64>)> {
        let (index, crc) = (entry.position.index, crc(&entry.payload));
        if let Some(known) = self.entry(index) {
            assert_eq!(
                (known.term, known.crc),
                (entry.position.term, crc),
                "state machine safety: entry {index} is another one on this member, or a committed one was lost"
            );
            return None;
        }
        assert_eq!(index, self.committed().next(), "a member applied entries that nobody has committed");
        let outcome = planted::with(None, || self.apply(entry));
        let (before, revision) = (self.revision(), outcome.revision);
        assert_eq!(revision, before + i64::from(outcome.changed), "revisions have no gap");
        let mut revoked = Vec::new();
        for change in &outcome.leases {
            match *change {
                LeaseChange::Granted { id, ttl_seconds } => {
                    self.leases.insert(id, ttl_seconds);
                }
                LeaseChange::Revoked { id } => {
                    self.leases.remove(&id);
                    *self.revocations.entry(id).or_default() += 1;
                    revoked.push(id);
                }
            }
        }
        self.compacted = self.compacted.max(outcome.compacted.unwrap_or(-1));
        self.outcomes.insert(outcome.request_id, told(&outcome));
        self.log.push(Committed { term: entry.position.term, crc, revision, compacted: self.compacted });
        if outcome.changed {
            planted::with(None, || self.collect(revision));
        }
        Some((outcome.request_id, revoked))
    }

    fn apply(&mut self, entry: &Entry) -> Outcome {
        let mut step = self.machine.apply(entry.position, &entry.payload).expect("a committed entry applies");
        let outcome = loop {
            match step {
                Step::Done(outcome) => break outcome,
                Step::More => {
                    self.machine.commit().expect("the maps take everything");
                    step = self.machine.resume().expect("a committed entry applies");
                }
            }
        };
        self.machine.commit().expect("the maps take everything");
        let mut outcome = *outcome;
        (outcome.pin, outcome.events) = (None, None);
        outcome
    }

    fn collect(&mut self, revision: i64) {
        let reader = self.machine.reader();
        let mut fresh = Vec::new();
        let whole = reader.each_event(Version::new(revision, 0), revision, |event| {
            let value = match event.value {
                Some(value) => Bytes::copy_from_slice(value),
                None if event.info.deleted => Bytes::new(),
                None => reader.value(event.at, event.is_blob(), Tier::All)?.known().unwrap_or_default(),
            };
            let key = Bytes::copy_from_slice(event.key);
            let (at, info) = (event.at, event.info);
            let (kind, pair) = if info.deleted {
                (EventType::Delete, KeyValue { key, mod_revision: at.main, ..KeyValue::default() })
            } else {
                let (create_revision, version, lease) = (info.create, info.version, info.lease);
                (EventType::Put, KeyValue { key, create_revision, mod_revision: at.main, version, value, lease })
            };
            fresh.push((at, kind, pair));
            Ok(true)
        });
        whole.expect("the maps can be read");
        for (at, kind, pair) in fresh {
            // Of what began in its own revision there is none, even when an older life of it ended there.
            let previous = self.pair_at(&pair.key, Bound::at(at.main - 1));
            let previous = previous.filter(|_| pair.create_revision != at.main);
            self.keys.entry(pair.key.clone()).or_default().push(self.changes.len());
            self.changes.push(Change { at, kind, pair, previous });
        }
    }

    /// Which life of the lease this is, if it lives.
    pub(crate) fn life(&self, lease: i64) -> Option<u32> {
        self.leases.contains_key(&lease).then(|| self.revocations.get(&lease).copied().unwrap_or(0))
    }

    pub(crate) fn pair_at(&self, key: &[u8], bound: Bound) -> Option<KeyValue> {
        let of_key = self.keys.get(key)?;
        let behind = of_key.partition_point(|at| self.changes[*at].at < bound.0);
        let change = &self.changes[of_key[behind.checked_sub(1)?]];
        (change.kind == EventType::Put).then(|| change.pair.clone())
    }

    /// All pairs of a range as they stood at `bound`.
    pub(crate) fn pairs(&self, range: &KeyRange, bound: Bound) -> Vec<KeyValue> {
        let keys = self.keys.keys().filter(|key| range.contains(key));
        keys.filter_map(|key| self.pair_at(key, bound)).collect()
    }

    /// What a range read answers: the pairs it names, and how many there are in all.
    pub(crate) fn range(&self, spec: &RangeSpec) -> (Vec<KeyValue>, u64) {
        let mut pairs = self.pairs(&spec.range, spec.bound);
        let count = pairs.len() as u64;
        if spec.order == tidegate_engine::Order::Descending {
            pairs.reverse();
        }
        if spec.limit > 0 {
            pairs.truncate(usize::try_from(spec.limit).unwrap_or(usize::MAX));
        }
        if spec.count_only {
            pairs.clear();
        }
        if spec.keys_only {
            pairs.iter_mut().for_each(|pair| (pair.value, pair.lease) = (Bytes::new(), 0));
        }
        (pairs, count)
    }

    /// A member gave this answer to a proposal: what it says must be what the committed entry says.
    pub(crate) fn answered(&self, outcome: &Outcome) {
        let expected = self.outcomes.get(&outcome.request_id);
        let expected = expected.unwrap_or_else(|| panic!("an answer to an entry that is not committed: {outcome:?}"));
        assert_eq!(told(outcome), *expected, "members answer one entry differently");
    }

    /// Changes behind revision `after` whose keys `range` holds.
    pub(crate) fn changes_behind<'a>(&'a self, at: Version, range: &'a KeyRange) -> impl Iterator<Item = &'a Change> {
        let from = self.changes.partition_point(|change| change.at < at);
        self.changes[from..].iter().filter(|change| range.contains(&change.pair.key))
    }

    pub(crate) fn hash(&self, revision: i64) -> (u32, i64) {
        planted::with(None, || hash(&self.machine.reader(), revision))
    }
}

/// HashKV at `revision`, and the compacted revision that it stands for.
pub(crate) fn hash(reader: &Reader<MapEngine>, revision: i64) -> (u32, i64) {
    let mut cursor = HashCursor::new(reader, revision).expect("a revision that is not compacted");
    loop {
        if let Some(answer) = cursor.step(reader, 1000).expect("the maps can be read") {
            return (answer.hash, answer.compact_revision);
        }
    }
}
