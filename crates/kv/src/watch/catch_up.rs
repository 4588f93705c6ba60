//! Reads: which are asked for, for whom, and what becomes of their results.

use std::sync::Arc;

use tidegate_base::{Holder, Lease};

use super::{
    config::{NEAR_REVISIONS, REPLAY_REVISIONS, SHARED_MAX},
    event::RevisionEvents,
    hub::{Hub, StreamId},
    job::{Ask, Done, Job, JobId, Scope, Size, Work},
    ring::Previous,
    span::{KeySpan, Spans},
    stream::{Batch, Item, Memory, State, Watch, WatchRef},
};

/// A read that a frame waits for.
#[derive(Debug)]
pub(super) enum Wanted {
    /// The next events of the frame under way.
    Events(StreamId),
    /// The size of the item in front.
    Size(StreamId),
    /// The sizes of a revision too large to hold, for watches that met it in one shared read.
    Sizes { revision: i64, header: i64, watches: Vec<WatchRef> },
    /// Previous pairs of a revision in the ring.
    Previous(i64),
}

impl Wanted {
    pub(super) fn stream(&self) -> Option<StreamId> {
        match self {
            Wanted::Events(stream) | Wanted::Size(stream) => Some(*stream),
            Wanted::Sizes { .. } | Wanted::Previous(_) => None,
        }
    }
}

/// A job under way, and whom its result is for.
#[derive(Debug)]
pub(super) enum Flight {
    CatchUp { watches: Vec<WatchRef>, streams: Vec<StreamId>, to: i64 },
    Sizes { revision: i64, header: i64, watches: Vec<WatchRef>, streams: Vec<StreamId> },
    Size { stream: StreamId, watch: WatchRef, revision: i64, from_sub: u32 },
    /// `extra` are bytes beyond a place of a job.
    Events { stream: StreamId, serial: u64, extra: Option<Lease> },
    Previous { revision: i64 },
}

impl Hub {
    /// Whether one more job may begin. A place is taken until the last stream has let go of what was read.
    pub(super) fn has_place(&self) -> bool {
        let held = self.held.iter().filter(|held| held.batch.strong_count() > 0).count();
        self.flights.len() + held < self.config.jobs_max
    }

    /// The next read for the engine, if one is needed and has a place.
    pub fn next_job(&mut self) -> Option<Job> {
        while self.has_place() {
            let job = if let Some(wanted) = self.wanted.pop_front() {
                self.job_for_frame(wanted)
            } else {
                let stream = self.waiting.pop_front()?;
                self.job_for_catch_up(stream)
            };
            if let Some((work, bytes_max, flight)) = job {
                let id = self.next_serial();
                self.flights.insert(id, flight);
                self.stats.jobs += 1;
                return Some(Job { id: JobId(id), work, bytes_max });
            }
        }
        None
    }

    fn job_for_frame(&mut self, wanted: Wanted) -> Option<(Work, usize, Flight)> {
        let bytes_max = self.config.job_bytes;
        match wanted {
            Wanted::Events(stream) => {
                let sending = self.stream(stream)?.sending.as_ref()?;
                let (revision, from_sub) = (sending.revision, sending.sub);
                let (ask, serial, needs) = (sending.ask.clone(), sending.serial, sending.needs);
                let mut extra = None;
                if needs > bytes_max {
                    extra = self.budget.try_lease(Holder::Watches, (needs - bytes_max) as u64);
                    if extra.is_none() {
                        self.starve(stream);
                        let sending = self.stream_mut(stream)?.sending.as_mut()?;
                        sending.memory = Memory::None;
                        return None;
                    }
                }
                let flight = Flight::Events { stream, serial, extra };
                Some((Work::Events { revision, from_sub, ask }, bytes_max.max(needs), flight))
            }
            Wanted::Size(stream) => {
                let open = self.stream_mut(stream)?;
                open.measuring = false;
                let Some(Item::Large { watch, revision, from_sub, .. }) = open.queue.front() else { return None };
                let (watch, revision, from_sub) = (*watch, *revision, *from_sub);
                let Some(found) = self.watch(watch) else {
                    self.wake(stream);
                    return None;
                };
                let asks = vec![self.ask(found)];
                self.stream_mut(stream)?.measuring = true;
                Some((Work::Measure { revision, from_sub, asks }, bytes_max, Flight::Size { stream, watch, revision, from_sub }))
            }
            Wanted::Sizes { revision, header, watches } => {
                let alive: Vec<WatchRef> = watches.into_iter().filter(|watch| self.watch(*watch).is_some()).collect();
                let asks: Vec<Ask> =
                    alive.iter().filter_map(|watch| Some(self.ask(self.watch(*watch)?))).collect();
                let streams = self.streams_of(&alive);
                if asks.is_empty() {
                    return None;
                }
                self.begin(&streams);
                let flight = Flight::Sizes { revision, header, watches: alive, streams };
                Some((Work::Measure { revision, from_sub: 0, asks }, bytes_max, flight))
            }
            Wanted::Previous(revision) => {
                self.ring.get(revision)?;
                let ask = Ask {
                    span: KeySpan::all(),
                    no_put: false,
                    no_delete: false,
                    previous: true,
                    bytes_max: self.config.message_bytes,
                };
                Some((Work::Events { revision, from_sub: 0, ask }, bytes_max, Flight::Previous { revision }))
            }
        }
    }

