//! One machine over its own engine, fed from a log, and compared with the oracle.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use rand::{Rng, rngs::SmallRng};
use tidegate_api::{
    Error, KeyRange,
    pb::{
        KeyValue, RangeResponse,
        etcdserverpb::{
            Compare,
            compare::{CompareResult, CompareTarget, TargetUnion},
        },
    },
};
use tidegate_base::{LogPosition, Payload};
use tidegate_engine::{Engine, Lookup, MapEngine, Order, Space, Tier};
use tidegate_kv::{
    Answer, Bound, CompareCursor, Config, DeleteAnswer, Found, HashCursor, Machine, OpAnswer, Outcome, Piece,
    PutAnswer, RangeCursor, RangeMeasure, RangeSpec, ReadError, Reader, Revisions, SliceLimit, SortField, Step, Sweep,
    TxnAnswer, Version,
};

use crate::{
    generate,
    oracle::{Expected, Oracle},
};

pub(crate) struct Logged {
    pub(crate) payload: Payload,
    pub(crate) expected: Result<Expected, Error>,
    pub(crate) revision: i64,
}

pub(crate) struct Replica {
    name: &'static str,
    engine: Arc<MapEngine>,
    config: Config,
    machine: Machine<MapEngine>,
    /// Outcomes whose batch is not committed, with the number of their entry and whether a crash interrupted it.
    told: Vec<(usize, bool, Outcome)>,
}

impl Replica {
    pub(crate) fn new(name: &'static str, batch_bytes: usize, heads_bytes: usize) -> Self {
        let engine = Arc::new(MapEngine::new());
        let config = Config { batch_bytes, heads_bytes, ..Config::default() };
        let machine = Machine::open(Arc::clone(&engine), config).unwrap();
        Self { name, engine, config, machine, told: Vec::new() }
    }

    fn next(&self) -> usize {
        usize::try_from(self.machine.applied().index.0).unwrap()
    }

    fn feed(&mut self, log: &[Logged]) -> Step {
        let at = self.next();
        self.machine.apply(LogPosition::new(at as u64 + 1, 1), &log[at].payload).unwrap()
    }

    /// Applies what is left of the log, and checks each answer against the oracle.
    pub(crate) fn catch_up(&mut self, log: &[Logged], oracle: &Oracle) {
        while self.next() < log.len() {
            let at = self.next();
            let interrupted = self.machine.pending().is_some();
            let mut step = self.feed(log);
            let outcome = loop {
                match step {
                    Step::Done(outcome) => break *outcome,
                    Step::More => {
                        self.machine.commit().unwrap();
                        // Earlier entries may become visible with it, this one must not.
                        let before = if at == 0 { 1 } else { log[at - 1].revision };
                        assert_eq!(
                            self.machine.reader().visible(),
                            before,
                            "{}: a part of entry {at} is visible",
                            self.name
                        );
                        step = self.machine.resume().unwrap();
                    }
                }
            };
            assert_eq!(outcome.revision, log[at].revision, "{}: revision after entry {at}", self.name);
            self.told.push((at, interrupted, outcome));
            if self.machine.batch_is_full() {
                self.machine.commit().unwrap();
            }
            if self.told.len() > 8 {
                self.commit();
            }
        }
        for (at, interrupted, outcome) in &self.told {
            same_result(outcome, &log[*at], *interrupted);
        }
        let reader = self.machine.reader();
        if !self.machine.has_uncommitted() {
            for (_, interrupted, outcome) in self.told.drain(..) {
                if !interrupted && let Ok(answer) = &outcome.result {
                    recipes(answer).iter().for_each(|spec| check_range(&reader, oracle, spec, false));
                }
            }
        }
    }

    pub(crate) fn commit(&mut self) {
        self.machine.commit().unwrap();
    }

    /// Stops in the middle of the next entry, if it needs more than one batch, and loses what was not flushed.
    pub(crate) fn interrupt(&mut self, log: &[Logged], rng: &mut SmallRng) {
        if self.next() < log.len() {
            let mut step = self.feed(log);
            for _ in 0..rng.random_range(0..4) {
                if matches!(step, Step::Done(_)) {
                    break;
                }
                self.machine.commit().unwrap();
                step = self.machine.resume().unwrap();
            }
            if rng.random() {
                self.machine.commit().unwrap();
            }
        }
        self.crash(rng);
    }

