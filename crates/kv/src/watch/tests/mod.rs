//! A store, its reads, and clients that check every answer, all in memory and without time.

mod budget;
mod model;
mod rules;
mod sizes;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use prost::Message;
use tidegate_api::pb::{self, WatchResponse};
use tidegate_base::{Budget, ByteSize, Holder, Limits, Profile};

use super::*;

/// A change as the store keeps it, with the pair before it.
#[derive(Debug, Clone, PartialEq)]
struct Change {
    kind: EventKind,
    now: pb::KeyValue,
    before: Option<pb::KeyValue>,
}

fn pair(pair: &pb::KeyValue) -> PairRef<'_> {
    PairRef {
        key: &pair.key,
        value: &pair.value,
        create: pair.create_revision,
        modified: pair.mod_revision,
        version: pair.version,
        lease: pair.lease,
    }
}

/// History from revision 2 on; revision 1 is the empty store.
#[derive(Debug, Default)]
struct Store {
    history: Vec<Vec<Change>>,
    pairs: BTreeMap<Bytes, pb::KeyValue>,
    compacted: i64,
}

impl Store {
    fn visible(&self) -> i64 {
        self.history.len() as i64 + 1
    }

    fn changes(&self, revision: i64) -> &[Change] {
        usize::try_from(revision - 2).ok().and_then(|at| self.history.get(at)).map_or(&[], Vec::as_slice)
    }

    /// One revision: `None` deletes. What changes nothing is left out.
    fn commit(&mut self, ops: &[(&[u8], Option<Vec<u8>>)]) -> i64 {
        let main = self.visible() + 1;
        let mut changes: Vec<Change> = Vec::new();
        for (key, value) in ops {
            let key = Bytes::copy_from_slice(key);
            let before = self.pairs.get(&key).cloned();
            if before.as_ref().is_some_and(|before| before.mod_revision == main) {
                continue;
            }
            match value {
                Some(value) => {
                    let now = pb::KeyValue {
                        key: key.clone(),
                        create_revision: before.as_ref().map_or(main, |before| before.create_revision),
                        mod_revision: main,
                        version: before.as_ref().map_or(1, |before| before.version + 1),
                        value: value.clone().into(),
                        lease: main % 3 - 1,
                    };
                    self.pairs.insert(key, now.clone());
                    changes.push(Change { kind: EventKind::Put, now, before });
                }
                None if before.is_some() => {
                    self.pairs.remove(&key);
                    let now = pb::KeyValue { key, mod_revision: main, ..pb::KeyValue::default() };
                    changes.push(Change { kind: EventKind::Delete, now, before });
                }
                None => {}
            }
        }
        if !changes.is_empty() {
            self.history.push(changes);
        }
        self.visible()
    }

    fn event<'a>(&self, sub: usize, change: &'a Change, previous: bool) -> EventRef<'a> {
        let readable = previous && change.now.mod_revision > self.compacted;
        let before = change.before.as_ref().filter(|_| readable);
        EventRef {
            kind: change.kind,
            sub: u32::try_from(sub).unwrap(),
            pair: pair(&change.now),
            previous: before.map(pair),
        }
    }

    /// What apply publishes of a revision.
    fn events(&self, revision: i64, bytes_max: usize, budget: &Budget) -> Arc<RevisionEvents> {
        let mut builder = RevisionBuilder::new(revision, bytes_max);
        for (sub, change) in self.changes(revision).iter().enumerate() {
            builder.record(&self.event(sub, change, false));
        }
        builder.publish(budget)
    }

    /// Reads as the engine would, by the contract of [`Done`]. `slice` ends a walk early.
    fn run(&self, job: &Job, slice: i64) -> Done {
        match &job.work {
            Work::CatchUp { scope, from, to, previous } => {
                self.catch_up(scope, *from, *to, *previous, job.bytes_max, slice)
            }
            Work::Measure { revision, .. } | Work::Events { revision, .. } if *revision < self.compacted => {
                Done::Compacted(self.compacted)
            }
            Work::Measure { revision, from_sub, asks } => {
                let mut measurer = Measurer::new(asks.clone());
                for (sub, change) in self.changes(*revision).iter().enumerate().skip(*from_sub as usize) {
                    let event = self.event(sub, change, measurer.needs_previous());
                    let previous = event.previous.map(|pair| pair.shape());
                    measurer.event(event.kind, event.sub, event.pair.key, &event.pair.shape(), previous.as_ref());
                    if measurer.is_full() {
                        break;
                    }
                }
                Done::Measured(measurer.finish())
            }
            Work::Events { revision, from_sub, ask } => {
                let mut builder = RevisionBuilder::new(*revision, job.bytes_max);
                for (sub, change) in self.changes(*revision).iter().enumerate().skip(*from_sub as usize) {
                    let event = self.event(sub, change, ask.previous);
                    if !ask.wants(event.kind, event.pair.key) {
                        continue;
                    }
                    if let Err(full) = builder.push(&event) {
                        if builder.is_empty() {
                            return Done::NeedsBytes(full.bytes);
                        }
                        return Done::Events { events: builder.finish(), next: Some(event.sub) };
                    }
                }
                Done::Events { events: builder.finish(), next: None }
            }
        }
    }

    fn catch_up(&self, scope: &Scope, from: i64, to: i64, previous: bool, bytes_max: usize, slice: i64) -> Done {
        if from < self.compacted {
            return Done::Compacted(self.compacted);
        }
        let holds = |key: &[u8]| match scope {
            Scope::Key(span) => span.contains(key),
            Scope::Spans(spans) => spans.contains(key),
        };
        let (mut revisions, mut left) = (Vec::new(), bytes_max);
        for revision in from..=to.min(from + slice) {
            let mut builder = RevisionBuilder::new(revision, left);
            for (sub, change) in self.changes(revision).iter().enumerate() {
                if holds(&change.now.key) && builder.push(&self.event(sub, change, previous)).is_err() {
                    let large = revisions.is_empty();
                    return Done::CaughtUp { revisions, next: revision, large };
                }
            }
            if !builder.is_empty() {
                left -= builder.bytes();
                revisions.push(builder.finish());
            }
        }
        Done::CaughtUp { revisions, next: to.min(from + slice) + 1, large: false }
    }
}

