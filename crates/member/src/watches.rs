//! The watches of one I/O thread: joins the hub to streams, work threads and time.

mod read;

use std::{
    cell::{RefCell, RefMut},
    collections::HashMap,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tidegate_api::Error;
use tidegate_base::clock;
use tidegate_engine::Engine;
use tidegate_kv::watch::{Config, CreateSpec, Done, Frame, Hub, Job, Piece, RevisionEvents, StreamId};
use tokio::sync::Notify;

pub(crate) use self::read::{Slice, Walk};
use crate::{shared::Shared, threads::Lane};

/// How often the hub hears of time: the grain of progress notifications.
const TICK: Duration = Duration::from_millis(100);

pub(crate) struct Watches {
    hub: Rc<RefCell<Hub>>,
    bells: RefCell<HashMap<StreamId, Rc<Bells>>>,
    epoch: Instant,
}

/// What the tasks of a stream wait for.
#[derive(Default)]
struct Bells {
    /// There may be something to send.
    ready: Notify,
    /// The next request may be read.
    accepting: Notify,
}

impl Watches {
    pub(crate) fn new<E: Engine>(shared: &Shared<E>) -> Self {
        let member = &shared.config;
        let threads = shared.mailboxes.len();
        let config =
            Config::new(&member.limits, threads, member.cluster_id, member.member_id, member.request_bytes_max);
        let hub = Hub::new(config, &shared.budget, shared.reader.visible(), shared.reader.compacted());
        Self { hub: Rc::new(RefCell::new(hub)), bells: RefCell::default(), epoch: clock::now() }
    }

    pub(crate) fn publish(&self, events: &Arc<RevisionEvents>) {
        self.hub.borrow_mut().publish(events);
    }

    pub(crate) fn compacted(&self, revision: i64) {
        self.hub.borrow_mut().compact(revision);
    }

    pub(crate) fn set_term(&self, term: u64) {
        self.hub.borrow_mut().set_term(term);
    }

    pub(crate) fn room(&self) {
        self.hub.borrow_mut().room();
    }

    /// Counted before the revision is read: apply stores it before it looks at the count, so one of the two sees the other, and
    /// no revision is missed between them. The first watch of a stream counts the stream.
    pub(crate) fn create<E: Engine>(&self, shared: &Shared<E>, stream: StreamId, spec: &CreateSpec, first: bool) {
        if first {
            shared.watches.fetch_add(1, Ordering::SeqCst);
        }
        std::sync::atomic::fence(Ordering::SeqCst);
        let (visible, compacted) = (shared.reader.visible(), shared.reader.compacted());
        let mut hub = self.hub.borrow_mut();
        if hub.stats().watches == 0 {
            // Nobody was told of what happened while nobody watched here.
            hub.skip_to(visible);
        }
        hub.create(stream, spec, visible, compacted);
    }

    pub(crate) fn hub(&self) -> RefMut<'_, Hub> {
        self.hub.borrow_mut()
    }

    fn now(&self) -> Duration {
        clock::now().saturating_duration_since(self.epoch)
    }
}

