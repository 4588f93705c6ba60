//! Carries a body from one buffer to a socket, framed anew.

use std::{
    io::{self, IoSlice},
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use memchr::memchr;

use super::{
    framing::Decoder,
    socket::Socket,
    splice::{Pipe, SPLICE_LEAST},
};
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
/// head. Chunks that go on as chunks leave as they came, their framing with them, but for extensions, trailers and needless
/// zeros, which are cut out where they stand.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) pre: BytesMut,
    /// Framing that goes in front of the next body bytes, since it is not worth a write of its own.
    held: Held,
    /// Bytes at the front of the buffer that are to be written.
    data: usize,
    /// Framing behind the data, already understood.
    behind: usize,
    post: &'static [u8],
    framing: Framing,
    ended: bool,
    /// What receives can be given bytes by the kernel.
    pours: bool,
    pipe: Option<Pipe>,
    /// Bytes that the receiver has taken.
    pub(crate) written: u64,
}

impl Relay {
    /// `pre` is what goes first: the head.
    pub(crate) const fn new(pre: BytesMut, framing: Framing) -> Self {
        Self {
            pre,
            held: Held::EMPTY,
            data: 0,
            behind: 0,
            post: b"",
            framing,
            ended: false,
            pours: false,
            pipe: None,
            written: 0,
        }
    }

    /// As [`Relay::new`], for a body that `sink` receives.
    pub(crate) const fn to(pre: BytesMut, framing: Framing, sink: &Socket) -> Self {
        let mut relay = Self::new(pre, framing);
        relay.pours = sink.is_plain() && matches!(framing, Framing::Plain);
        relay
    }

    pub(crate) fn pending(&self) -> bool {
        self.data > 0 || !self.pre.is_empty() || !self.post.is_empty() || !self.is_drained()
    }

    fn is_drained(&self) -> bool {
        self.pipe.as_ref().is_none_or(Pipe::is_empty)
    }

    /// Whether more of the body can be taken in: none is on its way, at most what goes before it.
    pub(crate) fn loadable(&self) -> bool {
        self.data == 0 && self.post.is_empty() && !self.ended && self.is_drained()
    }

    pub(crate) const fn ended(&self) -> bool {
        self.ended
    }

    /// Whether what follows the bytes in `buf` is to be drawn from `source`: much, of which none is here.
    pub(crate) fn draws(&self, decoder: &Decoder, buf: &BytesMut, source: &Socket) -> bool {
        let Decoder::Length(left) = decoder else { return false };
        self.pours && left.saturating_sub((buf.len() - self.data) as u64) >= SPLICE_LEAST && source.can_drain()
    }

    /// Draws body bytes from `source`, which [`Relay::draws`] has agreed to and whose buffer has no further ones. `None` where the
    /// system has no means for it; 0 is the end.
    pub(crate) fn poll_draw(
        &mut self,
        cx: &mut Context<'_>,
        decoder: &mut Decoder,
        source: &mut Socket,
    ) -> Poll<io::Result<Option<usize>>> {
        if self.pipe.is_none() {
            self.pipe = Pipe::new();
        }
        let Some(pipe) = &mut self.pipe else {
            self.pours = false;
            return Poll::Ready(Ok(None));
        };
        let drawn = ready!(pipe.poll_drain(cx, source, decoder.announced()))?;
        decoder.passed(drawn as u64);
        self.ended = decoder.is_done();
        Poll::Ready(Ok(Some(drawn)))
    }