    fn crash(&mut self, rng: &mut SmallRng) {
        self.told.clear();
        let kept = rng.random_range(0..=self.engine.unflushed_batches());
        self.engine.crash_keeping(kept);
        self.machine = Machine::open(Arc::clone(&self.engine), self.config).unwrap();
    }

    pub(crate) fn disturb(&mut self, rng: &mut SmallRng) {
        if rng.random_bool(0.2) {
            self.engine.flush(true).unwrap();
            assert_eq!(self.machine.flushed().unwrap(), self.machine.applied().index);
        }
        for _ in 0..rng.random_range(0..4) {
            self.machine.sweep(rng.random_range(1..4)).unwrap();
        }
    }

    /// Every readable revision, the events, the leases and the hash.
    pub(crate) fn check(&self, oracle: &Oracle, rng: &mut SmallRng) {
        let reader = self.machine.reader();
        assert_eq!((reader.visible(), reader.compacted()), (oracle.revision, oracle.compacted), "{}", self.name);
        for revision in oracle.compacted.max(1)..=oracle.revision {
            let bound = Bound::at(revision);
            let pin = reader.pin(bound).unwrap();
            for _ in 0..3 {
                let filters = rng.random_bool(0.3);
                let spec = RangeSpec {
                    sort: if rng.random() { SortField::Key } else { sort_field(rng) },
                    order: if rng.random() { Order::Ascending } else { Order::Descending },
                    sorted_max: if !filters && rng.random_bool(0.5) { rng.random_range(1..5) } else { 0 },
                    limit: rng.random_range(0..5),
                    revisions: if filters { revisions(rng, revision) } else { Revisions::default() },
                    keys_only: rng.random_bool(0.2),
                    count_only: rng.random_bool(0.1),
                    ..RangeSpec::all(generate::key_range(rng), bound)
                };
                check_range(&reader, oracle, &spec, rng.random());
            }
            let key = generate::key(rng);
            let row = reader.get(&key, bound, Tier::All).unwrap().known().flatten();
            let pair = row.map(|row| pair_of(key.clone(), row.at, &row.info, row.value));
            assert_eq!(pair, oracle.at(&key, (revision + 1, 0)).map(|change| change.pair.clone()), "{}", self.name);
            self.check_memory(&reader, &key, bound);
            check_compare(&reader, oracle, &generate::key_range(rng), bound, rng);
            drop(pin);
        }
        self.check_events(&reader, oracle);
        self.check_hash(&reader, oracle, rng);
        for id in 1..=generate::LEASES {
            assert_eq!(reader.lease_ttl(id).unwrap(), oracle.leases.get(&id).copied());
            let attached = oracle.attached(id);
            assert_eq!(reader.lease_keys(id, None, usize::MAX).unwrap(), attached, "{}: keys of a lease", self.name);
        }
        if oracle.compacted > 1 {
            let below = Bound::at(oracle.compacted - 1);
            assert!(matches!(reader.pin(below), Err(ReadError::Compacted(_))));
        }
        assert!(matches!(reader.bound(oracle.revision + 1), Err(ReadError::Future(_))));
    }

    /// What memory tells without an iterator is what the long way finds.
    fn check_memory(&self, reader: &Reader<MapEngine>, key: &[u8], bound: Bound) {
        let wanted = reader.find(key, bound, Tier::All).unwrap().known().flatten();
        let row = |found: &tidegate_kv::Found| (found.at, found.info, found.blob);
        if let Lookup::Found(found) = reader.find(key, bound, Tier::Cached).unwrap() {
            assert_eq!(found.as_ref().map(row), wanted.as_ref().map(row), "{}: {key:?} at {bound:?}", self.name);
            if let Some(Found { at, blob: false, value: Some(value), .. }) = found {
                assert_eq!(reader.value(at, false, Tier::All).unwrap().known(), Some(value), "{}", self.name);
            }
        }
    }