    pub(super) fn ask(&self, watch: &Watch) -> Ask {
        Ask {
            span: watch.span.clone(),
            no_put: watch.no_put,
            no_delete: watch.no_delete,
            previous: watch.prev_kv,
            bytes_max: if watch.fragment { self.config.fragment_bytes } else { self.config.message_bytes },
        }
    }

    fn streams_of(&self, watches: &[WatchRef]) -> Vec<StreamId> {
        let mut streams: Vec<StreamId> =
            watches.iter().filter_map(|watch| Some(self.watch(*watch)?.stream)).collect();
        streams.sort_unstable();
        streams.dedup();
        streams
    }

    fn begin(&mut self, streams: &[StreamId]) {
        for id in streams {
            if let Some(stream) = self.stream_mut(*id) {
                stream.jobs += 1;
            }
        }
    }

    fn end(&mut self, streams: &[StreamId]) {
        for id in streams {
            if let Some(stream) = self.stream_mut(*id) {
                stream.jobs -= 1;
            }
        }
    }

    /// A read for the watch of `stream` that is furthest behind, shared with watches near it: of this stream, and of
    /// those that stand in line behind it.
    fn job_for_catch_up(&mut self, id: StreamId) -> Option<(Work, usize, Flight)> {
        let (last, compacted) = (self.last, self.compacted);
        let stream = self.stream_mut(id)?;
        stream.waiting = false;
        if stream.jobs > 0 || stream.caught_up > 0 {
            return None;
        }
        let appetite = stream.appetite;
        let behind = self.stream(id)?.behind.iter();
        let (_, slot) = behind.filter_map(|slot| Some((self.watches.get(*slot)?.next, *slot))).min()?;
        let leader = self.watches.get(slot)?;
        if leader.next < compacted {
            self.check_compacted(id);
            return None;
        }
        let (from, previous, span) = (leader.next, leader.prev_kv, leader.span.clone());
        let far = |next: i64| last - next > NEAR_REVISIONS;
        let by_key = span.is_one() && far(from);
        let shares = |watch: &Watch| {
            let near = watch.next >= from.max(compacted) && watch.next - from <= NEAR_REVISIONS;
            let same_way = if by_key { watch.span == span } else { !(watch.span.is_one() && far(watch.next)) };
            near && same_way && watch.prev_kv == previous
        };
        let mut watches = vec![leader.to_ref(slot)];
        let mut spans = vec![span.clone()];
        let mut looks = 4 * SHARED_MAX;
        'candidates: for candidate in std::iter::once(id).chain(self.waiting.iter().copied()) {
            let behind = self.stream(candidate).map_or(&[][..], |stream| &stream.behind);
            for other in behind.iter().filter(|other| **other != slot) {
                if looks == 0 || watches.len() == SHARED_MAX {
                    break 'candidates;
                }
                looks -= 1;
                if let Some(watch) = self.watches.get(*other).filter(|watch| shares(watch)) {
                    watches.push(watch.to_ref(*other));
                    spans.push(watch.span.clone());
                }
            }
        }
        for watch in &watches {
            self.set_state(watch.slot, State::Reading);
        }
        let streams = self.streams_of(&watches);
        self.begin(&streams);
        for taken in &streams {
            let mut behind = std::mem::take(&mut self.stream_mut(*taken)?.behind);
            behind.retain(|slot| self.watches.get(*slot).is_some_and(|watch| watch.state == State::Behind));
            let stream = self.stream_mut(*taken)?;
            (stream.behind, stream.waiting) = (behind, false);
        }
        self.waiting.retain(|waiting| streams.binary_search(waiting).is_err());
        let scope = if by_key { Scope::Key(span) } else { Scope::Spans(Spans::merge(spans)) };
        let bytes_max = if streams.len() > 1 { self.config.job_bytes } else { appetite.min(self.config.job_bytes) };
        let work = Work::CatchUp { scope, from, to: last, previous };
        Some((work, bytes_max, Flight::CatchUp { watches, streams, to: last }))
    }

    /// Takes the result of a job. One that does not fit the job counts as failed.
    pub fn done(&mut self, job: JobId, done: Done) {
        let Some(flight) = self.flights.remove(&job.0) else { return };
        if let Done::Compacted(revision) = done {
            self.compact(revision);
        }
        match (flight, done) {
            (Flight::CatchUp { watches, streams, to }, Done::CaughtUp { revisions, next, large }) => {
                self.end(&streams);
                self.caught_up(&watches, &streams, Batch { revisions, header: to, _extra: None }, next.min(to + 1), large);
                streams.iter().for_each(|stream| self.line_up(*stream, false));
            }
            (Flight::Sizes { revision, header, watches, streams }, Done::Measured(sizes)) => {
                self.end(&streams);
                for (watch, size) in watches.into_iter().zip(sizes) {
                    self.measured(watch, revision, header, size);
                }
                streams.iter().for_each(|stream| self.line_up(*stream, false));
            }
            (Flight::CatchUp { watches, streams, .. } | Flight::Sizes { watches, streams, .. }, done) => {
                self.end(&streams);
                for watch in watches {
                    if let Some(next) = self.watch(watch).map(|watch| watch.next) {
                        self.put_back(watch.slot, next);
                    }
                }
                if matches!(done, Done::Compacted(_)) {
                    streams.iter().for_each(|stream| self.line_up(*stream, false));
                }
            }
            (Flight::Size { stream, watch, revision, from_sub }, done) => {
                self.size_known(stream, (watch, revision, from_sub), done);
            }
            (Flight::Events { stream, serial, extra }, done) => self.events_read(stream, serial, extra, done),
            (Flight::Previous { revision }, done) => self.previous_known(revision, done),
        }
    }

    /// Puts a watch back into the list of those behind, without a place in the line.
    fn put_back(&mut self, slot: u32, next: i64) {
        self.set_state(slot, State::Behind);
        let Some(watch) = self.watches.get_mut(slot) else { return };
        watch.next = next;
        let id = watch.stream;
        if let Some(stream) = self.stream_mut(id) {
            stream.behind.push(slot);
            if next < self.compacted {
                self.check_compacted(id);
            }
        }
    }

    /// Hands what was read to the watches that want some of it, and moves their cursors.
    fn caught_up(&mut self, watches: &[WatchRef], streams: &[StreamId], batch: Batch, next: i64, large: bool) {
        let header = batch.header;
        let matched = self.matched(watches, &batch.revisions);
        let batch = Arc::new(batch);
        let mut meet_large = Vec::new();
        for reference in watches {
            let Some(watch) = self.watch(*reference) else { continue };
            let (id, from, slot) = (watch.stream, watch.next, reference.slot);
            if matched.binary_search(&slot).is_ok() {
                let item = Item::Batch { watch: *reference, batch: Arc::clone(&batch), at: 0, from };
                if self.try_enqueue(id, item).is_err() {
                    self.put_back(slot, from);
                    continue;
                }
                self.mark_active(slot);
            }
            let reached = from.max(next);
            if let Some(watch) = self.watches.get_mut(slot) {
                watch.next = reached;
            }
            if large && reached == next {
                meet_large.push(*reference);
            } else {
                self.settle(slot);
            }
        }
        if Arc::strong_count(&batch) > 1 {
            self.hold(&batch, streams.to_vec());
        }
        if !meet_large.is_empty() {
            self.wanted.push_back(Wanted::Sizes { revision: next, header, watches: meet_large });
        }
    }

    /// Which of `watches` want an event of `revisions`, by number and sorted.
    fn matched(&self, watches: &[WatchRef], revisions: &[RevisionEvents]) -> Vec<u32> {
        let mut asking: Vec<(u32, bool)> = watches.iter().map(|watch| (watch.slot, false)).collect();
        asking.sort_unstable();
        for events in revisions {
            for event in 0..events.len() {
                self.index.stab(events.key(event), |slot| {
                    if let Ok(at) = asking.binary_search_by_key(&slot, |asks| asks.0)
                        && let Some(watch) = self.watches.get(slot)
                        && watch.wants(events.kind(event))
                        && events.revision() >= watch.next
                    {
                        asking[at].1 = true;
                    }
                });
            }
        }
        asking.into_iter().filter(|asks| asks.1).map(|asks| asks.0).collect()
    }

    /// Lets a watch join the live feed when it has reached it, or comes close enough for the ring to fill the rest.
    pub(super) fn settle(&mut self, slot: u32) {
        let Some(watch) = self.watches.get(slot) else { return };
        let next = watch.next;
        if next > self.last {
            self.set_state(slot, State::Live);
        } else if next >= self.compacted && self.last - next < REPLAY_REVISIONS && self.ring.covers(next) {
            self.replay(slot);
        } else {
            self.put_back(slot, next);
        }
    }

    /// A watch knows what it gets of a revision too large to hold.
    fn measured(&mut self, reference: WatchRef, revision: i64, header: i64, size: Size) {
        let Some(watch) = self.watch(reference) else { return };
        let (id, slot) = (watch.stream, reference.slot);
        if size.events > 0 {
            let item = Item::Large { watch: reference, revision, from_sub: 0, size: Some(size), header };
            if self.try_enqueue(id, item).is_err() {
                return self.put_back(slot, revision);
            }
            self.mark_active(slot);
        }
        if let Some(watch) = self.watches.get_mut(slot) {
            watch.next = revision + 1;
        }
        self.settle(slot);
    }

    fn size_known(&mut self, id: StreamId, measured: (WatchRef, i64, u32), done: Done) {
        let Some(stream) = self.stream_mut(id) else { return };
        stream.measuring = false;
        if let Some(Item::Large { watch, revision, from_sub, size, .. }) = stream.queue.front_mut()
            && (*watch, *revision, *from_sub) == measured
        {
            match done {
                Done::Measured(sizes) => *size = sizes.first().copied(),
                // Compaction is told already: the item goes back to the cursor when it is looked at again.
                Done::Compacted(_) => {}
                _ => return self.starve(id),
            }
        }
        self.wake(id);
    }

    /// What is queued for a watch from `revision` on cannot be sent any more: it goes back to its cursor.
    pub(super) fn void(&mut self, reference: WatchRef, revision: i64) {
        let Some(state) = self.watch(reference).map(|watch| watch.state) else { return };
        let epoch = self.next_serial();
        if let Some(watch) = self.watches.get_mut(reference.slot) {
            watch.epoch = epoch;
            let id = watch.stream;
            if let Some(stream) = self.stream_mut(id) {
                stream.epoch += 1;
            }
        }
        // The end of a dead watch is queued behind.
        if state != State::Dead {
            self.fall_behind(reference.slot, revision);
        }
    }

    fn events_read(&mut self, id: StreamId, serial: u64, extra: Option<Lease>, done: Done) {
        let Some(sending) = self.stream_mut(id).and_then(|stream| stream.sending.as_mut()) else { return };
        if sending.serial != serial {
            return;
        }
        match done {
            Done::Events { events, next } => {
                let batch = Arc::new(Batch { revisions: vec![events], header: 0, _extra: extra });
                sending.memory = Memory::Batch { batch: Arc::clone(&batch), at: 0, next };
                self.hold(&batch, vec![id]);
            }
            Done::NeedsBytes(bytes) if bytes > sending.needs => {
                sending.needs = bytes;
                sending.memory = Memory::Wanted;
                return self.wanted.push_back(Wanted::Events(id));
            }
            _ => sending.memory = Memory::Failed,
        }
        self.wake(id);
    }

    fn previous_known(&mut self, revision: i64, done: Done) {
        let Some(entry) = self.ring.get_mut(revision) else { return };
        let waiters = match std::mem::replace(&mut entry.previous, Previous::TooLarge) {
            Previous::Asked(waiters) => waiters,
            other => {
                entry.previous = other;
                return;
            }
        };
        let plain = Arc::clone(&entry.events);
        let known = match done {
            Done::Events { events, next: None } if events.len() == plain.len() => Some(Arc::new(events)),
            _ => None,
        };
        if let Some(events) = known
            && self.purse.take(events.bytes() as u64)
        {
            self.ring.set_previous(revision, events);
            self.shrink_ring(self.config.ring_bytes);
        }
        waiters.into_iter().for_each(|stream| self.wake(stream));
    }
}
