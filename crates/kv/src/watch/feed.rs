//! Inputs from apply: committed revisions, gaps, compaction.

use std::sync::Arc;

use super::{
    event::{EventKind, RevisionEvents},
    hub::{Hub, StreamId},
    ring::ENTRY_BYTES,
    stream::{Item, Picks, State, Watch, WatchRef},
};
use tidegate_base::Holder;

/// Most matches of one revision of several events that are queued one by one: beyond it the watches share reads instead.
/// 4 MiB for a moment; a single event has at most one a watch.
const MATCHES_MAX: usize = 1 << 19;

impl Watch {
    pub(super) fn wants(&self, kind: EventKind) -> bool {
        match kind {
            EventKind::Put => !self.no_put,
            EventKind::Delete => !self.no_delete,
        }
    }

    pub(super) fn to_ref(&self, slot: u32) -> WatchRef {
        WatchRef { slot, epoch: self.epoch }
    }
}

impl Hub {
    /// Takes the events of the next revision. One that was seen already is ignored. Of one whose keys alone are told, or
    /// whose events have no room here, the watches that want some of it go to their cursors, and the others go on. One
    /// that is told by its number, or that does not follow the last, is as [`Hub::skip_to`].
    pub fn publish(&mut self, events: &Arc<RevisionEvents>) {
        let revision = events.revision();
        if revision <= self.last {
            return;
        }
        if revision != self.last + 1 || !events.tells_keys() {
            return self.skip_to(revision);
        }
        if !events.is_known() || !self.remember(events) {
            return self.pass_by(events);
        }
        let mut found = std::mem::take(&mut self.scratch);
        for event in 0..events.len() {
            let number = u32::try_from(event).expect("1 MiB has fewer than 2^32 events");
            self.index.stab(events.key(event), |slot| found.push((slot, number)));
            if found.len() > MATCHES_MAX && events.len() > 1 {
                return self.pass_by(events);
            }
        }
        if events.len() > 1 {
            found.sort_unstable();
        }
        self.last = revision;
        for matches in found.chunk_by(|a, b| a.0 == b.0) {
            self.offer(matches[0].0, events, matches);
        }
        found.clear();
        found.shrink_to(1 << 14);
        self.scratch = found;
        self.settle_progress();
    }

    /// Sends the live watches that want some of the next revision to their cursors: it is read for them.
    fn pass_by(&mut self, events: &RevisionEvents) {
        let (before, revision) = (self.last, events.revision());
        self.last = revision;
        self.ring.gap(revision);
        let live = self.watches.len() - self.stats.behind;
        let (mut found, mut visits) = (Vec::new(), 0);
        let Self { index, watches, .. } = self;
        for (kind, key) in events.keys() {
            if found.len() == live || visits > MATCHES_MAX {
                break;
            }
            index.stab(key, |slot| {
                visits += 1;
                if let Some(watch) = watches.get_mut(slot)
                    && watch.state == State::Live
                    && watch.next <= revision
                    && watch.wants(kind)
                {
                    // Behind the revision until it falls back to it, so that it is found once.
                    watch.next = revision + 1;
                    found.push(slot);
                }
            });
        }
        for slot in found {
            self.fall_behind(slot, revision);
        }
        if visits > MATCHES_MAX {
            // Who looks at which of so many keys costs more than reading for all of them.
            self.last = before;
            return self.skip_to(revision);
        }
        self.settle_progress();
    }

    /// Keeps a revision for streams that are served later; `false` when there is no room even without the older ones.
    fn remember(&mut self, events: &Arc<RevisionEvents>) -> bool {
        if self.watches.len() == 0 {
            self.shrink_ring(0);
            self.ring.gap(events.revision());
            return true;
        }
        let tight = self.budget.room(Holder::Watches) < self.config.keep_free / 2;
        let bytes_max = if tight { self.config.ring_bytes / 4 } else { self.config.ring_bytes };
        let room = bytes_max.saturating_sub(events.bytes() as u64 + ENTRY_BYTES);
        self.shrink_ring(room);
        if !self.purse.take(ENTRY_BYTES) {
            self.shrink_ring(0);
            if !self.purse.take(ENTRY_BYTES) {
                return false;
            }
        }
        self.ring.push(Arc::clone(events));
        true
    }