    fn check_events(&self, reader: &Reader<MapEngine>, oracle: &Oracle) {
        let from = oracle.compacted + 1;
        let expected: Vec<_> = oracle.changes().into_iter().filter(|change| change.main >= from).collect();
        let mut at = 0;
        let whole = reader.each_event(Version::new(from, 0), oracle.revision, |event| {
            let (change, value) = (expected[at], event.value.map(Bytes::copy_from_slice));
            let value = if event.is_blob() { reader.value(event.at, true, Tier::All)?.known() } else { value };
            let place = (event.at.main, event.at.sub, event.info.deleted, event.key);
            assert_eq!(place, (change.main, change.sub, change.deleted, &change.pair.key[..]), "{}", self.name);
            if !change.deleted {
                let pair = pair_of(change.pair.key.clone(), event.at, &event.info, value.unwrap_or_default());
                assert_eq!(pair, change.pair);
            }
            at += 1;
            Ok(true)
        });
        whole.unwrap();
        assert_eq!(at, expected.len(), "{}: events", self.name);
        for (key, changes) in &oracle.keys {
            let mut versions = Vec::new();
            let visit = |event: tidegate_kv::KeyEvent| {
                versions.push((event.at.main, event.at.sub, event.info.deleted));
                Ok(true)
            };
            reader.each_version(key, from, oracle.revision, visit).unwrap();
            let wanted = changes.iter().filter(|change| change.main >= from);
            let wanted: Vec<_> = wanted.map(|change| (change.main, change.sub, change.deleted)).collect();
            assert_eq!(versions, wanted, "{}: versions of {key:?}", self.name);
        }
    }

    fn check_hash(&self, reader: &Reader<MapEngine>, oracle: &Oracle, rng: &mut SmallRng) {
        let revision = rng.random_range(oracle.compacted.max(1)..=oracle.revision);
        for revision in [revision, oracle.revision] {
            let mut cursor = HashCursor::new(reader, revision).unwrap();
            let answer = loop {
                if let Some(answer) = cursor.step(reader, 3).unwrap() {
                    break answer;
                }
            };
            assert_eq!(answer.hash, oracle.hash(revision), "{}: hash at {revision}", self.name);
            assert_eq!((answer.hash_revision, answer.compact_revision), (revision, oracle.compacted));
        }
    }

    /// Sweeps to the end: then exactly what compaction keeps is stored.
    ///
    /// Found here: a walk whose target rose before its end passed the deletions at the old target for good (seeds 74 and 332).
    pub(crate) fn check_swept(&mut self, oracle: &Oracle) {
        self.told.clear();
        let swept = loop {
            if let Sweep::Done(revision) = self.machine.sweep(3).unwrap() {
                break revision;
            }
        };
        assert_eq!(swept, oracle.compacted.max(0), "{}: nothing is pinned", self.name);
        let remaining: Vec<_> = oracle.changes().into_iter().filter(|change| oracle.remains(change)).collect();
        let large = remaining.iter().filter(|change| change.pair.value.len() >= 16 << 10).count();
        let keys = oracle.keys.values().filter(|changes| changes.iter().any(|change| oracle.remains(change))).count();
        let rows = |space| self.engine.len(space) - 1; // beside the meta row
        let mut stored = Vec::new();
        for key in oracle.keys.keys() {
            let visit = |event: tidegate_kv::KeyEvent| {
                stored.push((event.at.main, event.at.sub, event.info.deleted, key.clone()));
                Ok(true)
            };
            self.machine.reader().each_version(key, 0, oracle.revision, visit).unwrap();
        }
        let wanted: Vec<_> = remaining.iter().map(|c| (c.main, c.sub, c.deleted, c.pair.key.to_vec())).collect();
        stored.sort();
        assert_eq!(stored, wanted, "{}: versions left by compaction to {}", self.name, oracle.compacted);
        assert_eq!(rows(Space::Versions), remaining.len(), "{}: rows of versions", self.name);
        assert_eq!(rows(Space::Events), remaining.len() + large, "{}: rows of events", self.name);
        assert_eq!(rows(Space::Head), keys, "{}: rows of head", self.name);
    }
}

fn pair_of(key: Bytes, at: Version, info: &tidegate_kv::Info, value: Bytes) -> KeyValue {
    let (create_revision, version, lease) = (info.create, info.version, info.lease);
    KeyValue { key, create_revision, mod_revision: at.main, version, value, lease }
}