    /// Takes the body bytes that `buf` holds. To be called when [`Relay::loadable`].
    pub(crate) fn load(&mut self, decoder: &mut Decoder, buf: &mut BytesMut) -> Result<Loaded, BodyError> {
        debug_assert!(self.loadable());
        if self.framing == Framing::Chunked && decoder.is_chunked() {
            return self.load_chunks(decoder, buf);
        }
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
            self.post = if self.ended { b"\r\n0\r\n\r\n" } else { b"\r\n" };
        }
        Ok(Loaded::Data(self.data))
    }

    /// Chunks that go on as chunks.
    fn load_chunks(&mut self, decoder: &mut Decoder, buf: &mut BytesMut) -> Result<Loaded, BodyError> {
        let (mut filled, mut read, mut body, mut ends) = (0, 0, 0, false);
        loop {
            let in_trailers = decoder.in_trailers();
            ends |= decoder.is_at_chunk_end();
            let piece = decoder.next(buf.get(read..).unwrap_or_default())?;
            let kept = tidy(buf.get_mut(read..read + piece.skip).unwrap_or_default(), in_trailers);
            for (from, count) in [(read, kept), (read + piece.skip, piece.data)] {
                if from != filled && count > 0 {
                    buf.copy_within(from..from + count, filled);
                }
                filled += count;
            }
            read += piece.skip + piece.data;
            body += piece.data;
            if piece.end || piece.data == 0 {
                self.ended = piece.end;
                break;
            }
        }
        // The end of a chunk does not wait: there are receivers that take a chunk only then.
        if body == 0 && !self.ended && !(ends && filled > 0) && self.held.put(buf.get(..filled).unwrap_or_default()) {
            buf.advance(read);
            return Ok(Loaded::More);
        }
        self.pre.extend_from_slice(self.held.take());
        (self.data, self.behind) = (filled, read - filled);
        Ok(if body == 0 && self.ended { Loaded::End } else { Loaded::Data(body) })
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
        while self.data > 0 || !self.pre.is_empty() || !self.post.is_empty() {
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
        if let Some(pipe) = &mut self.pipe {
            while !pipe.is_empty() {
                self.written += ready!(pipe.poll_pour(cx, sink))? as u64;
            }
            if self.ended {
                self.pipe = None;
                sink.end_fill()?;
            }
        }
        sink.poll_flush(cx)
    }
}

/// A few bytes of framing: the size of the next chunk.
#[derive(Debug)]
struct Held {
    bytes: [u8; Held::MOST],
    len: usize,
}

impl Held {
    /// The 16 digits of the longest size, and a line's end.
    const MOST: usize = 18;
    const EMPTY: Self = Self { bytes: [0; Held::MOST], len: 0 };

    /// Adds to what is held; false when there is no room for it.
    fn put(&mut self, more: &[u8]) -> bool {
        let Some(room) = self.bytes.get_mut(self.len..self.len + more.len()) else { return false };
        room.copy_from_slice(more);
        self.len += more.len();
        true
    }

    fn take(&mut self) -> &[u8] {
        let len = std::mem::take(&mut self.len);
        self.bytes.get(..len).unwrap_or_default()
    }
}

