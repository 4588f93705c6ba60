//! Receive buffers: none while idle, small at first, larger only for who fills them.

use std::{
    io,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use tidegate_base::Lease;

use super::socket::Socket;

/// First size of a receive buffer: a usual head, and no more. Paid by the connection's own lease.
pub(crate) const BUFFER_LEAST: usize = 4 << 10;
/// What a buffer grows to when that was too small, and the largest that is kept from one request to the next.
pub(crate) const BUFFER_KEPT: usize = 16 << 10;
/// Largest receive buffer, for large bodies.
pub(crate) const BUFFER_MOST: usize = 64 << 10;
/// With less room than this a read is not worth its system call.
const ROOM_LEAST: usize = 1 << 10;

#[derive(Debug, Default)]
pub(crate) struct Buffer {
    pub(crate) bytes: BytesMut,
    /// What is allocated; `bytes.capacity()` forgets what was consumed at the front.
    size: usize,
    /// The last read left no room: more may be waiting.
    filled: bool,
    /// It left room, and more is waiting all the same.
    more: bool,
}

impl Buffer {
    pub(crate) fn new(bytes: BytesMut) -> Self {
        Self { size: bytes.capacity(), bytes, filled: false, more: false }
    }

    /// Makes room for a read: reuses what was consumed, or grows by a step, up to `most`, under `lease`. False when the buffer is
    /// full and may not grow.
    pub(crate) fn room(&mut self, most: usize, lease: Option<&mut Lease>) -> bool {
        self.rewind();
        let free = self.free();
        let wanted = self.size < BUFFER_LEAST || (std::mem::take(&mut self.filled) && self.size < most);
        if !wanted && (free >= ROOM_LEAST || self.bytes.try_reclaim(ROOM_LEAST)) {
            return true;
        }
        let step = match self.size {
            0..BUFFER_LEAST => BUFFER_LEAST,
            BUFFER_LEAST..BUFFER_KEPT => BUFFER_KEPT,
            _ => BUFFER_MOST,
        };
        let target = step.min(most);
        // The first bytes of a connection may have come in a buffer that is smaller.
        let paid = target > self.size
            && (target <= BUFFER_LEAST
                || lease.is_some_and(|lease| lease.try_grow((target - self.size.max(BUFFER_LEAST)) as u64)));
        if !paid && (free > 0 || self.bytes.len() >= self.size) {
            return free > 0;
        }
        self.renew(if paid { target } else { self.size });
        true
    }

    /// As [`Buffer::room`], where `expected` more bytes are announced: room for all of them at once, if the lease allows.
    pub(crate) fn room_for(&mut self, expected: u64, most: usize, mut lease: Option<&mut Lease>) -> bool {
        self.rewind();
        let free = self.free();
        let expected = usize::try_from(expected).unwrap_or(usize::MAX);
        if expected > free && self.size < most {
            let target = self
                .bytes
                .len()
                .saturating_add(expected)
                .clamp(BUFFER_KEPT.min(most), most)
                .next_power_of_two()
                .min(most);
            let more = target.saturating_sub(self.size.max(BUFFER_LEAST)) as u64;
            if target > self.size && lease.as_mut().is_some_and(|lease| lease.try_grow(more)) {
                self.renew(target);
                return true;
            }
        }
        self.room(most, lease)
    }

    /// An empty buffer begins at its front again: the next read has all of it.
    fn rewind(&mut self) {
        if self.bytes.is_empty() && self.bytes.capacity() < self.size {
            self.bytes.clear();
            // Nothing shares the buffer, so this moves no byte and does not fail.
            let whole = self.bytes.try_reclaim(self.size);
            debug_assert!(whole, "a buffer of its own can be begun again");
        }
    }

    fn renew(&mut self, size: usize) {
        let mut bytes = BytesMut::with_capacity(size);
        bytes.extend_from_slice(&self.bytes);
        (self.bytes, self.size, self.filled) = (bytes, size, false);
    }

    /// Grows where the last read took all the room there was, or more waits than there is room for; true where there is room then
    /// to read on before what has come is passed on. `expected`: bytes that are announced, those in the buffer among them.
    pub(crate) fn read_ahead(&mut self, expected: u64, most: usize, lease: Option<&mut Lease>) -> bool {
        let behind = expected.saturating_sub(self.bytes.len() as u64);
        let more = std::mem::take(&mut self.more);
        let wanted = behind > 0 && (more || self.filled && self.size < most);
        wanted && self.room_for(behind, most, lease) && self.free() as u64 >= behind.min(ROOM_LEAST as u64)
    }

    fn free(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// Bytes that are allocated.
    pub(crate) const fn size(&self) -> usize {
        self.size
    }

    /// Reads into the room; 0 is the end.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, socket: &mut Socket) -> Poll<io::Result<usize>> {
        let free = self.free();
        let read = ready!(socket.poll_read(cx, &mut self.bytes))?;
        self.filled = read == free;
        self.more = !self.filled && socket.has_more();
        Poll::Ready(Ok(read))
    }

    /// Gives the memory back.
    pub(crate) fn release(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf;
    use tidegate_base::{Budget, ByteSize, Holder, Limits, Profile};

    use super::*;

    #[test]
    fn grows_only_when_filled_and_only_under_the_lease() {
        let budget = Budget::new(Limits::new(ByteSize::mib(256), Profile::Store).unwrap());
        let mut lease = budget.try_lease(Holder::Connections, 0).unwrap();
        let mut buffer = Buffer::default();
        assert!(buffer.room(BUFFER_MOST, Some(&mut lease)));
        assert_eq!((buffer.bytes.capacity(), lease.bytes()), (BUFFER_LEAST, 0));
        for expected in [16, 64, 64] {
            buffer.bytes.resize(buffer.bytes.capacity(), 0);
            buffer.filled = true;
            buffer.bytes.advance(buffer.bytes.len());
            assert!(buffer.room(BUFFER_MOST, Some(&mut lease)));
            assert_eq!(buffer.size, expected << 10);
            assert_eq!(lease.bytes(), (buffer.size - BUFFER_LEAST) as u64);
            assert!(buffer.bytes.capacity() >= ROOM_LEAST);
        }
        buffer.bytes.resize(buffer.bytes.capacity(), 0);
        assert!(!buffer.room(BUFFER_LEAST, None), "full, and nobody pays");
    }

    #[test]
    fn a_small_start_grows_to_the_first_size_at_once() {
        let mut buffer = Buffer::new(BytesMut::from(&b"GET / HTTP/1.1\r\nHost: h\r\n"[..]));
        assert!(buffer.room(BUFFER_MOST, None));
        assert_eq!((buffer.size, buffer.bytes.capacity() - buffer.bytes.len()), (BUFFER_LEAST, BUFFER_LEAST - 25));
        assert_eq!(&buffer.bytes[..3], b"GET");
    }

    #[test]
    fn what_was_consumed_is_used_again_even_when_the_rest_is_long() {
        let mut buffer = Buffer::default();
        assert!(buffer.room(BUFFER_LEAST, None));
        buffer.bytes.resize(BUFFER_LEAST, 7);
        buffer.bytes.advance(1000);
        assert!(buffer.room(BUFFER_LEAST, None));
        assert_eq!(buffer.bytes.len(), BUFFER_LEAST - 1000);
        assert!(buffer.bytes.capacity() - buffer.bytes.len() >= 1000);
        assert!(buffer.bytes.iter().all(|byte| *byte == 7));
    }
}
