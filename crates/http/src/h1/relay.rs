//! Carries a body from one buffer to a socket, framed anew.

use std::{
    io::{self, IoSlice},
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tidegate_base::planted::{Fault, is_planted};

use super::{framing::Decoder, socket::Socket};
use crate::message::BodyError;

/// Up to this many bytes, a copy behind the head costs less than a part of their own in a gathering write.
const JOIN_MAX: usize = 2 << 10;

/// How a body is framed towards the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// By its length, or until the connection closes: bytes as they are.
    Plain,
    Chunked,
}

/// What [`Relay::load`] found in the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loaded {
    /// This many bytes of the body are to be written.
    Data(usize),
    /// Nothing, and the body goes on.
    More,
    End,
}

/// ```text
///   pre                          buffer                              post
///   [head | chunk size]   [body bytes]·[framing left over]   [chunk end | last chunk]
/// ```
/// The three leave in one gathering write. Body bytes are not copied, but where a copy is cheaper: a small body joins its
/// head, and several small chunks that came at once are pushed together and leave as one.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) pre: BytesMut,
    data: usize,
    /// Framing behind the data, already understood.
    behind: usize,
    post: &'static [u8],
    framing: Framing,
    ended: bool,
    /// Bytes that the receiver has taken.
    pub(crate) written: u64,
}

impl Relay {
    /// `pre` is what goes first: the head.
    pub(crate) const fn new(pre: BytesMut, framing: Framing) -> Self {
        Self { pre, data: 0, behind: 0, post: b"", framing, ended: false, written: 0 }
    }

    pub(crate) fn pending(&self) -> bool {
        self.data > 0 || !self.pre.is_empty() || !self.post.is_empty()
    }

    /// Whether more of the body can be taken in: none is on its way, at most what goes before it.
    pub(crate) const fn loadable(&self) -> bool {
        self.data == 0 && self.post.is_empty() && !self.ended
    }

    pub(crate) const fn ended(&self) -> bool {
        self.ended
    }

    /// Takes the body bytes that `buf` holds. To be called when [`Relay::loadable`].
    pub(crate) fn load(&mut self, decoder: &mut Decoder, buf: &mut BytesMut) -> Result<Loaded, BodyError> {
        debug_assert!(self.loadable());
        let (mut start, mut filled, mut read, mut first) = (0, 0, 0, true);
        loop {
            let piece = decoder.next(buf.get(read..).unwrap_or_default())?;
            read += piece.skip;
            if piece.end {
                self.ended = true;
                break;
            }
            if piece.data == 0 {
                break;
            }
            if first {
                (start, filled, first) = (read, read, false);
            } else {
                buf.copy_within(read..read + piece.data, filled);
            }
            filled += piece.data;
            read += piece.data;
        }
        if first {
            buf.advance(read);
            return Ok(if self.ended { self.end() } else { Loaded::More });
        }
        buf.advance(start);
        self.data = filled - start;
        self.behind = read - filled;
        if self.framing == Framing::Chunked {
            put_hex(&mut self.pre, self.data);
            let last = self.ended && !is_planted(Fault::LastChunkLost);
            self.post = if last { b"\r\n0\r\n\r\n" } else { b"\r\n" };
        }
        Ok(Loaded::Data(self.data))
    }

    /// The sender closed, and that ends the body.
    pub(crate) fn end(&mut self) -> Loaded {
        self.ended = true;
        if self.framing == Framing::Chunked {
            self.post = b"0\r\n\r\n";
        }
        Loaded::End
    }

    /// Takes the loaded bytes out of `buf` instead of writing them.
    pub(crate) fn take(&mut self, buf: &mut BytesMut, mut each: impl FnMut(&[u8])) {
        each(buf.get(..self.data).unwrap_or_default());
        buf.advance(std::mem::take(&mut self.data) + std::mem::take(&mut self.behind));
        self.post = b"";
    }

    /// Writes all that is pending; the body bytes are the first of `buf`, and leave it.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut Socket,
        buf: &mut BytesMut,
    ) -> Poll<io::Result<()>> {
        if !self.pre.is_empty() && self.data > 0 && self.data <= JOIN_MAX {
            self.pre.extend_from_slice(buf.get(..self.data).unwrap_or_default());
            self.pre.extend_from_slice(std::mem::take(&mut self.post));
            buf.advance(std::mem::take(&mut self.data) + std::mem::take(&mut self.behind));
        }
        while self.pending() {
            let data = buf.get(..self.data).unwrap_or_default();
            let mut parts = [IoSlice::new(&[]); 3];
            let mut count = 0;
            for part in [&self.pre[..], data, self.post] {
                if !part.is_empty() {
                    parts[count] = IoSlice::new(part);
                    count += 1;
                }
            }
            let mut written = ready!(sink.poll_write(cx, &parts[..count]))?;
            self.written += written as u64;
            let pre = written.min(self.pre.len());
            self.pre.advance(pre);
            written -= pre;
            let data = written.min(self.data);
            if data > 0 {
                buf.advance(data);
                self.data -= data;
                if self.data == 0 {
                    buf.advance(std::mem::take(&mut self.behind));
                }
            }
            written -= data;
            self.post = self.post.get(written..).unwrap_or_default();
        }
        sink.poll_flush(cx)
    }
}

/// The size line of a chunk.
pub(crate) fn put_hex(out: &mut BytesMut, number: usize) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - number.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.extend_from_slice(&[HEX[(number >> (digit * 4)) & 15]]);
    }
    out.extend_from_slice(b"\r\n");
}

/// A number in decimal digits.
pub(crate) fn put_decimal(out: &mut BytesMut, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_wire_wants_them() {
        let mut out = BytesMut::new();
        for number in [0, 9, 10, 255, 4096] {
            put_hex(&mut out, number);
        }
        for number in [0, 7, 1024, u64::MAX] {
            put_decimal(&mut out, number);
        }
        assert_eq!(&out[..], b"0\r\n9\r\na\r\nff\r\n1000\r\n07102418446744073709551615");
    }

    #[test]
    fn small_chunks_that_came_at_once_leave_as_one() {
        let mut relay = Relay::new(BytesMut::from(&b"H"[..]), Framing::Chunked);
        let mut decoder = Decoder::chunked();
        let mut buf = BytesMut::from(&b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\nNEXT"[..]);
        assert_eq!(relay.load(&mut decoder, &mut buf), Ok(Loaded::Data(5)));
        assert!(relay.ended() && decoder.is_done());
        assert_eq!((&relay.pre[..], &buf[..5], relay.post), (&b"H5\r\n"[..], &b"abcde"[..], &b"\r\n0\r\n\r\n"[..]));
        buf.advance(5 + relay.behind);
        assert_eq!(&buf[..], b"NEXT");
    }
}
