//! Output: what a stream sends next, in frames and pieces of at most 32 KiB.
//!
//! ```text
//!   queue ─► next_frame ─┬─► whole: head and events in one buffer
//!                        └─► head, then next_piece … until the length that was promised is reached
//! ```
//! Frames are copied out of what is shared, at most 32 KiB at a time: a client that stops reading holds its own bytes,
//! counted for it, and never a revision that others wait to see go.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_base::{Holder, Lease};

use super::{
    catch_up::Wanted,
    config::CHUNK_BYTES,
    hub::{Hub, StreamId},
    pieces::wanted,
    ring::Previous,
    stream::{Item, Memory, Picks, State, WatchRef},
    wire::{self, Head},
};

/// Begin of an encoded `WatchResponse`.
#[derive(Debug)]
pub struct Frame {
    /// Length of the whole message.
    pub message_bytes: u32,
    /// Its first bytes; all of them unless `more`.
    pub bytes: Bytes,
    pub lease: Lease,
    /// The rest comes from [`Hub::next_piece`], before any other frame of the stream.
    pub more: bool,
}

/// A step of the search for a frame.
pub(super) enum Next {
    Frame(Frame),
    /// The item gave nothing; take the next one.
    Skip,
    /// Something must come first; the item is in front again.
    Wait,
}

impl Hub {
    /// The next frame of a stream, or `None` when there is nothing yet: [`Hub::next_ready`] names the stream again.
    ///
    /// Call it only while the client takes bytes: asking shows that the stream moves, which earns it reads.
    pub fn next_frame(&mut self, id: StreamId) -> Option<Frame> {
        let stream = self.stream_mut(id)?;
        stream.hungry = false;
        if stream.sending.is_some() {
            return None;
        }
        self.tell_compacted(id);
        let frame = loop {
            let Some(item) = self.stream_mut(id)?.queue.pop_front() else { break None };
            let charge = self.stream_mut(id)?.count_out(&item);
            self.purse.give(charge);
            match self.frame_of(id, item) {
                Next::Frame(frame) => break Some(frame),
                Next::Skip => {}
                Next::Wait => break None,
            }
        };
        self.let_in(id);
        self.line_up(id, true);
        if frame.is_none() {
            self.stream_mut(id)?.hungry = true;
        }
        frame
    }

    /// Queues the end of watches whose cursor compaction has passed.
    fn tell_compacted(&mut self, id: StreamId) {
        let compacted = self.compacted;
        let Some(stream) = self.stream_mut(id).filter(|stream| stream.check_compacted) else { return };
        stream.check_compacted = false;
        let behind = std::mem::take(&mut stream.behind);
        let mut rest = Vec::new();
        for slot in behind {
            let Some(watch) = self.watches.get(slot) else { continue };
            let (watch_id, span) = (watch.id, watch.span.clone());
            let item = Item::Compacted { id: watch_id, compacted };
            if watch.next >= compacted {
                rest.push(slot);
            } else if self.try_enqueue(id, item).is_ok() {
                self.set_state(slot, State::Dead);
                self.index.remove(&span, slot);
            } else {
                rest.push(slot);
                if let Some(stream) = self.stream_mut(id) {
                    stream.check_compacted = true;
                }
            }
        }
        if let Some(stream) = self.stream_mut(id) {
            stream.behind = rest;
        }
    }

    /// Puts an item back in front, whatever the limits: it was there a moment ago.
    pub(super) fn push_front(&mut self, id: StreamId, item: Item) {
        if let Some(stream) = self.streams.get_of_mut(id.slot, id.generation) {
            self.purse.take_forced(&self.budget, item.charge());
            stream.count_in(&item);
            stream.queue.push_front(item);
        }
    }

