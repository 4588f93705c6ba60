//! The hub: its state, and the requests of clients.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Weak},
    time::Duration,
};

use tidegate_base::{Budget, Holder, Lease};

use super::{
    catch_up::{Flight, Wanted},
    config::{
        ANSWERS_MAX, Config, CreateSpec, DUPLICATE_ID, EMPTY_RANGE, NEGATIVE_START, STREAM_BYTES, TOO_MANY, WATCH_BYTES,
    },
    index::Index,
    purse::Purse,
    ring::Ring,
    slab::{Slab, grow_by_eighths},
    span::KeySpan,
    stream::{Batch, Item, State, Stream, Watch, WatchRef},
    wire::Ids,
};

/// A client's stream of watches. Never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

/// The budget has no room for another stream or watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no memory for another watch stream")]
pub struct TooMany;

/// What a read brought and some stream may still hold: a place among the jobs is taken for as long.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) batch: Weak<Batch>,
    pub(super) streams: Vec<StreamId>,
    /// Tick at which it came.
    pub(super) tick: u64,
}

/// Numbers for scrape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HubStats {
    pub streams: usize,
    pub watches: usize,
    /// Watches that are behind the thread's last revision, or that compaction overtook.
    pub behind: usize,
    /// Bytes of recent revisions held.
    pub ring_bytes: u64,
    /// Bytes of watches and queues.
    pub queue_bytes: u64,
    /// Events handed to streams since the start.
    pub events: u64,
    /// Times that watches went back to their cursors since the start.
    pub fallbacks: u64,
    /// Reads asked for since the start.
    pub jobs: u64,
}

/// The watches of one I/O thread. See the module's head for the order of calls.
#[derive(Debug)]
pub struct Hub {
    pub(super) config: Config,
    pub(super) budget: Budget,
    pub(super) purse: Purse,
    /// Bytes of the results of reads.
    _jobs_lease: Lease,
    pub(super) ids: Ids,
    /// Last revision this thread was told.
    pub(super) last: i64,
    pub(super) compacted: i64,
    pub(super) streams: Slab<Stream>,
    pub(super) watches: Slab<Watch>,
    pub(super) index: Index,
    pub(super) ring: Ring,
    /// Streams with watches that are behind, first come, first served.
    pub(super) waiting: VecDeque<StreamId>,
    /// Reads that a frame waits for: they go before catch-up. At most one a stream, and one a revision in the ring.
    pub(super) wanted: VecDeque<Wanted>,
    pub(super) flights: BTreeMap<u64, Flight>,
    pub(super) held: Vec<Held>,
    pub(super) ready: VecDeque<StreamId>,
    /// Streams whose frame found no room in the budget, or whose read failed.
    pub(super) starved: Vec<StreamId>,
    pub(super) progress_waiting: Vec<StreamId>,
    pub(super) serial: u64,
    pub(super) tick: u64,
    pub(super) scratch: Vec<(u32, u32)>,
    pub(super) picks: Vec<u32>,
    pub(super) stats: HubStats,
}

impl Hub {
    /// A hub that was told everything up to `visible`. Connect its feed before reading that number.
    ///
    /// Leases what its reads need even above the limits: without it no watch could ever catch up.
    pub fn new(config: Config, budget: &Budget, visible: i64, compacted: i64) -> Self {
        let jobs_bytes = config.jobs_max as u64 * config.job_bytes as u64;
        Self {
            ids: Ids { cluster: config.cluster_id, member: config.member_id, term: 0 },
            config,
            budget: budget.clone(),
            purse: Purse::new(budget),
            _jobs_lease: budget.force_lease(Holder::Watches, jobs_bytes),
            last: visible,
            compacted,
            streams: Slab::default(),
            watches: Slab::default(),
            index: Index::default(),
            ring: Ring::new(visible),
            waiting: VecDeque::new(),
            wanted: VecDeque::new(),
            flights: BTreeMap::new(),
            held: Vec::new(),
            ready: VecDeque::new(),
            starved: Vec::new(),
            progress_waiting: Vec::new(),
            serial: 0,
            tick: 0,
            scratch: Vec::new(),
            picks: Vec::new(),
            stats: HubStats::default(),
        }
    }