fn small_config() -> Config {
    let limits = Limits::new(ByteSize::mib(256), Profile::Store).unwrap();
    Config { cluster_id: 7, member_id: 8, ..Config::new(&limits, 2, 0, 0, 1 << 20) }
}

fn budget() -> Budget {
    Budget::new(Limits::new(ByteSize::mib(256), Profile::Store).unwrap())
}

/// A hub with its store, whose reads run when asked for.
struct World {
    store: Store,
    budget: Budget,
    hub: Hub,
    live_bytes_max: usize,
    now: Duration,
}

impl World {
    fn new(config: Config) -> Self {
        Self::with(config, budget())
    }

    fn with(config: Config, budget: Budget) -> Self {
        let mut hub = Hub::new(config, &budget, 1, 0);
        hub.set_term(9);
        let now = Duration::ZERO;
        Self { store: Store::default(), hub, budget, live_bytes_max: LIVE_BYTES_MAX, now }
    }

    fn open(&mut self) -> StreamId {
        self.hub.open_stream(self.now, Duration::from_secs(10)).unwrap()
    }

    fn put(&mut self, key: &str, value: &str) -> i64 {
        self.commit(&[(key.as_bytes(), Some(value.as_bytes().to_vec()))])
    }

    fn delete(&mut self, key: &str) -> i64 {
        self.commit(&[(key.as_bytes(), None)])
    }

    /// Commits and publishes.
    fn commit(&mut self, ops: &[(&[u8], Option<Vec<u8>>)]) -> i64 {
        let revision = self.store.commit(ops);
        self.publish(revision);
        revision
    }

    fn publish(&mut self, revision: i64) {
        let events = self.store.events(revision, self.live_bytes_max, &self.budget);
        self.hub.publish(&events);
    }

    fn compact(&mut self, revision: i64) {
        self.store.compacted = revision;
        self.hub.compact(revision);
    }

    fn create(&mut self, stream: StreamId, spec: &CreateSpec) {
        self.hub.create(stream, spec, self.store.visible(), self.store.compacted);
    }

    fn tick(&mut self, passed: Duration) {
        self.now += passed;
        self.hub.tick(self.now);
    }

    /// Runs reads until none is asked for.
    fn run_jobs(&mut self) {
        while let Some(job) = self.hub.next_job() {
            let done = self.store.run(&job, i64::MAX / 2);
            self.hub.done(job.id, done);
        }
    }

    /// One whole answer, reads included; `None` when there is nothing to send.
    fn next(&mut self, stream: StreamId) -> Option<WatchResponse> {
        for _ in 0..10_000 {
            if let Some(frame) = self.hub.next_frame(stream) {
                return Some(self.finish(stream, &frame));
            }
            let job = self.hub.next_job()?;
            let done = self.store.run(&job, i64::MAX / 2);
            self.hub.done(job.id, done);
        }
        panic!("the hub asks for reads without end");
    }

    fn finish(&mut self, stream: StreamId, frame: &Frame) -> WatchResponse {
        let mut bytes = BytesMut::from(&frame.bytes[..]);
        let mut more = frame.more;
        while more {
            match self.hub.next_piece(stream) {
                Piece::Bytes { bytes: piece, lease, more: goes_on } => {
                    assert!(piece.len() <= 32 << 10 && lease.bytes() >= piece.len() as u64);
                    bytes.extend_from_slice(&piece);
                    more = goes_on;
                }
                Piece::Wait => self.run_jobs(),
                Piece::Broken => panic!("a frame broke"),
            }
        }
        assert_eq!(bytes.len(), frame.message_bytes as usize, "the length that was promised");
        WatchResponse::decode(bytes.freeze()).unwrap()
    }

    fn all(&mut self, stream: StreamId) -> Vec<WatchResponse> {
        let mut answers = Vec::new();
        while let Some(answer) = self.next(stream) {
            answers.push(answer);
        }
        answers
    }
}

fn watch(key: &str, end: &str) -> CreateSpec {
    CreateSpec {
        key: Bytes::copy_from_slice(key.as_bytes()),
        range_end: Bytes::copy_from_slice(end.as_bytes()),
        ..CreateSpec::default()
    }
}

/// An answer in short: what a test compares.
fn short(answer: &WatchResponse) -> String {
    let header = answer.header.as_ref().unwrap();
    assert_eq!((header.cluster_id, header.member_id, header.raft_term), (7, 8, 9));
    let mut text = format!("@{} #{}", header.revision, answer.watch_id);
    let mut add = |on: bool, what: &str| {
        if on {
            text.push(' ');
            text.push_str(what);
        }
    };
    add(answer.created, "created");
    add(answer.canceled, "canceled");
    add(answer.compact_revision != 0, &format!("compacted={}", answer.compact_revision));
    add(!answer.cancel_reason.is_empty(), &answer.cancel_reason);
    add(answer.fragment, "fragment");
    for event in &answer.events {
        let kv = event.kv.as_ref().unwrap();
        let sign = if event.r#type == 1 { '-' } else { '+' };
        let mut what = format!("{sign}{}:{}", kv.key.escape_ascii(), kv.mod_revision);
        if let Some(before) = &event.prev_kv {
            what.push_str(&format!("<{}", before.mod_revision));
        }
        add(true, &what);
    }
    text
}