    fn frame_of(&mut self, id: StreamId, item: Item) -> Next {
        let head = Head::default();
        match item {
            Item::Created { id: watch_id, revision } => {
                self.plain(id, item, &Head { revision, watch_id, created: true, ..head })
            }
            Item::Failed { ref reason, revision } => {
                let reason = reason.clone();
                let (created, canceled) = (true, true);
                self.plain(
                    id,
                    item,
                    &Head { revision, watch_id: -1, created, canceled, cancel_reason: &reason, ..head },
                )
            }
            Item::Canceled { id: watch_id, revision } => {
                self.plain(id, item, &Head { revision, watch_id, canceled: true, ..head })
            }
            Item::Compacted { id: watch_id, compacted } => {
                self.plain(id, item, &Head { watch_id, canceled: true, compact_revision: compacted, ..head })
            }
            Item::Progress { watch, revision } => match self.watch(watch).map(|watch| watch.id) {
                Some(watch_id) => self.plain(id, item, &Head { revision, watch_id, ..head }),
                None => Next::Skip,
            },
            Item::ProgressAll { epoch, revision } => match self.stream(id) {
                Some(stream) if stream.epoch == epoch => self.plain(id, item, &Head { revision, watch_id: -1, ..head }),
                _ => Next::Skip,
            },
            Item::Live { watch, revision, picks } => self.live(id, watch, revision, picks),
            Item::Batch { .. } => self.batch(id, item),
            Item::Revoked { watch, revision } => {
                if let Some(stream) = self.stream_mut(id) {
                    stream.appetite = (stream.appetite / 2).max(CHUNK_BYTES);
                }
                if revision < i64::MAX {
                    self.void(watch, revision);
                }
                Next::Skip
            }
            Item::Large { watch, revision, from_sub, size, header } => {
                self.large(id, watch, revision, from_sub, size, header, Memory::None)
            }
        }
    }

    pub(super) fn lease(&mut self, id: StreamId, bytes: usize) -> Option<Lease> {
        let bytes = bytes as u64;
        if let Some(lease) = self.budget.try_lease(Holder::Watches, bytes) {
            return Some(lease);
        }
        // Recent revisions can be read again. Wish first, then a last try: bytes that come back in between are not missed.
        self.shrink_ring(0);
        self.budget.want_room(Holder::Watches);
        let lease = self.budget.try_lease(Holder::Watches, bytes);
        if lease.is_none() {
            self.starve(id);
        }
        lease
    }

    /// The stream is woken once there may be room, and at the next tick.
    pub(super) fn starve(&mut self, id: StreamId) {
        if let Some(stream) = self.stream_mut(id) {
            stream.hungry = true;
            if !std::mem::replace(&mut stream.starved, true) {
                self.starved.push(id);
            }
        }
    }

    pub(super) fn whole(&mut self, id: StreamId, buffer: Vec<u8>) -> Option<Frame> {
        let lease = self.lease(id, buffer.capacity())?;
        let message_bytes = u32::try_from(buffer.len()).expect("a whole frame is small");
        Some(Frame { message_bytes, bytes: buffer.into(), lease, more: false })
    }

    /// A frame without events.
    fn plain(&mut self, id: StreamId, item: Item, head: &Head<'_>) -> Next {
        let mut buffer = Vec::with_capacity(64 + head.cancel_reason.len());
        wire::put_head(&mut buffer, &self.ids, head);
        match self.whole(id, buffer) {
            Some(frame) => Next::Frame(frame),
            None => {
                self.push_front(id, item);
                Next::Wait
            }
        }
    }

    fn live(&mut self, id: StreamId, reference: WatchRef, revision: i64, picks: Picks) -> Next {
        let Some(watch) = self.watch(reference) else { return Next::Skip };
        // A pair at a compacted revision is missing, also where it is still at hand.
        let (watch_id, prev_kv) = (watch.id, watch.prev_kv && revision > self.compacted);
        let Some(entry) = self.ring.get(revision) else {
            self.void(reference, revision);
            return Next::Skip;
        };
        let Some(data) = entry.data(prev_kv).map(Arc::clone) else {
            if self.await_previous(id, revision) {
                self.push_front(id, Item::Live { watch: reference, revision, picks });
                return Next::Wait;
            }
            return self.large(id, reference, revision, 0, None, revision, Memory::None);
        };
        let bytes: usize = picks.iter().map(|event| data.field(event).len()).sum();
        if bytes > CHUNK_BYTES - HEAD_BYTES {
            return self.large(id, reference, revision, 0, None, revision, Memory::None);
        }
        let mut buffer = Vec::with_capacity(HEAD_BYTES + bytes);
        wire::put_head(&mut buffer, &self.ids, &Head { revision, watch_id, ..Head::default() });
        let mut events = 0;
        for event in picks.iter() {
            buffer.extend_from_slice(data.field(event));
            events += 1;
        }
        let Some(frame) = self.whole(id, buffer) else {
            self.push_front(id, Item::Live { watch: reference, revision, picks });
            return Next::Wait;
        };
        self.stats.events += events;
        self.mark_active(reference.slot);
        Next::Frame(frame)
    }