    /// The raft term that response headers show from now on.
    pub fn set_term(&mut self, term: u64) {
        self.ids.term = term;
    }

    /// Costs the same however much there is.
    pub fn stats(&self) -> HubStats {
        HubStats {
            streams: self.streams.len(),
            watches: self.watches.len(),
            ring_bytes: self.ring.bytes(),
            queue_bytes: self.purse.used(),
            ..self.stats
        }
    }

    /// Opens a stream. `progress_every` is the interval of progress notifications, jitter included.
    ///
    /// # Errors
    /// [`TooMany`] when the budget has no room: the call is answered `etcdserver: too many requests`.
    pub fn open_stream(&mut self, now: Duration, progress_every: Duration) -> Result<StreamId, TooMany> {
        if self.budget.room(Holder::Watches) < self.config.keep_free || !self.purse.take(STREAM_BYTES) {
            return Err(TooMany);
        }
        let (slot, generation) = self.streams.insert(Stream::new(now, progress_every));
        Ok(StreamId { slot, generation })
    }

    /// Whether the stream's next request may be read. Requests that are read all the same are answered; the bound on
    /// what waits in the stream is the driver's to keep by this answer.
    pub fn accepts(&self, stream: StreamId) -> bool {
        self.stream(stream).is_some_and(|stream| stream.answers + stream.progress_asked < ANSWERS_MAX)
    }

    /// Makes a watch, or answers why not. `visible` and `compacted` are the store's now, read after the request came:
    /// the thread may not have been told yet.
    pub fn create(&mut self, stream: StreamId, spec: &CreateSpec, visible: i64, compacted: i64) {
        let visible = visible.max(self.last);
        self.compact(compacted);
        let Some(open) = self.stream(stream) else { return };
        if spec.start_revision < 0 {
            return self.refuse(stream, NEGATIVE_START, visible);
        }
        let Ok(span) = KeySpan::of_request(&spec.key, &spec.range_end) else {
            return self.refuse(stream, EMPTY_RANGE, visible);
        };
        let mut next_id = open.next_id;
        let id = if spec.watch_id == 0 {
            while open.slot_of(next_id).is_some() {
                next_id += 1;
            }
            next_id += 1;
            next_id - 1
        } else if open.slot_of(spec.watch_id).is_some() {
            return self.refuse(stream, DUPLICATE_ID, visible);
        } else {
            spec.watch_id
        };
        let full = self.budget.room(Holder::Watches) < self.config.keep_free;
        if full || !self.purse.take(watch_bytes(&span)) {
            return self.refuse(stream, TOO_MANY, visible);
        }
        let next = if spec.start_revision == 0 { visible + 1 } else { spec.start_revision };
        let watch = Watch {
            stream,
            id,
            span: span.clone(),
            next,
            epoch: self.next_serial(),
            state: State::Live,
            no_put: spec.no_put,
            no_delete: spec.no_delete,
            prev_kv: spec.prev_kv,
            notify: spec.progress_notify,
            fragment: spec.fragment,
            future: spec.start_revision.max(visible) > self.last,
            quiet_until: spec.start_revision.max(visible),
            active: false,
        };
        let (future, notify) = (watch.future, watch.notify);
        let (slot, _) = self.watches.insert(watch);
        self.index.insert(&span, slot);
        let open = self.stream_mut(stream).expect("it was found above");
        open.next_id = next_id;
        grow_by_eighths(&mut open.ids);
        let at = open.ids.partition_point(|entry| entry.0 < id);
        open.ids.insert(at, (id, slot));
        open.futures += u32::from(future);
        open.notify += u32::from(notify);
        self.enqueue(stream, Item::Created { id, revision: visible });
        if next <= self.last {
            self.set_state(slot, State::Reading);
            self.settle(slot);
        }
    }