/// Moves to the front of `lines`, whole and checked lines between the bytes of chunks, what a receiver is to see of them, and
/// says how much that is: no extension, no trailer, no leading zero.
fn tidy(lines: &mut [u8], mut in_trailers: bool) -> usize {
    let (mut read, mut kept) = (0, 0);
    while let Some(end) = memchr(b'\n', lines.get(read..).unwrap_or_default()) {
        let line = lines.get(read..read + end).unwrap_or_default();
        let digits = if in_trailers { 0 } else { line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count() };
        let zeros = line.iter().take(digits.saturating_sub(1)).take_while(|byte| **byte == b'0').count();
        let (from, to) = (read + zeros, read + digits);
        if !in_trailers || line == b"\r" {
            in_trailers |= line.get(zeros..digits) == Some(b"0");
            lines.copy_within(from..to, kept);
            kept += to - from;
            lines.copy_within(read + end - 1..=read + end, kept);
            kept += 2;
        }
        read += end + 1;
    }
    kept
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

    /// What a receiver gets of `wire`, whose bytes come in pieces of `step`, and how many bytes of the body were counted.
    fn relay(wire: &[u8], step: usize) -> (Vec<u8>, usize) {
        let (mut relay, mut decoder) = (Relay::new(BytesMut::from(&b"H"[..]), Framing::Chunked), Decoder::chunked());
        let (mut buf, mut out, mut counted) = (BytesMut::new(), Vec::new(), 0);
        for piece in wire.chunks(step) {
            buf.extend_from_slice(piece);
            if let Loaded::Data(bytes) = relay.load(&mut decoder, &mut buf).unwrap() {
                counted += bytes;
            }
            out.extend_from_slice(&relay.pre.split());
            out.extend_from_slice(&buf[..relay.data]);
            buf.advance(std::mem::take(&mut relay.data) + std::mem::take(&mut relay.behind));
            assert_eq!(relay.post, b"");
            if relay.ended() {
                break;
            }
        }
        assert!(relay.ended() && decoder.is_done());
        (out, counted)
    }

    #[test]
    fn chunks_go_on_as_they_came_without_what_receivers_read_differently() {
        let check = |wire: &str, expected: &str, body: usize| {
            for step in 1..=wire.len() {
                let (out, counted) = relay(wire.as_bytes(), step);
                assert_eq!((String::from_utf8(out).unwrap().as_str(), counted), (expected, body), "{step}");
            }
        };
        check("2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n", "H2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n", 5);
        check("0\r\n\r\n", "H0\r\n\r\n", 0);
        check("000\r\n\r\n", "H0\r\n\r\n", 0);
        check("0002;a=b\r\n\r\n\r\n1 ;c\r\nx\r\n00;d\r\nA: 0\r\nB:\r\n\r\n", "H2\r\n\r\n\r\n1\r\nx\r\n0\r\n\r\n", 3);
        check(
            &format!("00000c\r\n{0}\r\nFf;\r\n{1}\r\n0\r\n\r\n", "y".repeat(12), "z".repeat(255)),
            &format!("Hc\r\n{0}\r\nFf\r\n{1}\r\n0\r\n\r\n", "y".repeat(12), "z".repeat(255)),
            267,
        );
    }

    #[test]
    fn what_stands_behind_the_last_chunk_is_left() {
        let mut relay = Relay::new(BytesMut::new(), Framing::Chunked);
        let mut buf = BytesMut::from(&b"2;x\r\nab\r\n0\r\n\r\nNEXT"[..]);
        assert_eq!(relay.load(&mut Decoder::chunked(), &mut buf), Ok(Loaded::Data(2)));
        assert_eq!(&buf[..relay.data], b"2\r\nab\r\n0\r\n\r\n");
        buf.advance(relay.data + relay.behind);
        assert_eq!(&buf[..], b"NEXT");
    }

    #[test]
    fn framing_alone_waits_for_the_bytes_behind_it() {
        let (mut relay, mut decoder) = (Relay::new(BytesMut::new(), Framing::Chunked), Decoder::chunked());
        let mut buf = BytesMut::from(&b"1\r\na"[..]);
        assert_eq!(relay.load(&mut decoder, &mut buf), Ok(Loaded::Data(1)));
        buf.advance(std::mem::take(&mut relay.data));
        buf.extend_from_slice(b"\r\n");
        assert_eq!(relay.load(&mut decoder, &mut buf), Ok(Loaded::Data(0)), "but the end of a chunk leaves");
        buf.advance(std::mem::take(&mut relay.data));
        buf.extend_from_slice(b"7fffffffffffffff\r\n");
        assert_eq!(relay.load(&mut decoder, &mut buf), Ok(Loaded::More));
        assert!(!relay.pending() && buf.is_empty());
        buf.extend_from_slice(b"b");
        assert_eq!(relay.load(&mut decoder, &mut buf), Ok(Loaded::Data(1)));
        assert_eq!((&relay.pre[..], &buf[..]), (&b"7fffffffffffffff\r\n"[..], &b"b"[..]));
    }
}
