//! Random histories, watches, speeds, gaps and compactions: each watch gets exactly what a filter of the committed
//! sequence gives, in order, once, in whole revisions, and progress never overtakes it.
//!
//! `TIDEGATE_SEEDS=FROM..TO` or `=N` chooses the seeds; a failure names its own.

use std::ops::Range;

use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::*;

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("TIDEGATE_SEEDS") else { return 0..150 };
    let number = |text: &str| text.parse().expect("TIDEGATE_SEEDS is N or FROM..TO");
    match text.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => 0..number(&text),
    }
}

/// What a client knows of one watch.
#[derive(Debug)]
struct Seen {
    spec: CreateSpec,
    span: KeySpan,
    /// First revision that is due.
    start: i64,
    /// It began in sync.
    fresh: bool,
    created: bool,
    ended: bool,
    cancel_sent: bool,
    /// Every revision up to here was received, as far as events show.
    reached: i64,
    /// Events of `reached` received so far, when fragments split it.
    open: Option<usize>,
    /// A progress answer: nothing up to here may come later.
    bookmark: i64,
}

#[derive(Debug)]
struct Client {
    id: StreamId,
    seen: BTreeMap<i64, Seen>,
    /// Create requests without answer yet, in order.
    asked: Vec<CreateSpec>,
    /// Chance in 100 to read when it could.
    speed: u32,
    /// A frame under way.
    partial: Option<(u32, BytesMut)>,
    /// Polled again only when told.
    idle: bool,
    /// Kept as a send buffer keeps them.
    leases: Vec<tidegate_base::Lease>,
}

/// What is on its way to the thread.
#[derive(Debug)]
enum Notice {
    Events(Arc<RevisionEvents>),
    Skip(i64),
    Compact(i64),
}

struct Model {
    rng: SmallRng,
    world: World,
    clients: Vec<Client>,
    notices: std::collections::VecDeque<Notice>,
    jobs: Vec<Job>,
    /// Of every revision at least the keys are told, so that only a watch that looks at one of them goes to its cursor.
    keys_told: bool,
    /// Watches that began in sync and were passed by compaction without an end.
    spared: u64,
    /// Prints every answer.
    trace: bool,
    received: u64,
    /// Creates refused for want of memory.
    refused: u64,
}

const KEYS: [&[u8]; 9] = [b"a", b"a\0", b"a\xff", b"b", b"ba", b"bb", b"c", b"\0", b"\xff\xff"];

impl Model {
    fn new(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let config = Config {
            queue_bytes: [80, 300, 5000][rng.random_range(0..3)],
            ring_bytes: [500, 5_000, 200_000][rng.random_range(0..3)],
            jobs_max: rng.random_range(1..4),
            job_bytes: [33 << 10, 60 << 10, 200 << 10][rng.random_range(0..3)],
            fragment_bytes: 40 << 10,
            message_bytes: if rng.random_bool(0.2) { 70 << 10 } else { small_config().message_bytes },
            ..small_config()
        };
        let mut limits = Limits::new(ByteSize::mib(256), Profile::Store).unwrap();
        let tight = rng.random_bool(0.3);
        let config = if tight {
            // So little that leases are refused all the time, and yet the largest frame can be read.
            let jobs_bytes = (config.jobs_max * config.job_bytes) as u64;
            limits.floors[Holder::Watches.index()] = jobs_bytes + 500_000;
            limits.pool = 0;
            Config { keep_free: 400_000, ..config }
        } else {
            config
        };
        let mut world = World::with(config, Budget::new(limits));
        world.live_bytes_max = [2_000, 50_000, LIVE_BYTES_MAX][rng.random_range(0..3)];
        if rng.random_bool(0.1) {
            // A past so long that exact keys are read through their versions.
            for n in 0..1_500u32 {
                let key = KEYS[rng.random_range(0..KEYS.len())];
                world.store.commit(&[(key, rng.random_bool(0.8).then(|| n.to_be_bytes().to_vec()))]);
            }
            world.hub.skip_to(world.store.visible());
        }
        let trace = std::env::var("TIDEGATE_TRACE").is_ok();
        let keys_told = !tight && rng.random_bool(0.5);
        Self {
            rng,
            world,
            clients: Vec::new(),
            notices: Default::default(),
            jobs: Vec::new(),
            keys_told,
            spared: 0,
            trace,
            received: 0,
            refused: 0,
        }
    }

    fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..30 => self.commit(),
            30..45 => self.deliver(),
            45..52 => self.create(),
            52..55 => self.cancel(),
            55..57 => self.progress(),
            57..60 if self.clients.len() < 6 => self.open(),
            60 => self.close(),
            61..63 => self.compact(),
            63..67 => self.world.tick(Duration::from_millis(3_100)),
            67..78 => self.start_job(),
            78..85 => self.end_job(),
            _ => self.read_some(),
        }
        self.hear();
    }

    fn commit(&mut self) {
        let many = if self.rng.random_bool(0.05) { 9 } else { 2 };
        let mut ops = Vec::new();
        for _ in 0..self.rng.random_range(1..=many) {
            let key = KEYS[self.rng.random_range(0..KEYS.len())];
            let length = match self.rng.random_range(0..60) {
                0 => 20_000,
                1 => 45_000,
                2 if many == 9 => 210_000,
                n => n,
            };
            ops.push((key, self.rng.random_bool(0.75).then(|| vec![b'v'; length])));
        }
        let before = self.world.store.visible();
        let revision = self.world.store.commit(&ops);
        if revision == before {
            return;
        }
        let notice = match self.rng.random_range(0..20) {
            0 if !self.keys_told => Notice::Skip(revision),
            1 if !self.keys_told => Notice::Events(Arc::new(RevisionEvents::unknown(revision))),
            _ => Notice::Events(self.world.store.events(revision, self.world.live_bytes_max, &self.world.budget)),
        };
        self.notices.push_back(notice);
        if self.notices.len() > 6 && self.keys_told {
            self.deliver();
        } else if self.notices.len() > 6 {
            // The queue is full: what is in it is forgotten, and the revision told.
            self.notices.retain(|notice| matches!(notice, Notice::Compact(_)));
            self.notices.push_back(Notice::Skip(revision));
        }
    }

    fn deliver(&mut self) {
        for _ in 0..self.rng.random_range(1..4) {
            match self.notices.pop_front() {
                Some(Notice::Events(events)) => self.world.hub.publish(&events),
                Some(Notice::Skip(revision)) => self.world.hub.skip_to(revision),
                Some(Notice::Compact(revision)) => self.world.hub.compact(revision),
                None => {}
            }
        }
    }

    fn open(&mut self) {
        let every = Duration::from_secs(self.rng.random_range(1..20));
        let Ok(id) = self.world.hub.open_stream(self.world.now, every) else { return };
        let speed = [3, 30, 100][self.rng.random_range(0..3)];
        let client = Client {
            id,
            seen: BTreeMap::new(),
            asked: Vec::new(),
            speed,
            partial: None,
            idle: true,
            leases: Vec::new(),
        };
        self.clients.push(client);
    }

    fn close(&mut self) {
        if !self.clients.is_empty() {
            let at = self.rng.random_range(0..self.clients.len());
            let client = self.clients.remove(at);
            self.world.hub.close_stream(client.id);
        }
    }

    fn client(&mut self) -> Option<usize> {
        let count = self.clients.len();
        (count > 0).then(|| self.rng.random_range(0..count))
    }

    fn create(&mut self) {
        let Some(at) = self.client() else { return };
        if !self.world.hub.accepts(self.clients[at].id) {
            return;
        }
        let rng = &mut self.rng;
        let key = KEYS[rng.random_range(0..KEYS.len())];
        let end: &[u8] = match rng.random_range(0..4) {
            0 => b"\0",
            1 => KEYS[rng.random_range(0..KEYS.len())],
            _ => b"",
        };
        let visible = self.world.store.visible();
        let start_revision = match rng.random_range(0..5) {
            0 => visible + rng.random_range(1..4),
            1 | 2 => rng.random_range(1..=visible),
            _ => 0,
        };
        let (no_put, no_delete) = (rng.random_bool(0.15), rng.random_bool(0.15));
        let spec = CreateSpec {
            key: Bytes::from_static(key),
            range_end: Bytes::copy_from_slice(end),
            start_revision,
            no_put,
            no_delete,
            prev_kv: rng.random_bool(0.3),
            progress_notify: rng.random_bool(0.5),
            fragment: rng.random_bool(0.4),
            watch_id: if rng.random_bool(0.1) { rng.random_range(1..9) } else { 0 },
        };
        let client = &mut self.clients[at];
        client.asked.push(spec.clone());
        let id = client.id;
        self.world.create(id, &spec);
    }

    fn cancel(&mut self) {
        let Some(at) = self.client() else { return };
        let visible = self.world.store.visible();
        let client = &mut self.clients[at];
        if !self.world.hub.accepts(client.id) {
            return;
        }
        let count = client.seen.len();
        if count > 0 {
            let (id, seen) = client.seen.iter_mut().nth(self.rng.random_range(0..count)).unwrap();
            // A second cancel could hit another watch that has the id by now.
            if std::mem::replace(&mut seen.cancel_sent, true) {
                return;
            }
            self.world.hub.cancel(client.id, *id, visible);
        }
    }

    fn progress(&mut self) {
        let Some(at) = self.client() else { return };
        let id = self.clients[at].id;
        if self.world.hub.accepts(id) {
            self.world.hub.progress_request(id, self.world.store.visible());
        }
    }

    fn compact(&mut self) {
        let (from, to) = (self.world.store.compacted + 1, self.world.store.visible());
        // Mostly far behind, or few watches would ever catch up.
        let close = if self.keys_told { 0.4 } else { 0.1 };
        let to = if self.rng.random_bool(close) { to } else { to - 30 };
        if from < to {
            let revision = self.rng.random_range(from..=to);
            self.world.store.compacted = revision;
            self.notices.push_back(Notice::Compact(revision));
        }
    }

    fn start_job(&mut self) {
        if let Some(job) = self.world.hub.next_job() {
            self.jobs.push(job);
        }
    }

    fn end_job(&mut self) {
        if !self.jobs.is_empty() {
            let job = self.jobs.swap_remove(self.rng.random_range(0..self.jobs.len()));
            let slice = self.rng.random_range(0..60);
            let fails = self.rng.random_bool(0.03) || !self.world.hub.is_wanted(job.id);
            let done = if fails { Done::Failed } else { self.world.store.run(&job, slice) };
            self.world.hub.done(job.id, done);
        }
    }

    fn hear(&mut self) {
        while let Some(ready) = self.world.hub.next_ready() {
            if let Some(client) = self.clients.iter_mut().find(|client| client.id == ready) {
                client.idle = false;
            }
        }
        while let Some(accepting) = self.world.hub.next_accepting() {
            assert!(self.world.hub.accepts(accepting), "a stream that may read requests is named");
        }
    }

    fn read_some(&mut self) {
        let Some(at) = self.client() else { return };
        if self.rng.random_range(0..100) < self.clients[at].speed {
            let id = self.clients[at].id;
            for _ in 0..self.rng.random_range(1..5) {
                // A frame that broke ends the stream.
                if self.clients.get(at).is_some_and(|client| client.id == id) {
                    self.read(at);
                }
            }
        }
    }

    /// One frame or piece.
    fn read(&mut self, at: usize) {
        let client = &mut self.clients[at];
        client.leases.truncate(1);
        if client.idle {
            return;
        }
        if let Some((length, bytes)) = &mut client.partial {
            match self.world.hub.next_piece(client.id) {
                Piece::Bytes { bytes: piece, lease, more } => {
                    bytes.extend_from_slice(&piece);
                    client.leases.insert(0, lease);
                    if !more {
                        assert_eq!(bytes.len(), *length as usize, "the length that was promised");
                        let bytes = std::mem::take(bytes).freeze();
                        client.partial = None;
                        self.take(at, bytes);
                    }
                }
                Piece::Wait => client.idle = true,
                // The rest was compacted away, or a read failed: the client loses its stream.
                Piece::Broken => {
                    let client = self.clients.remove(at);
                    self.world.hub.close_stream(client.id);
                }
            }
        } else if let Some(frame) = self.world.hub.next_frame(client.id) {
            client.leases.insert(0, frame.lease);
            if frame.more {
                client.partial = Some((frame.message_bytes, BytesMut::from(&frame.bytes[..])));
            } else {
                assert_eq!(frame.bytes.len(), frame.message_bytes as usize);
                self.take(at, frame.bytes);
            }
        } else {
            client.idle = true;
        }
    }

    fn take(&mut self, at: usize, bytes: Bytes) {
        let answer = WatchResponse::decode(bytes).unwrap();
        let client = &mut self.clients[at];
        let text = short(&answer);
        if self.trace {
            println!("{:?} {text}", client.id);
        }
        let store = &self.world.store;
        self.received += answer.events.len() as u64;
        let header = answer.header.as_ref().unwrap().revision;
        if answer.created {
            let spec = client.asked.remove(0);
            if answer.canceled {
                assert_eq!(answer.watch_id, -1);
                self.refused += u64::from(answer.cancel_reason.contains("too many requests"));
                return;
            }
            let span = KeySpan::of_request(&spec.key, &spec.range_end).unwrap();
            let start = if spec.start_revision == 0 { header + 1 } else { spec.start_revision };
            let (created, ended, cancel_sent) = (true, false, false);
            let (reached, open, bookmark) = (start - 1, None, 0);
            let fresh = start > header;
            let seen = Seen { spec, span, start, fresh, created, ended, cancel_sent, reached, open, bookmark };
            let before = client.seen.insert(answer.watch_id, seen);
            assert!(before.is_none_or(|before| before.ended && before.cancel_sent), "an id that is in use: {text}");
            return;
        }
        if answer.watch_id == -1 {
            assert!(answer.events.is_empty() && !answer.canceled);
            assert!(client.seen.values().any(|seen| !seen.ended));
            for seen in client.seen.values_mut().filter(|seen| !seen.cancel_sent) {
                assert!(!seen.ended, "progress of a stream with a watch that compaction ended");
                seen.progress(header, store);
            }
            return;
        }
        let seen = client.seen.get_mut(&answer.watch_id).expect("created comes first");
        assert!(seen.created && !seen.ended || seen.cancel_sent && answer.canceled, "after its end: {text}");
        if answer.canceled {
            if answer.compact_revision != 0 {
                assert_eq!((header, &*answer.cancel_reason), (0, ""));
                assert!(answer.compact_revision <= store.compacted && seen.reached < answer.compact_revision);
                // In sync until something happens to its keys, whatever happens to others.
                let fell = seen.next_due(seen.start, store).is_some_and(|due| due < answer.compact_revision);
                assert!(fell || !seen.fresh || !self.keys_told, "ended for the keys of others: {text}, {seen:?}");
            } else {
                assert!(seen.cancel_sent);
            }
            seen.ended = true;
        } else if answer.events.is_empty() {
            assert!(seen.spec.progress_notify, "an empty answer: {text}");
            seen.progress(header, store);
        } else {
            assert!(header >= answer.events.last().unwrap().kv.as_ref().unwrap().mod_revision);
            seen.events(&answer, store);
        }
    }

    /// Faults end, and everybody reads: then everything is there.
    fn heal(&mut self) {
        let mut quiet = 0;
        for round in 0..50_000 {
            self.deliver();
            self.start_job();
            self.end_job();
            if round % 16 == 0 {
                self.world.tick(Duration::from_millis(1));
            }
            self.hear();
            for at in (0..self.clients.len()).rev() {
                self.clients[at].leases.clear();
                self.read(at);
            }
            let idle = self.clients.iter().all(|client| client.idle && client.partial.is_none());
            let at_rest = idle && self.notices.is_empty() && self.jobs.is_empty();
            quiet = if at_rest && self.world.hub.stats().behind == self.dead() { quiet + 1 } else { 0 };
            // A read may be wanted that no place or tick has come for.
            if quiet == 100 {
                break;
            }
        }
        let visible = self.world.store.visible();
        for client in &self.clients {
            assert!(client.asked.is_empty(), "an answer to a create request is missing");
            for (id, seen) in client.seen.iter().filter(|(_, seen)| !seen.ended) {
                assert!(!seen.cancel_sent, "an answer to a cancel is missing");
                let untouched = seen.next_due(seen.start, &self.world.store).is_none();
                self.spared += u64::from(seen.fresh && untouched && seen.start < self.world.store.compacted);
                let due = seen.next_due(seen.reached + 1, &self.world.store);
                assert_eq!(due, None, "watch {id} {:?} of {:?} misses revisions up to {visible}", seen, client.id);
            }
        }
    }

    /// Watches that compaction ended and the client did not cancel.
    fn dead(&self) -> usize {
        let all = self.clients.iter().flat_map(|client| client.seen.values());
        all.filter(|seen| seen.ended && !seen.cancel_sent).count()
    }
}