    /// Answers a create request that is not allowed; `reason` is the text of `cancel_reason`.
    pub fn refuse(&mut self, stream: StreamId, reason: &str, visible: i64) {
        self.enqueue(stream, Item::Failed { reason: reason.into(), revision: visible.max(self.last) });
    }

    /// Ends a watch. What is queued for it is not sent, but a frame under way is finished. An unknown id has no answer.
    pub fn cancel(&mut self, stream: StreamId, watch_id: i64, visible: i64) {
        let Some(slot) = self.stream(stream).and_then(|stream| stream.slot_of(watch_id)) else { return };
        let open = self.stream_mut(stream).expect("it was found above");
        open.ids.retain(|entry| entry.1 != slot);
        open.behind.retain(|behind| *behind != slot);
        self.remove_watch(slot);
        self.enqueue(stream, Item::Canceled { id: watch_id, revision: visible.max(self.last) });
    }

    /// Asks for a progress answer of the whole stream. It comes only if every watch of the stream is in sync once this
    /// thread was told `visible`, the store's revision now.
    pub fn progress_request(&mut self, stream: StreamId, visible: i64) {
        let last = self.last;
        let Some(open) = self.stream_mut(stream) else { return };
        open.progress_asked += 1;
        open.progress_at = open.progress_at.max(visible);
        if open.progress_at <= last {
            self.answer_progress(stream);
        } else if open.progress_asked == 1 {
            self.progress_waiting.push(stream);
        }
    }

    pub(super) fn answer_progress(&mut self, id: StreamId) {
        let last = self.last;
        let Some(stream) = self.stream_mut(id) else { return };
        let asked = std::mem::take(&mut stream.progress_asked);
        let epoch = stream.epoch;
        let synced = !stream.ids.is_empty() && stream.unsynced == 0;
        let synced = synced && (stream.futures == 0 || !self.has_future(id));
        if synced {
            (0..asked).for_each(|_| self.enqueue(id, Item::ProgressAll { epoch, revision: last }));
        }
    }

    /// Whether a watch of the stream still waits for its first revision.
    fn has_future(&mut self, id: StreamId) -> bool {
        let last = self.last;
        let Some(stream) = self.stream(id) else { return false };
        let ids: Vec<u32> = stream.ids.iter().map(|entry| entry.1).collect();
        let mut waits = false;
        for slot in ids {
            waits |= self.is_future(slot, last);
        }
        waits
    }

    /// Whether the watch's start, or its creation, lies ahead; forgets that it did once it is reached.
    pub(super) fn is_future(&mut self, slot: u32, last: i64) -> bool {
        let Some(watch) = self.watches.get_mut(slot) else { return false };
        if watch.future && watch.quiet_until <= last {
            watch.future = false;
            let id = watch.stream;
            if let Some(stream) = self.stream_mut(id) {
                stream.futures -= 1;
            }
            return false;
        }
        watch.future
    }

    /// Ends a stream and all its watches; a frame under way is forgotten. Later calls with its id do nothing.
    pub fn close_stream(&mut self, stream: StreamId) {
        let Some(open) = self.stream_mut(stream) else { return };
        let queue = std::mem::take(&mut open.queue);
        let slots: Vec<u32> = open.ids.iter().map(|entry| entry.1).collect();
        for slot in slots {
            self.remove_watch(slot);
        }
        let charged: u64 = queue.iter().map(Item::charge).sum();
        self.purse.give(charged + STREAM_BYTES);
        self.streams.remove(stream.slot);
        self.waiting.retain(|waiting| *waiting != stream);
        self.starved.retain(|starved| *starved != stream);
        self.progress_waiting.retain(|waiting| *waiting != stream);
        self.wanted.retain(|wanted| wanted.stream() != Some(stream));
    }

    /// The next stream that has something to send, or may have. After it, take frames until there is none.
    pub fn next_ready(&mut self) -> Option<StreamId> {
        loop {
            let stream = self.ready.pop_front()?;
            if self.stream(stream).is_some() {
                return Some(stream);
            }
        }
    }