    /// Asks for the previous pairs of a revision in the ring, once for all its watches; `false` when they are not to be
    /// kept there.
    fn await_previous(&mut self, id: StreamId, revision: i64) -> bool {
        let limit = self.config.job_bytes.min(2 * CHUNK_BYTES);
        let Some(entry) = self.ring.get_mut(revision) else { return false };
        match &mut entry.previous {
            Previous::NotAsked if entry.events.bytes() <= limit => {
                entry.previous = Previous::Asked(vec![id]);
                if let Some(stream) = self.stream_mut(id) {
                    stream.awaits = revision;
                }
                self.wanted.push_back(Wanted::Previous(revision));
                true
            }
            Previous::Asked(waiters) => {
                if let Some(stream) = self.streams.get_of_mut(id.slot, id.generation)
                    && stream.awaits != revision
                {
                    stream.awaits = revision;
                    waiters.push(id);
                }
                true
            }
            _ => false,
        }
    }

    /// As many whole revisions of a read as fit into a frame.
    fn batch(&mut self, id: StreamId, item: Item) -> Next {
        let Item::Batch { watch: reference, batch, mut at, from } = item else { return Next::Skip };
        let Some(watch) = self.watch(reference) else { return Next::Skip };
        let (ask, watch_id) = (self.ask(watch), watch.id);
        let mut buffer = Vec::new();
        let mut head_len = 0;
        let mut events = 0;
        let mut full = false;
        let first = at;
        while let Some(revision) = batch.revisions.get(at) {
            let before = (buffer.len(), events);
            if revision.revision() >= from {
                for event in wanted(revision, &ask) {
                    if buffer.is_empty() {
                        let head = Head { revision: batch.header, watch_id, ..Head::default() };
                        wire::put_head(&mut buffer, &self.ids, &head);
                        head_len = buffer.len();
                    }
                    buffer.extend_from_slice(revision.field(event));
                    events += 1;
                }
            }
            if buffer.len() > CHUNK_BYTES {
                full = true;
                buffer.truncate(before.0);
                events = before.1;
                break;
            }
            at += 1;
        }
        if full && buffer.len() <= head_len {
            // This one revision is larger than a frame in one piece.
            let revision = batch.revisions[at].revision();
            let header = batch.header;
            let memory = Memory::Batch { batch: Arc::clone(&batch), at, next: None };
            self.push_front(id, Item::Batch { watch: reference, batch, at: at + 1, from });
            return self.large(id, reference, revision, 0, None, header, memory);
        }
        if buffer.is_empty() {
            self.sated(id);
            return Next::Skip;
        }
        buffer.shrink_to_fit();
        let Some(frame) = self.whole(id, buffer) else {
            self.push_front(id, Item::Batch { watch: reference, batch, at: first, from });
            return Next::Wait;
        };
        if at < batch.revisions.len() {
            self.push_front(id, Item::Batch { watch: reference, batch, at, from });
        } else {
            self.sated(id);
        }
        self.stats.events += events;
        self.mark_active(reference.slot);
        Next::Frame(frame)
    }

    /// The stream took a whole read: the next may be larger.
    fn sated(&mut self, id: StreamId) {
        let most = self.config.job_bytes;
        if let Some(stream) = self.stream_mut(id) {
            stream.appetite = (stream.appetite * 2).min(most);
        }
    }
}

/// A header of at most 46 bytes, and the other fields a frame with events has.
pub(super) const HEAD_BYTES: usize = 80;
