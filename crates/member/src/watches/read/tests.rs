//! Reads cut into slices, over a machine on an engine that counts the values it is asked for.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use prost::Message;
use tidegate_api::pb::{self, WatchResponse};
use tidegate_base::{Budget, ByteSize, Limits, LogPosition, Profile};
use tidegate_engine::{Error, Lookup, MapBatch, MapCursor, MapEngine, Scan, Space, Usage};
use tidegate_kv::{
    Command, Envelope, Machine, Step,
    watch::{Config, CreateSpec, Hub, Piece, Size},
};

use super::*;

/// Large enough for a row of its own.
const BLOB: usize = 20_000;

struct Counting {
    map: MapEngine,
    values: AtomicUsize,
}

impl Engine for Counting {
    type Batch = MapBatch;
    type Value<'a> = <MapEngine as Engine>::Value<'a>;
    type Cursor<'a> = MapCursor;

    fn batch(&self) -> MapBatch {
        self.map.batch()
    }

    fn write(&self, batch: &mut MapBatch) -> Result<(), Error> {
        self.map.write(batch)
    }

    fn get(&self, space: Space, key: &[u8], tier: Tier) -> Result<Lookup<Self::Value<'_>>, Error> {
        self.values.fetch_add(usize::from(space == Space::Events), Ordering::Relaxed);
        self.map.get(space, key, tier)
    }

    fn get_flushed(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.map.get_flushed(space, key)
    }

    fn scan(&self, space: Space, scan: Scan<'_>) -> Result<MapCursor, Error> {
        self.map.scan(space, scan)
    }

    fn flush(&self, wait: bool) -> Result<(), Error> {
        self.map.flush(wait)
    }

    fn checkpoint(&self, path: &Path) -> Result<(), Error> {
        self.map.checkpoint(path)
    }

    fn usage(&self) -> Usage {
        self.map.usage()
    }

    fn unflushed_limit(&self) -> u64 {
        self.map.unflushed_limit()
    }

    fn set_cache(&self, bytes: u64) {
        self.map.set_cache(bytes);
    }

    fn maintain(&self) -> Result<(), Error> {
        self.map.maintain()
    }
}

struct Store {
    engine: Arc<Counting>,
    machine: Machine<Counting>,
}

impl Store {
    fn new() -> Self {
        let engine = Arc::new(Counting { map: MapEngine::new(), values: AtomicUsize::new(0) });
        let machine = Machine::open(Arc::clone(&engine), tidegate_kv::Config::default()).unwrap();
        Self { engine, machine }
    }

    fn apply(&mut self, command: Command, message: &impl Message) {
        let index = self.machine.applied().index.0 + 1;
        let payload = Envelope::new(command, index).seal(message.encode_to_vec().into());
        let mut step = self.machine.apply(LogPosition::new(index, 1), &payload).unwrap();
        while let Step::More = step {
            self.machine.commit().unwrap();
            step = self.machine.resume().unwrap();
        }
        self.machine.commit().unwrap();
    }

    /// One revision: puts of so many bytes, and deletions.
    fn commit(&mut self, changes: &[(String, Option<usize>)]) {
        let success = changes
            .iter()
            .map(|(key, len)| {
                let key = Bytes::copy_from_slice(key.as_bytes());
                let request = match len {
                    Some(len) => pb::request_op::Request::RequestPut(pb::PutRequest {
                        key,
                        value: vec![b'v'; *len].into(),
                        ..Default::default()
                    }),
                    None => pb::request_op::Request::RequestDeleteRange(pb::DeleteRangeRequest {
                        key,
                        ..Default::default()
                    }),
                };
                pb::RequestOp { request: Some(request) }
            })
            .collect();
        self.apply(Command::Txn, &pb::TxnRequest { success, ..Default::default() });
    }

    fn delete_all(&mut self) {
        let delete = pb::DeleteRangeRequest {
            key: Bytes::from_static(&[0]),
            range_end: Bytes::from_static(&[0]),
            ..Default::default()
        };
        self.apply(Command::DeleteRange, &delete);
    }

    fn values_read(&self) -> usize {
        self.engine.values.load(Ordering::Relaxed)
    }

    /// The result of a read in slices of `rows`, and how many there were.
    fn run(&self, work: Work, bytes_max: usize, rows: usize) -> (Done, usize) {
        let reader = self.machine.reader();
        let mut walk = Walk::new(work, bytes_max);
        for slices in 1.. {
            let mut slice = Slice::rows(rows);
            match walk.step(&reader, &mut slice) {
                Ok(rest) => walk = rest,
                Err(done) => return (done, slices),
            }
        }
        unreachable!("slices end")
    }

