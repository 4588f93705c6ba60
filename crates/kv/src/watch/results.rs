//! Results of reads: to whom they go, and how a watch joins the live feed.

use std::sync::Arc;

use tidegate_base::Lease;

use super::{
    catch_up::{Flight, Wanted},
    config::REPLAY_REVISIONS,
    event::RevisionEvents,
    hub::{Hub, StreamId},
    index::Index,
    job::{Done, JobId, Size},
    ring::Previous,
    stream::{Batch, Item, Memory, State, Watch, WatchRef},
};

impl Hub {
    fn end(&mut self, streams: &[StreamId]) {
        for id in streams {
            if let Some(stream) = self.stream_mut(*id) {
                stream.jobs -= 1;
            }
        }
    }

    /// Whether anybody still waits for what the job reads. One that is not needed any more may be given up as failed.
    pub fn is_wanted(&self, job: JobId) -> bool {
        self.flights.get(&job.0).is_some_and(|flight| match flight {
            Flight::CatchUp { watches, .. } | Flight::Sizes { watches, .. } => {
                watches.iter().any(|watch| self.watch(*watch).is_some())
            }
            Flight::Size { stream, watch, .. } => self.stream(*stream).is_some() && self.watch(*watch).is_some(),
            Flight::Events { stream, serial, .. } => {
                let sending = self.stream(*stream).and_then(|stream| stream.sending.as_ref());
                sending.is_some_and(|sending| sending.serial == *serial)
            }
            Flight::Previous { revision } => self.ring.get(*revision).is_some(),
        })
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
                self.caught_up(
                    &watches,
                    &streams,
                    Batch { revisions, header: to, _extra: None },
                    next.min(to + 1),
                    large,
                );
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
                let alive: Vec<(u32, i64)> =
                    watches.iter().filter_map(|watch| Some((watch.slot, self.watch(*watch)?.next))).collect();
                let given_up = alive.is_empty();
                for (slot, next) in alive {
                    self.put_back(slot, next);
                }
                if given_up || matches!(done, Done::Compacted(_)) {
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

    /// Which of `watches` want an event of `revisions`, by number and sorted. A watch is not looked at again once it is
    /// known to, so it costs O(log watches) an event, however many watches want all of them.
    fn matched(&self, watches: &[WatchRef], revisions: &[RevisionEvents]) -> Vec<u32> {
        let asking: Vec<(u32, &Watch)> =
            watches.iter().filter_map(|watch| Some((watch.slot, self.watch(*watch)?))).collect();
        let mut index = Index::default();
        for (number, (_, watch)) in (0..).zip(&asking) {
            index.insert(&watch.span, number);
        }
        let (mut matched, mut found) = (Vec::new(), Vec::new());
        for events in revisions {
            for event in 0..events.len() {
                if matched.len() == asking.len() {
                    break;
                }
                index.stab(events.key(event), |number| {
                    let watch = asking[number as usize].1;
                    if watch.wants(events.kind(event)) && events.revision() >= watch.next {
                        found.push(number);
                    }
                });
                for number in found.drain(..) {
                    let (slot, watch) = asking[number as usize];
                    index.remove(&watch.span, number);
                    matched.push(slot);
                }
            }
        }
        matched.sort_unstable();
        matched
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
        let given_up = self.watch(measured.0).is_none();
        let Some(stream) = self.stream_mut(id) else { return };
        stream.measuring = false;
        if let Some(Item::Large { watch, revision, from_sub, size, .. }) = stream.queue.front_mut()
            && (*watch, *revision, *from_sub) == measured
        {
            match done {
                Done::Measured(sizes) => *size = sizes.first().copied(),
                // Compaction is told already: the item goes back to the cursor when it is looked at again.
                Done::Compacted(_) => {}
                // It will be skipped.
                _ if given_up => {}
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
