//! The hub: its state, and what all its inputs share.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Weak},
};

use tidegate_base::{Budget, Holder, Lease};

use super::{
    catch_up::{Flight, Wanted},
    config::Config,
    index::Index,
    purse::Purse,
    ring::Ring,
    slab::Slab,
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
    /// Streams that may read requests again.
    pub(super) accepting: VecDeque<StreamId>,
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
            accepting: VecDeque::new(),
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

    /// The next stream that has something to send, or may have. After it, take frames until there is none.
    pub fn next_ready(&mut self) -> Option<StreamId> {
        loop {
            let stream = self.ready.pop_front()?;
            if self.stream(stream).is_some() {
                return Some(stream);
            }
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
    pub(super) fn enqueue(&mut self, id: StreamId, item: Item) {
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