    /// Everything that reads for catch-up bring, and the revisions too large for them.
    fn caught_up(&self, scope: &dyn Fn() -> Scope, previous: bool, bytes_max: usize, rows: usize) -> Vec<String> {
        let (mut told, mut from, to) = (Vec::new(), 2, self.machine.reader().visible());
        while from <= to {
            let work = Work::CatchUp { scope: scope(), from, to, previous };
            let Done::CaughtUp { revisions, next, large } = self.run(work, bytes_max, rows).0 else {
                panic!("history")
            };
            assert!(next > from || large, "the read got nowhere");
            told.extend(revisions.iter().map(|events| format!("{events:?}")));
            from = next + i64::from(large);
            if large {
                told.push(format!("{next} is large"));
            }
        }
        told
    }
}

/// Revisions of one to many changes, values on both sides of every limit, creations, deletions.
fn store() -> Store {
    let mut store = Store::new();
    for n in 0..40usize {
        let changes: Vec<(String, Option<usize>)> = (0..=n % 7)
            .map(|k| {
                let len = [3, 900, 1_500, BLOB][(n + k) % 4];
                (format!("k{}", (n * 3 + k) % 11), ((n + k) % 5 > 0).then_some(len))
            })
            .collect();
        store.commit(&changes);
    }
    store
}

fn ask(span: KeySpan, previous: bool, bytes_max: u64) -> Ask {
    Ask { span, no_put: false, no_delete: false, previous, bytes_max }
}

#[test]
fn slices_change_nothing_of_what_is_read() {
    let store = store();
    let last = store.machine.reader().visible();
    for previous in [false, true] {
        for bytes_max in [10_000, 45_000, 1 << 20] {
            let spans: &dyn Fn() -> Scope = &|| {
                Scope::Spans(Spans::merge(vec![
                    KeySpan::one(b"k1"),
                    KeySpan::range(b"k3", b"k5"),
                    KeySpan::from(b"k8"),
                ]))
            };
            let key: &dyn Fn() -> Scope = &|| Scope::Key(KeySpan::one(b"k3"));
            for scope in [spans, key] {
                let whole = store.caught_up(scope, previous, bytes_max, usize::MAX);
                assert!(whole.len() > 5);
                for rows in [1, 2, 5] {
                    assert_eq!(store.caught_up(scope, previous, bytes_max, rows), whole, "slices of {rows} rows");
                }
            }
            for revision in 2..=last {
                let asks = || vec![ask(KeySpan::all(), previous, 30_000), ask(KeySpan::one(b"k3"), previous, 1 << 30)];
                let read = |rows: usize, from_sub: u32| {
                    let measure = Work::Measure { revision, from_sub, asks: asks() };
                    let ask = ask(KeySpan::all(), previous, 1 << 30);
                    let events = Work::Events { revision, from_sub, ask };
                    let run = |work| format!("{:?}", store.run(work, bytes_max, rows).0);
                    (run(measure), run(events))
                };
                for from_sub in [0, 2] {
                    let whole = read(usize::MAX, from_sub);
                    assert!([1, 3].iter().all(|rows| read(*rows, from_sub) == whole), "revision {revision}");
                }
            }
        }
    }
}

#[test]
fn a_revision_of_many_changes_takes_many_slices() {
    let mut store = Store::new();
    let keys: Vec<(String, Option<usize>)> = (0..5_000).map(|n| (format!("k{n:04}"), Some(1))).collect();
    store.commit(&keys);
    store.delete_all();
    let other = || Scope::Spans(Spans::merge(vec![KeySpan::one(b"x")]));
    let work = Work::CatchUp { scope: other(), from: 3, to: 3, previous: false };
    let (done, slices) = store.run(work, 1 << 20, ROWS);
    assert!(matches!(done, Done::CaughtUp { ref revisions, next: 4, large: false } if revisions.is_empty()));
    assert_eq!(slices, 3);
    // One that got past a revision tells so: the rest is another read.
    let work = Work::CatchUp { scope: other(), from: 2, to: 3, previous: false };
    assert!(matches!(store.run(work, 1 << 20, ROWS), (Done::CaughtUp { next: 3, .. }, 3)));
    let asks = vec![ask(KeySpan::all(), true, 1 << 30)];
    let (done, slices) = store.run(Work::Measure { revision: 3, from_sub: 0, asks }, 0, ROWS);
    assert!(matches!(&done, Done::Measured(sizes) if sizes[0].events == 5_000 && sizes[0].next.is_none()));
    assert_eq!(slices, 3);
    let nothing = ask(KeySpan::one(b"x"), false, 1 << 30);
    let work = Work::Events { revision: 3, from_sub: 0, ask: nothing };
    assert!(matches!(store.run(work, 1 << 20, ROWS), (Done::Events { next: None, .. }, 3)));
}