/// Compares numbers and errors. An entry that a crash interrupted has lost its counts: nobody waits for its answer.
fn same_result(outcome: &Outcome, logged: &Logged, interrupted: bool) {
    match (&outcome.result, &logged.expected) {
        (Err(error), Err(expected)) => assert_eq!(error, expected),
        (Ok(answer), Ok(expected)) => {
            if interrupted {
                return;
            }
            match (answer, expected) {
                (Answer::Put(put), expected) => same_op(&OpAnswer::Put(put.clone()), expected),
                (Answer::Delete(delete), expected) => same_op(&OpAnswer::Delete(delete.clone()), expected),
                (Answer::Txn(txn), expected) => same_op(&OpAnswer::Txn(txn.clone()), expected),
                (_, expected) => assert_eq!(*expected, Expected::Other),
            }
        }
        (answer, expected) => panic!("answered {answer:?}, expected {expected:?}"),
    }
}

fn same_op(answer: &OpAnswer, expected: &Expected) {
    let place = |bound: Bound| (bound.0.main, bound.0.sub);
    match (answer, expected) {
        (OpAnswer::Put(PutAnswer { header_revision, previous }), Expected::Put { header, previous: wanted }) => {
            assert_eq!(header_revision, header);
            let previous = previous.as_ref().map(|pair| (KeyRange::One(pair.key.clone()), place(pair.bound)));
            assert_eq!(previous, *wanted);
        }
        (
            OpAnswer::Delete(DeleteAnswer { header_revision, deleted, previous }),
            Expected::Delete { header, deleted: count, previous: wanted },
        ) => {
            assert_eq!((header_revision, deleted), (header, count));
            assert_eq!(previous.as_ref().map(|spec| (spec.range.clone(), place(spec.bound))), *wanted);
        }
        (OpAnswer::Range(range), Expected::Range { header, bound }) => {
            assert_eq!(range.header_revision, *header);
            assert_eq!(place(range.spec.bound), *bound);
        }
        (OpAnswer::Txn(TxnAnswer { succeeded, responses }), Expected::Txn { succeeded: wanted, responses: all }) => {
            assert_eq!((succeeded, responses.len()), (wanted, all.len()));
            responses.iter().zip(all).for_each(|(answer, expected)| same_op(answer, expected));
        }
        (answer, expected) => panic!("answered {answer:?}, expected {expected:?}"),
    }
}

fn recipes(answer: &Answer) -> Vec<RangeSpec> {
    let mut out = Vec::new();
    answer.each_recipe(&mut |recipe| out.push(recipe.spec()));
    out
}

/// A compare over a range, in slices of one row.
fn check_compare(reader: &Reader<MapEngine>, oracle: &Oracle, range: &KeyRange, bound: Bound, rng: &mut SmallRng) {
    let pairs = oracle.range(range, (bound.0.main, bound.0.sub));
    let range_end = match range {
        KeyRange::One(_) => Bytes::new(),
        KeyRange::From(_) => Bytes::from_static(b"\0"),
        KeyRange::Span(_, end) => end.clone(),
    };
    let given = rng.random_range(0..3);
    let some = pairs.first().map_or_else(Bytes::new, |pair| pair.value.clone());
    let cases = [
        (CompareTarget::Version, CompareResult::Greater, TargetUnion::Version(given)),
        (CompareTarget::Value, CompareResult::Equal, TargetUnion::Value(some.clone())),
    ];
    for (target, result, given) in cases {
        let holds = match &given {
            TargetUnion::Version(given) => pairs.iter().all(|pair| pair.version > *given) && !pairs.is_empty(),
            _ => pairs.iter().all(|pair| pair.value == some) && !pairs.is_empty(),
        };
        let compare = Compare {
            key: range.start().clone(),
            range_end: range_end.clone(),
            target: target.into(),
            result: result.into(),
            target_union: Some(given),
        };
        let mut cursor = CompareCursor::new(compare, bound);
        if let Some(now) = cursor.now(reader).unwrap() {
            assert_eq!(now, holds, "{cursor:?}");
        }
        let sliced = loop {
            if let Some(holds) = cursor.step(reader, 1).unwrap() {
                break holds;
            }
        };
        assert_eq!(sliced, holds, "{cursor:?}");
    }
}

