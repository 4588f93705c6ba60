//! Inputs from clients: streams, creates, cancels, requests for progress.

use std::time::Duration;

use tidegate_base::Holder;

use super::{
    config::{CreateSpec, DUPLICATE_ID, EMPTY_RANGE, NEGATIVE_START, STREAM_BYTES, TOO_MANY, WATCH_BYTES},
    hub::{Hub, StreamId, TooMany},
    slab::grow_by_eighths,
    span::KeySpan,
    stream::{Item, State, Stream, Watch},
};

impl Hub {
    /// Opens a stream. `progress_every` is the interval of progress notifications, jitter included.
    ///
    /// # Errors
    /// [`TooMany`] when the budget has no room: the call is answered `etcdserver: too many requests`.
    pub fn open_stream(&mut self, now: Duration, progress_every: Duration) -> Result<StreamId, TooMany> {
        if self.is_crowded() || !self.purse.take(STREAM_BYTES) {
            return Err(TooMany);
        }
        let (slot, generation) = self.streams.insert(Stream::new(now, progress_every));
        Ok(StreamId { slot, generation })
    }

    /// Whether the stream's next request may be read; if not, [`Hub::next_accepting`] names the stream once it may.
    /// Requests that are read all the same are answered; the bound on what waits in the stream is the driver's to keep.
    pub fn accepts(&mut self, id: StreamId) -> bool {
        let Some(stream) = self.stream_mut(id) else { return false };
        stream.held_off = !stream.has_room();
        !stream.held_off
    }

    /// The next stream that may read requests again.
    pub fn next_accepting(&mut self) -> Option<StreamId> {
        self.accepting.pop_front()
    }

    pub(super) fn let_in(&mut self, id: StreamId) {
        if let Some(stream) = self.stream_mut(id)
            && stream.held_off
            && stream.has_room()
        {
            stream.held_off = false;
            self.accepting.push_back(id);
        }
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
        if self.is_crowded() || !self.purse.take(watch_bytes(&span)) {
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
    /// thread was told `visible`, the store's revision now. A stream without watches gets none.
    pub fn progress_request(&mut self, stream: StreamId, visible: i64) {
        let last = self.last;
        let Some(open) = self.stream_mut(stream).filter(|open| !open.ids.is_empty()) else { return };
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
        self.let_in(id);
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
        self.accepting.retain(|accepting| *accepting != stream);
        self.starved.retain(|starved| *starved != stream);
        self.progress_waiting.retain(|waiting| *waiting != stream);
        self.wanted.retain(|wanted| wanted.stream() != Some(stream));
    }

    /// Whether what is left belongs to queues and frames.
    fn is_crowded(&self) -> bool {
        self.budget.room(Holder::Watches) + self.purse.slack() < self.config.keep_free
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
}

fn watch_bytes(span: &KeySpan) -> u64 {
    WATCH_BYTES + span.bytes_len() as u64
}