impl Seen {
    fn due<'a>(&self, revision: i64, store: &'a Store) -> Vec<&'a Change> {
        let wants = |change: &&Change| {
            let filtered = match change.kind {
                EventKind::Put => self.spec.no_put,
                EventKind::Delete => self.spec.no_delete,
            };
            !filtered && self.span.contains(&change.now.key)
        };
        store.changes(revision).iter().filter(wants).collect()
    }

    fn next_due(&self, from: i64, store: &Store) -> Option<i64> {
        (from.max(self.start)..=store.visible()).find(|revision| !self.due(*revision, store).is_empty())
    }

    fn progress(&mut self, revision: i64, store: &Store) {
        let due = self.next_due(self.reached + 1, store);
        assert!(due.is_none_or(|due| due > revision), "progress {revision} overtook {due:?}: {self:?}");
        assert!(self.open.is_none(), "progress inside a revision");
        assert!(self.spec.start_revision <= revision, "progress before the start");
        self.bookmark = self.bookmark.max(revision);
    }

    fn events(&mut self, answer: &WatchResponse, store: &Store) {
        let mut events = &answer.events[..];
        while let Some(first) = events.first() {
            let revision = first.kv.as_ref().unwrap().mod_revision;
            let skip = match self.open {
                Some(skip) => {
                    assert_eq!(revision, self.reached, "another revision between the fragments of one");
                    skip
                }
                None => {
                    let due = self.next_due(self.reached + 1, store);
                    assert_eq!(due, Some(revision), "out of order, repeated or missing: {self:?}");
                    0
                }
            };
            assert!(revision > self.bookmark);
            let due = self.due(revision, store);
            let here = events.iter().take_while(|event| event.kv.as_ref().unwrap().mod_revision == revision).count();
            for (event, change) in events[..here].iter().zip(&due[skip..]) {
                assert_eq!(event.kv.as_ref(), Some(&change.now));
                assert_eq!(event.r#type, i32::from(change.kind == EventKind::Delete));
                match &event.prev_kv {
                    Some(before) => assert!(self.spec.prev_kv && change.before.as_ref() == Some(before)),
                    None if self.spec.prev_kv => assert!(change.before.is_none() || revision <= store.compacted),
                    None => {}
                }
            }
            let sent = skip + here;
            events = &events[here..];
            self.reached = revision;
            let goes_on = events.is_empty() && answer.fragment;
            assert!(if goes_on { sent < due.len() } else { sent == due.len() }, "a revision was split: {self:?}");
            self.open = goes_on.then_some(sent);
        }
    }
}