fn sort_field(rng: &mut SmallRng) -> SortField {
    let fields = [SortField::Version, SortField::Create, SortField::Mod, SortField::Value];
    fields[rng.random_range(0..fields.len())]
}

fn revisions(rng: &mut SmallRng, revision: i64) -> Revisions {
    let mut bound = || if rng.random() { 0 } else { rng.random_range(-1..=revision) };
    Revisions { mod_min: bound(), mod_max: bound(), create_min: bound(), create_max: bound() }
}

/// The pairs that `spec` asks for, made the simple way, but for its limit.
fn wanted(oracle: &Oracle, spec: &RangeSpec) -> Vec<KeyValue> {
    let mut pairs = oracle.range(&spec.range, (spec.bound.0.main, spec.bound.0.sub));
    if spec.sort != SortField::Key && spec.sorted_max > 0 {
        pairs.truncate(usize::try_from(spec.sorted_max).unwrap());
    }
    pairs.retain(|pair| spec.revisions.admit(pair.mod_revision, pair.create_revision));
    let by = |pair: &KeyValue| match spec.sort {
        SortField::Key => (0, pair.key.clone()),
        SortField::Version => (pair.version, Bytes::new()),
        SortField::Create => (pair.create_revision, Bytes::new()),
        SortField::Mod => (pair.mod_revision, Bytes::new()),
        SortField::Value => (0, pair.value.clone()),
    };
    match spec.order {
        Order::Ascending => pairs.sort_by_key(by),
        Order::Descending => pairs.sort_by_key(|pair| std::cmp::Reverse(by(pair))),
    }
    pairs
}

/// Both passes in small slices: counts, lengths and every pair. `tight`: with room for two pairs or so when they are
/// sorted, and what was sorted is forgotten again and again.
fn check_range(reader: &Reader<MapEngine>, oracle: &Oracle, spec: &RangeSpec, tight: bool) {
    let count = oracle.range(&spec.range, (spec.bound.0.main, spec.bound.0.sub)).len() as u64;
    let mut pairs = wanted(oracle, spec);
    let limit = if spec.limit == 0 { usize::MAX } else { usize::try_from(spec.limit).unwrap() };
    let more = !spec.count_only && pairs.len() > limit;
    pairs.truncate(if spec.count_only { 0 } else { limit });
    if spec.keys_only {
        for pair in &mut pairs {
            pair.value = Bytes::new();
            // Values were read to be sorted, and leases with them.
            pair.lease = if spec.sort == SortField::Value { pair.lease } else { 0 };
        }
    }
    let response = RangeResponse { kvs: pairs, ..RangeResponse::default() };
    let slice = SliceLimit { rows: 2, bytes: 40 };
    let mut cursor = RangeCursor::new(spec.clone(), 2);
    let measured = loop {
        if let Some(measured) = cursor.measure(reader, slice).unwrap() {
            break measured;
        }
    };
    let (pairs, bytes) = (response.kvs.len() as u64, response.encoded_len() as u64);
    assert_eq!(measured, RangeMeasure { count, pairs, bytes, more, sorting: measured.sorting }, "{spec:?}");

    let mut second = measured;
    if tight {
        second.sorting = second.sorting.within(250, 1);
    }
    let (mut cursor, mut encoded, mut passes) = (RangeCursor::measured(spec.clone(), 2, &second), Vec::new(), 0);
    loop {
        let mut pieces = Vec::new();
        if tight && passes % 40 == 39 {
            cursor.forget();
        }
        let go_on = cursor.produce(reader, slice, &mut pieces).unwrap();
        passes += 1;
        assert!(passes < 1000, "the second pass does not end: {spec:?}");
        for piece in pieces {
            match piece {
                Piece::Bytes(bytes) => encoded.extend_from_slice(&bytes),
                Piece::Blob { at, len } => {
                    let value = reader.value(at, true, Tier::All).unwrap().known().unwrap();
                    assert_eq!(value.len() as u64, len);
                    encoded.extend_from_slice(&value);
                }
            }
        }
        if !go_on {
            break;
        }
    }
    assert_eq!(encoded, response.encode_to_vec(), "{spec:?}");
}