impl<E: Engine> crate::local::Local<E> {
    /// Tells the hub of time, for as long as the thread lives.
    pub(crate) async fn tick(self: Rc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let now = self.watches.now();
            self.watches.hub.borrow_mut().tick(now);
            self.pump();
        }
    }

    /// Starts the reads that the hub wants, and wakes the streams that have something to send or may read requests again.
    /// After every input.
    pub(crate) fn pump(self: &Rc<Self>) {
        loop {
            let Some(job) = self.watches.hub.borrow_mut().next_job() else { break };
            tokio::task::spawn_local(crate::local::guarded(Rc::clone(self).read(job)));
        }
        loop {
            let Some(stream) = self.watches.hub.borrow_mut().next_ready() else { break };
            if let Some(bells) = self.watches.bells.borrow().get(&stream) {
                bells.ready.notify_one();
            }
        }
        loop {
            let Some(stream) = self.watches.hub.borrow_mut().next_accepting() else { break };
            if let Some(bells) = self.watches.bells.borrow().get(&stream) {
                bells.accepting.notify_one();
            }
        }
    }

    async fn read(self: Rc<Self>, job: Job) {
        let id = job.id;
        let mut walk = Walk::new(job.work, job.bytes_max);
        let done = loop {
            let reader = self.shared.reader.clone();
            let slice = move || walk.step(&reader, &mut Slice::begin());
            match self.shared.work.run(Lane::Read, slice).await {
                // Behind the reads that came meanwhile.
                Ok(Ok(rest)) if self.watches.hub.borrow().is_wanted(id) => walk = rest,
                Ok(Ok(_)) | Err(_) => break Done::Failed,
                Ok(Err(done)) => break done,
            }
        };
        self.watches.hub.borrow_mut().done(id, done);
        self.pump();
    }

    /// A stream of watches, until the handle is dropped.
    pub(crate) fn open_watch_stream(self: &Rc<Self>) -> Result<WatchStream<E>, Error> {
        let every = self.shared.config.progress_every;
        // Up to a tenth more, so that the notifications of many streams do not come at once.
        let jitter = every.mul_f64(f64::from(self.shared.jitter()) / f64::from(u32::MAX) / 10.0);
        let now = self.watches.now();
        let stream =
            self.watches.hub.borrow_mut().open_stream(now, every + jitter).map_err(|_| Error::TooManyRequests)?;
        let bells = Rc::<Bells>::default();
        self.watches.bells.borrow_mut().insert(stream, Rc::clone(&bells));
        Ok(WatchStream { local: Rc::clone(self), stream, bells, counted: std::cell::Cell::new(false) })
    }
}

/// One gRPC stream of watches.
pub(crate) struct WatchStream<E: Engine> {
    local: Rc<crate::local::Local<E>>,
    stream: StreamId,
    bells: Rc<Bells>,
    /// It counts among those for whom apply encodes events.
    counted: std::cell::Cell<bool>,
}

impl<E: Engine> WatchStream<E> {
    fn with<T>(&self, input: impl FnOnce(&mut Hub) -> T) -> T {
        let result = input(&mut self.local.watches.hub.borrow_mut());
        self.local.pump();
        result
    }

    /// Waits until the next request may be read: answers to the last ones are not too many.
    pub(crate) async fn accepting(&self) {
        while !self.local.watches.hub.borrow_mut().accepts(self.stream) {
            self.bells.accepting.notified().await;
        }
    }

    pub(crate) fn create(&self, spec: &CreateSpec) {
        self.local.watches.create(&self.local.shared, self.stream, spec, !self.counted.replace(true));
        self.local.pump();
    }

    pub(crate) fn cancel(&self, watch_id: i64) {
        let visible = self.local.shared.reader.visible();
        self.with(|hub| hub.cancel(self.stream, watch_id, visible));
    }

    pub(crate) fn progress(&self) {
        let visible = self.local.shared.reader.visible();
        self.with(|hub| hub.progress_request(self.stream, visible));
    }

    /// Waits until the stream may have something to send.
    pub(crate) async fn ready(&self) {
        self.bells.ready.notified().await;
    }

    pub(crate) fn next_frame(&self) -> Option<Frame> {
        self.with(|hub| hub.next_frame(self.stream))
    }

    pub(crate) fn next_piece(&self) -> Piece {
        self.with(|hub| hub.next_piece(self.stream))
    }
}

impl<E: Engine> Drop for WatchStream<E> {
    fn drop(&mut self) {
        self.local.watches.bells.borrow_mut().remove(&self.stream);
        if self.counted.get() {
            self.local.shared.watches.fetch_sub(1, Ordering::SeqCst);
        }
        self.with(|hub| hub.close_stream(self.stream));
    }
}
