//! Frames of one revision that is larger than a piece: the length first, then the bytes as the client takes them, from
//! the ring, from a read, or read for it.

use bytes::Bytes;
use tidegate_base::Lease;

use super::{
    catch_up::Wanted,
    config::CHUNK_BYTES,
    event::RevisionEvents,
    frames::{HEAD_BYTES, Next},
    hub::{Hub, StreamId},
    job::{Ask, Size},
    stream::{Item, Memory, Sending, WatchRef},
    wire::{self, Head},
};

/// Part of a message under way.
#[derive(Debug)]
pub enum Piece {
    Bytes {
        bytes: Bytes,
        lease: Lease,
        more: bool,
    },
    /// The bytes are being read, or the budget has no room: poll again when the stream is ready.
    Wait,
    /// The rest can never come, because history was compacted away or the engine failed: reset the stream.
    Broken,
}

impl Hub {
    /// Begins a frame of one revision that is sent in pieces. `memory` may hold the revision, and so may the ring.
    #[expect(clippy::too_many_arguments, reason = "the fields of one item, and where its bytes are")]
    pub(super) fn large(
        &mut self,
        id: StreamId,
        reference: WatchRef,
        revision: i64,
        from_sub: u32,
        size: Option<Size>,
        header: i64,
        memory: Memory,
    ) -> Next {
        let Some(watch) = self.watch(reference) else { return Next::Skip };
        let (mut ask, watch_id) = (self.ask(watch), watch.id);
        if matches!(memory, Memory::None) {
            ask.previous &= revision > self.compacted;
        }
        let here = match &memory {
            Memory::Batch { batch, at, .. } => batch.revisions.get(*at),
            _ => self.ring.get(revision).and_then(|entry| entry.data(ask.previous)).map(|events| &**events),
        };
        let size = size.or_else(|| here.map(|events| measure(events, &ask, from_sub)));
        let item = Item::Large { watch: reference, revision, from_sub, size, header };
        let Some(size) = size else {
            if revision < self.compacted {
                self.void(reference, revision);
                return Next::Skip;
            }
            self.push_front(id, item);
            if let Some(stream) = self.stream_mut(id)
                && !std::mem::replace(&mut stream.measuring, true)
            {
                self.wanted.push_back(Wanted::Size(id));
            }
            return Next::Wait;
        };
        if size.events == 0 {
            return Next::Skip;
        }
        let mut buffer = Vec::with_capacity(HEAD_BYTES);
        let fragment = size.next.is_some();
        wire::put_head(&mut buffer, &self.ids, &Head { revision: header, watch_id, fragment, ..Head::default() });
        let message_bytes = u32::try_from(buffer.len() as u64 + size.bytes);
        let message_bytes = message_bytes.ok().filter(|bytes| i32::try_from(*bytes).is_ok());
        let Some(mut frame) = self.whole(id, buffer) else {
            self.push_front(id, item);
            return Next::Wait;
        };
        // One event can be larger than a message only if its request was: the driver resets the stream.
        (frame.more, frame.message_bytes) = (true, message_bytes.unwrap_or(u32::MAX));
        let memory = if message_bytes.is_some() { memory } else { Memory::Failed };
        if let Some(sub) = size.next {
            self.push_front(id, Item::Large { watch: reference, revision, from_sub: sub, size: None, header });
        }
        let serial = self.next_serial();
        self.mark_active(reference.slot);
        self.stats.events += size.events;
        let (left, until) = (size.bytes, size.next);
        let sending = Sending { serial, ask, revision, left, sub: from_sub, skip: 0, until, memory, needs: 0 };
        if let Some(stream) = self.stream_mut(id) {
            stream.sending = Some(Box::new(sending));
        }
        Next::Frame(frame)
    }