    pub(super) fn shrink_ring(&mut self, bytes_max: u64) {
        let evicted = self.ring.shrink_to(bytes_max);
        self.purse.give(evicted.bytes);
        evicted.waiters.into_iter().for_each(|stream| self.wake(stream));
    }

    /// Queues the events of a revision in the ring that a live watch wants.
    fn offer(&mut self, slot: u32, events: &RevisionEvents, matches: &[(u32, u32)]) {
        let Some(watch) = self.watches.get(slot) else { return };
        let revision = events.revision();
        if watch.state != State::Live || revision < watch.next {
            return;
        }
        let mut wanted = std::mem::take(&mut self.picks);
        wanted.extend(matches.iter().map(|found| found.1).filter(|event| watch.wants(events.kind(*event as usize))));
        if let Some(picks) = Picks::new(&wanted) {
            let (stream, reference) = (watch.stream, watch.to_ref(slot));
            if self.try_enqueue(stream, Item::Live { watch: reference, revision, picks }).is_ok() {
                self.mark_active(slot);
            } else {
                // What is queued stays; the rest is read later.
                self.fall_behind(slot, revision);
            }
        }
        wanted.clear();
        wanted.shrink_to(1 << 14);
        self.picks = wanted;
    }

    pub(super) fn mark_active(&mut self, slot: u32) {
        if let Some(watch) = self.watches.get_mut(slot) {
            watch.active = true;
        }
    }

    /// Sends a watch to its cursor, which is `next` from now on.
    pub(super) fn fall_behind(&mut self, slot: u32, next: i64) {
        let Some(watch) = self.watches.get_mut(slot) else { return };
        watch.next = next;
        let (id, state) = (watch.stream, watch.state);
        let below = next < self.compacted;
        self.stats.fallbacks += 1;
        if state != State::Behind {
            self.set_state(slot, State::Behind);
            if let Some(stream) = self.stream_mut(id) {
                stream.behind.push(slot);
            }
        }
        if below {
            self.check_compacted(id);
        }
        self.line_up(id, false);
    }

    /// Queues the revisions in the ring that the watch has not seen; `false` when the queue is full.
    pub(super) fn replay(&mut self, slot: u32) {
        let Some(watch) = self.watches.get(slot) else { return };
        let span = watch.span.clone();
        let missed: Vec<_> = self.ring.since(watch.next).map(Arc::clone).collect();
        self.set_state(slot, State::Live);
        for events in missed {
            let matches: Vec<(u32, u32)> = (0..)
                .zip(0..events.len())
                .filter(|(_, event)| span.contains(events.key(*event)))
                .map(|(number, _)| (slot, number))
                .collect();
            self.offer(slot, &events, &matches);
        }
    }

    /// The store went on to `visible`, and what changed is not told: the thread's queue was full, not even the keys of a
    /// revision could be handed round, or a snapshot was installed. Every watch that was in sync goes to its cursor.
    pub fn skip_to(&mut self, visible: i64) {
        if visible <= self.last {
            return;
        }
        let first = self.last + 1;
        self.last = visible;
        self.ring.gap(visible);
        let live: Vec<(u32, i64)> = self
            .watches
            .iter()
            .filter(|(_, _, watch)| watch.state == State::Live && watch.next <= visible)
            .map(|(slot, _, watch)| (slot, watch.next.max(first)))
            .collect();
        for (slot, next) in live {
            self.fall_behind(slot, next);
        }
        self.settle_progress();
    }

    /// History below `revision` is gone for readers. Watches that still need it are told so.
    pub fn compact(&mut self, revision: i64) {
        if revision <= self.compacted {
            return;
        }
        self.compacted = revision;
        for id in self.stream_ids() {
            if self.stream(id).is_some_and(|stream| !stream.behind.is_empty()) {
                self.check_compacted(id);
            }
        }
    }

    pub(super) fn check_compacted(&mut self, id: StreamId) {
        if let Some(stream) = self.stream_mut(id) {
            stream.check_compacted = true;
            self.wake(id);
        }
    }

    fn settle_progress(&mut self) {
        if self.progress_waiting.is_empty() {
            return;
        }
        let last = self.last;
        let waiting = std::mem::take(&mut self.progress_waiting);
        for id in waiting {
            match self.stream(id) {
                Some(stream) if stream.progress_at > last => self.progress_waiting.push(id),
                Some(_) => self.answer_progress(id),
                None => {}
            }
        }
    }
}
