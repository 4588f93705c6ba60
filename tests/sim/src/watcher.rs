//! Watchers: each must get exactly the changes of its range, in order, revisions whole.

use prost::Message;
use rand::{Rng, rngs::SmallRng};
use tidegate_api::{
    KeyRange,
    pb::{Event, etcdserverpb::WatchResponse, event::EventType},
};
use tidegate_engine::MapEngine;
use tidegate_kv::{
    Version,
    watch::{CreateSpec, StreamId},
};
use tidegate_member::{Received, Receiving, Stepped};

use crate::oracle::{Change, Oracle};

const WATCH_ID: i64 = 7;

/// A client's watch, and the stream it has for it now.
pub(crate) struct Watcher {
    pub(crate) range: KeyRange,
    wants_previous: bool,
    pub(crate) fragment: bool,
    /// The next change must be at or behind this.
    pub(crate) next: Version,
    /// Before the first answer of a watch from now on nobody knows where it begins.
    begun: bool,
    pub(crate) stream: Option<Open>,
    /// Milliseconds between two looks.
    pub(crate) pace: u64,
    pub(crate) events: u64,
}

pub(crate) struct Open {
    pub(crate) member: usize,
    pub(crate) life: u32,
    id: StreamId,
    receiving: Receiving,
}

impl Watcher {
    pub(crate) fn new(range: KeyRange, rng: &mut SmallRng) -> Self {
        Self {
            range,
            wants_previous: rng.random(),
            fragment: rng.random_ratio(1, 4),
            next: Version::new(1, 0),
            begun: rng.random(),
            stream: None,
            pace: [2, 20, 200, 3000][rng.random_range(0..4)],
            events: 0,
        }
    }

    /// Opens a stream and asks for what comes next.
    pub(crate) fn open(&mut self, member: usize, life: u32, process: &mut Stepped<MapEngine>, now: u64) {
        // What a broken stream had of a revision comes again.
        self.next = Version::new(self.next.main, 0);
        let Ok(id) = process.open_stream(now, 3000) else { return };
        let (key, range_end) = match &self.range {
            KeyRange::One(key) => (key.clone(), bytes::Bytes::new()),
            KeyRange::From(key) => (key.clone(), bytes::Bytes::from_static(b"\0")),
            KeyRange::Span(key, end) => (key.clone(), end.clone()),
        };
        let start_revision = if self.begun { self.next.main } else { 0 };
        let spec = CreateSpec {
            key,
            range_end,
            start_revision,
            prev_kv: self.wants_previous,
            progress_notify: true,
            fragment: self.fragment,
            watch_id: WATCH_ID,
            no_put: false,
            no_delete: false,
        };
        process.create_watch(id, &spec, true);
        self.stream = Some(Open { member, life, id, receiving: Receiving::default() });
    }

    /// Takes at most `most` messages; whether the stream has ended.
    pub(crate) fn take(&mut self, process: &mut Stepped<MapEngine>, oracle: &Oracle, most: usize) -> bool {
        for _ in 0..most {
            let Some(open) = &mut self.stream else { return true };
            match process.receive_frame(open.id, &mut open.receiving) {
                Received::Nothing => return false,
                Received::Broken => return true,
                Received::Message(bytes) => {
                    let response = WatchResponse::decode(&bytes[..]).expect("what the hub encoded");
                    if self.check(&response, oracle) {
                        return true;
                    }
                }
            }
        }
        false
    }

    pub(crate) fn close(&mut self, process: &mut Stepped<MapEngine>) {
        if let Some(open) = self.stream.take() {
            process.close_stream(open.id, true);
        }
    }

    /// Whether the watch is at its end.
    fn check(&mut self, response: &WatchResponse, oracle: &Oracle) -> bool {
        let revision = response.header.as_ref().expect("a header").revision;
        assert!(revision <= oracle.revision(), "a header from the future");
        if response.created {
            assert!(!response.canceled, "the watch is refused: {}", response.cancel_reason);
            if !self.begun {
                // From now on: what is behind the revision that the answer names.
                (self.next, self.begun) = (Version::new(revision + 1, 0), true);
            }
            return false;
        }
        if response.canceled {
            let compacted = response.compact_revision;
            assert!(compacted > 0 && compacted <= oracle.compacted, "canceled: {response:?}");
            assert!(self.next.main < compacted, "compaction to {compacted} ended a watch that needs {:?}", self.next);
            self.next = Version::new(compacted, 0);
            return true;
        }
        let mut expected = oracle.changes_behind(self.next, &self.range);
        let mut last = None;
        for event in &response.events {
            let change = expected.next();
            let change = change.unwrap_or_else(|| panic!("an event that nobody committed: {event:?}"));
            same(event, change, self.wants_previous, oracle);
            last = Some(change.at);
        }
        let rest = expected.next();
        if let Some(last) = last {
            self.events += response.events.len() as u64;
            let split = rest.is_some_and(|rest| rest.at.main == last.main);
            assert!(!split || response.fragment, "revision {} is split", last.main);
            self.next = if split { Version::new(last.main, last.sub + 1) } else { Version::new(last.main + 1, 0) };
        } else {
            let overtaken = rest.is_some_and(|rest| rest.at.main <= revision);
            assert!(!overtaken, "progress to {revision} overtakes {:?}", rest.map(|rest| rest.at));
        }
        false
    }

    /// Whether everything there is was delivered.
    pub(crate) fn is_done(&self, oracle: &Oracle) -> bool {
        self.begun && oracle.changes_behind(self.next, &self.range).next().is_none()
    }
}

fn same(event: &Event, change: &Change, wants_previous: bool, oracle: &Oracle) {
    assert_eq!(event.r#type(), change.kind, "expected {change:?}, came {event:?}");
    let pair = event.kv.as_ref().expect("an event has a pair");
    assert_eq!(*pair, change.pair, "at {:?}", change.at);
    if !wants_previous {
        assert_eq!(event.prev_kv, None);
        return;
    }
    // What compaction took away is left out; of what is compacted any part may be gone.
    let gone = change.at.main - 1 < oracle.compacted && event.prev_kv.is_none();
    assert!(event.prev_kv == change.previous || gone, "previous pair of {change:?} came as {:?}", event.prev_kv);
    assert!(change.kind == EventType::Put || change.kind == EventType::Delete);
}