    /// The next bytes of a frame that has `more`.
    pub fn next_piece(&mut self, id: StreamId) -> Piece {
        let Some(stream) = self.stream_mut(id) else { return Piece::Broken };
        stream.hungry = false;
        let Some(mut sending) = stream.sending.take() else { return Piece::Broken };
        let piece = self.piece_of(id, &mut sending);
        let over = matches!(piece, Piece::Bytes { more: false, .. });
        if let Some(stream) = self.stream_mut(id) {
            stream.hungry |= matches!(piece, Piece::Wait);
            stream.sending = (!over).then_some(sending);
        }
        piece
    }

    fn piece_of(&mut self, id: StreamId, sending: &mut Sending) -> Piece {
        match sending.memory {
            Memory::Failed => return Piece::Broken,
            Memory::Wanted => return Piece::Wait,
            Memory::None | Memory::Batch { .. } => {}
        }
        let length = usize::try_from(sending.left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let Some(mut lease) = self.lease(id, length) else { return Piece::Wait };
        let mut buffer = Vec::with_capacity(length);
        loop {
            let ring = self.ring.get(sending.revision).and_then(|entry| entry.data(sending.ask.previous));
            let next = match (&sending.memory, ring) {
                (Memory::Batch { batch, at, next }, _) => {
                    let Some(events) = batch.revisions.get(*at) else { return Piece::Broken };
                    fill(&mut buffer, length, events, sending).or(next.map(|sub| (sub, 0)))
                }
                (_, Some(events)) => fill(&mut buffer, length, events, sending),
                (_, None) => break,
            };
            let next = next.filter(|(sub, _)| sending.until.is_none_or(|until| *sub < until));
            if let Some((sub, skip)) = next {
                (sending.sub, sending.skip) = (sub, skip);
            }
            let over = buffer.len() as u64 == sending.left;
            if next.is_none() && !over || over && next.is_some_and(|(_, skip)| skip > 0) {
                // The events do not add up to the length that was promised.
                return Piece::Broken;
            }
            let in_memory = match &sending.memory {
                Memory::Batch { batch, at, .. } => {
                    batch.revisions.get(*at).is_some_and(|events| events.at_sub(sending.sub) < events.len())
                }
                _ => true,
            };
            if !in_memory {
                sending.memory = Memory::None;
            }
            if buffer.len() == length {
                break;
            }
        }
        sending.left -= buffer.len() as u64;
        if buffer.is_empty() {
            sending.memory = Memory::Wanted;
            self.wanted.push_back(Wanted::Events(id));
            return Piece::Wait;
        }
        lease.shrink_to(buffer.capacity() as u64);
        Piece::Bytes { bytes: buffer.into(), lease, more: sending.left > 0 }
    }
}

/// Events of a revision that a watch wants, in order.
pub(super) fn wanted<'a>(events: &'a RevisionEvents, ask: &'a Ask) -> impl Iterator<Item = usize> + 'a {
    (0..events.len()).filter(|event| ask.wants(events.kind(*event), events.key(*event)))
}

fn measure(events: &RevisionEvents, ask: &Ask, from_sub: u32) -> Size {
    let mut size = Size::default();
    for event in wanted(events, ask).filter(|event| events.sub(*event) >= from_sub) {
        if !size.add(events.field(event).len() as u64, events.sub(event), ask.bytes_max) {
            break;
        }
    }
    size
}

/// Fills the buffer up to `length` with what comes next of a frame. Answers where to go on; `None` at the end of the
/// events.
fn fill(buffer: &mut Vec<u8>, length: usize, events: &RevisionEvents, sending: &Sending) -> Option<(u32, usize)> {
    let &Sending { ref ask, sub, mut skip, until, .. } = sending;
    for event in events.at_sub(sub)..events.len() {
        if until.is_some_and(|until| events.sub(event) >= until) {
            return None;
        }
        if !ask.wants(events.kind(event), events.key(event)) {
            continue;
        }
        if buffer.len() == length {
            return Some((events.sub(event), 0));
        }
        let field = events.field(event).get(skip..).unwrap_or_default();
        let taken = field.len().min(length - buffer.len());
        buffer.extend_from_slice(&field[..taken]);
        if taken < field.len() {
            return Some((events.sub(event), skip + taken));
        }
        skip = 0;
    }
    None
}