#[test]
fn values_are_fetched_only_when_they_fit() {
    let mut store = Store::new();
    let keys: Vec<(String, Option<usize>)> = (0..50).map(|n| (format!("k{n:02}"), Some(BLOB))).collect();
    store.commit(&keys);
    store.commit(&keys);
    store.delete_all();
    let before = store.values_read();
    for revision in 2..=4 {
        let asks = vec![ask(KeySpan::all(), true, 1 << 30)];
        let (done, _) = store.run(Work::Measure { revision, from_sub: 0, asks }, 0, ROWS);
        let Done::Measured(sizes) = done else { panic!("measured") };
        let values = if revision == 3 { 100 } else { 50 };
        let least = (values * BLOB) as u64;
        assert!(matches!(sizes[0], Size { events: 50, bytes, next: None } if (least..least + 10_000).contains(&bytes)));
        let all = ask(KeySpan::all(), true, 1 << 30);
        let (done, _) = store.run(Work::Events { revision, from_sub: 0, ask: all }, BLOB / 2, ROWS);
        assert!(matches!(done, Done::NeedsBytes(bytes) if bytes > BLOB));
        for scope in [Scope::Spans(Spans::merge(vec![KeySpan::all()])), Scope::Key(KeySpan::one(b"k07"))] {
            let work = Work::CatchUp { scope, from: revision, to: revision, previous: true };
            let (done, _) = store.run(work, BLOB / 2, ROWS);
            assert!(matches!(done, Done::CaughtUp { large: true, .. }));
        }
    }
    assert_eq!(store.values_read(), before, "values of events that do not fit");
}

/// Measured without values, sent with them: the lengths agree.
#[test]
fn a_large_answer_is_as_long_as_it_was_measured() {
    let mut store = Store::new();
    let keys: Vec<(String, Option<usize>)> =
        (0..60).map(|n| (format!("k{n:02}"), Some([0, 5, 1_100, BLOB, 40_000][n % 5]))).collect();
    store.commit(&keys);
    store.commit(&keys[5..]);
    store.delete_all();
    let limits = Limits::new(ByteSize::mib(256), Profile::Store).unwrap();
    let budget = Budget::new(limits);
    let mut hub = Hub::new(Config::new(&limits, 1, 1, 2, 2 << 20), &budget, 4, 0);
    let stream = hub.open_stream(Duration::ZERO, Duration::from_secs(600)).unwrap();
    let all = CreateSpec {
        key: Bytes::from_static(&[0]),
        range_end: Bytes::from_static(&[0]),
        start_revision: 2,
        prev_kv: true,
        ..CreateSpec::default()
    };
    hub.create(stream, &all, 4, 0);
    let mut events = Vec::new();
    loop {
        while let Some(frame) = hub.next_frame(stream) {
            let mut bytes = BytesMut::from(&frame.bytes[..]);
            let mut more = frame.more;
            while more {
                match hub.next_piece(stream) {
                    Piece::Bytes { bytes: piece, more: rest, .. } => {
                        bytes.extend_from_slice(&piece);
                        more = rest;
                    }
                    Piece::Wait => {
                        let job = hub.next_job().expect("it waits for a read");
                        hub.done(job.id, store.run(job.work, job.bytes_max, 7).0);
                    }
                    Piece::Broken => panic!("the lengths do not agree"),
                }
            }
            assert_eq!(bytes.len(), frame.message_bytes as usize);
            events.extend(WatchResponse::decode(bytes.freeze()).unwrap().events);
        }
        let Some(job) = hub.next_job() else { break };
        assert!(hub.is_wanted(job.id));
        hub.done(job.id, store.run(job.work, job.bytes_max, 7).0);
    }
    let told: Vec<_> = events
        .iter()
        .map(|event| {
            let kv = event.kv.as_ref().unwrap();
            let before = event.prev_kv.as_ref();
            (kv.mod_revision, kv.key.clone(), kv.value.len(), before.map(|kv| (kv.mod_revision, kv.value.len())))
        })
        .collect();
    let mut expected = Vec::new();
    for (revision, changes) in [(2, &keys[..]), (3, &keys[5..]), (4, &keys[..])] {
        for (n, (key, len)) in changes.iter().enumerate() {
            let len = len.unwrap();
            let last = if revision == 4 && n >= 5 { 3 } else { 2 };
            let value = if revision == 4 { 0 } else { len };
            let before = (revision > 2).then_some((last, len));
            expected.push((revision, Bytes::copy_from_slice(key.as_bytes()), value, before));
        }
    }
    assert_eq!(told, expected);
}