#[test]
fn each_watch_gets_the_filter_of_the_committed_sequence() {
    let (mut received, mut jobs, mut fallbacks, mut refused, mut spared) = (0, 0, 0, 0, 0);
    for seed in seeds() {
        let run = std::panic::catch_unwind(|| {
            let mut model = Model::new(seed);
            model.open();
            for _ in 0..1_500 {
                model.step();
            }
            model.heal();
            let stats = model.world.hub.stats();
            for client in std::mem::take(&mut model.clients) {
                model.world.hub.close_stream(client.id);
            }
            let left = model.world.hub.stats();
            assert_eq!((left.streams, left.watches, left.behind), (0, 0, 0));
            let Model { world, notices, jobs, received, refused, spared, .. } = model;
            let World { hub, budget, .. } = world;
            drop((hub, notices, jobs));
            assert!(budget.usage().iter().all(|usage| usage.used == 0), "bytes are missing: {budget:?}");
            (received, stats.jobs, stats.fallbacks, refused, spared)
        });
        let Ok(run) = run else { panic!("replay: TIDEGATE_TRACE=1 TIDEGATE_SEEDS={seed}..{}", seed + 1) };
        received += run.0;
        jobs += run.1;
        fallbacks += run.2;
        refused += run.3;
        spared += run.4;
    }
    println!("{received} events, {jobs} reads, {fallbacks} fallbacks, {refused} refused, {spared} spared");
    let seeds = u64::try_from(seeds().count()).unwrap();
    assert!(seeds < 10 || received > 100 * seeds && jobs > 20 * seeds, "the model exercises too little");
    assert!(seeds < 100 || spared > 0, "no watch in sync was passed by compaction");
}