    fn remove_watch(&mut self, slot: u32) {
        let Some(watch) = self.watches.remove(slot) else { return };
        if watch.state != State::Dead {
            self.index.remove(&watch.span, slot);
        }
        self.purse.give(watch_bytes(&watch.span));
        self.stats.behind -= usize::from(watch.state != State::Live);
        if let Some(stream) = self.stream_mut(watch.stream) {
            stream.unsynced -= u32::from(watch.state != State::Live);
            stream.futures -= u32::from(watch.future);
            stream.notify -= u32::from(watch.notify);
        }
    }

    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(super) fn stream(&self, id: StreamId) -> Option<&Stream> {
        self.streams.get_of(id.slot, id.generation)
    }

    pub(super) fn stream_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.streams.get_of_mut(id.slot, id.generation)
    }

    pub(super) fn stream_ids(&self) -> Vec<StreamId> {
        self.streams.iter().map(|(slot, generation, _)| StreamId { slot, generation }).collect()
    }

    /// The watch, if it has not gone back to its cursor since.
    pub(super) fn watch(&self, watch: WatchRef) -> Option<&Watch> {
        self.watches.get(watch.slot).filter(|found| found.epoch == watch.epoch)
    }

    pub(super) fn set_state(&mut self, slot: u32, state: State) {
        let Some(watch) = self.watches.get_mut(slot) else { return };
        let before = std::mem::replace(&mut watch.state, state);
        let id = watch.stream;
        if let Some(stream) = self.stream_mut(id) {
            stream.unsynced += u32::from(state != State::Live);
            stream.unsynced -= u32::from(before != State::Live);
        }
        self.stats.behind += usize::from(state != State::Live);
        self.stats.behind -= usize::from(before != State::Live);
    }

    /// Puts an answer to a request into the queue; room for it is part of the stream.
    fn enqueue(&mut self, id: StreamId, item: Item) {
        debug_assert!(item.is_answer());
        if let Some(stream) = self.stream_mut(id) {
            stream.count_in(&item);
            stream.queue.push_back(item);
            self.wake(id);
        }
    }

    /// Puts anything else into the queue, or gives it back when the stream or the budget has no room.
    pub(super) fn try_enqueue(&mut self, id: StreamId, item: Item) -> Result<(), Item> {
        let limit = self.config.queue_bytes;
        let charge = item.charge();
        let Some(stream) = self.stream(id) else { return Err(item) };
        // What was read for the stream has a place even behind a full queue: one read at a time bounds it.
        if !item.is_caught_up() && stream.queue_bytes + charge > limit || !self.purse.take(charge) {
            return Err(item);
        }
        let stream = self.stream_mut(id).expect("it was found above");
        stream.count_in(&item);
        stream.queue.push_back(item);
        self.wake(id);
        Ok(())
    }

    /// Tells the driver to poll the stream, if it waits to be told.
    pub(super) fn wake(&mut self, id: StreamId) {
        if let Some(stream) = self.stream_mut(id)
            && std::mem::take(&mut stream.hungry)
        {
            self.ready.push_back(id);
        }
    }

    /// Puts a stream into the line for catch-up if it can take what is read for it: it sent all it had, or it is polled
    /// right now, and nothing of an earlier read is left.
    pub(super) fn line_up(&mut self, id: StreamId, polled: bool) {
        let Some(stream) = self.stream_mut(id) else { return };
        let idle = stream.jobs == 0 && stream.caught_up == 0 && !stream.waiting;
        if (polled || stream.hungry) && idle && !stream.behind.is_empty() {
            stream.waiting = true;
            self.waiting.push_back(id);
        }
    }

    /// Keeps track of what a read brought, for as long as streams hold it.
    pub(super) fn hold(&mut self, batch: &Arc<Batch>, streams: Vec<StreamId>) {
        self.held.retain(|held| held.batch.strong_count() > 0);
        self.held.push(Held { batch: Arc::downgrade(batch), streams, tick: self.tick });
    }
}

fn watch_bytes(span: &KeySpan) -> u64 {
    WATCH_BYTES + span.bytes_len() as u64
}
