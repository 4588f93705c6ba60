//! Bytes through an encrypted connection.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    TlsError, TlsStream,
    drive::{Action, At, Pass, cut},
    scratch::{self, RECORD_OVERHEAD, WRITE_MAX},
    server::take_asked,
};

/// A write that finds no room for more goes on with this much at a time.
const WRITE_LEAST: usize = 2 << 10;
/// Least that is read at once.
const READ_LEAST: usize = 4 << 10;
/// More is asked for than there is room for, so that a read that empties the socket is short, which tells the reactor so.
const READ_BEYOND: usize = 64;

impl TlsStream {
    /// Whether a read would find bytes or the end: decrypted already, or on the socket.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
            return Poll::Ready(Err(error));
        }
        if !self.plain.is_empty() || self.more || self.peer_closed {
            return Poll::Ready(Ok(()));
        }
        self.stream.poll_read_ready(cx)
    }

    /// Hands at most `room` bytes, which is not 0, to `sink`; 0 bytes are the end, as the other side has announced it.
    pub(crate) fn poll_read_into(
        &mut self,
        cx: &mut Context<'_>,
        room: usize,
        mut sink: impl FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        let waiting = self.plain.get(self.plain_at..).unwrap_or_default();
        if !waiting.is_empty() {
            let count = waiting.len().min(room);
            sink(waiting.get(..count).unwrap_or_default());
            self.plain_at += count;
            if self.plain_at == self.plain.len() {
                (self.plain, self.plain_at) = (Vec::new(), 0);
            }
            return Poll::Ready(Ok(count));
        }
        loop {
            // Nobody else may come to it while the other side is waited for.
            if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
                return Poll::Ready(Err(error));
            }
            if self.peer_closed && !self.more {
                return Poll::Ready(Ok(0));
            }
            let mut got = 0;
            let pulled = self.poll_pull(cx, room, &mut |data| {
                got += data.len();
                sink(data);
            });
            ready!(pulled)?;
            if got > 0 {
                return Poll::Ready(Ok(got));
            }
        }
    }

    /// Reads what is there, or takes what is held where that is enough, and processes it.
    pub(super) fn poll_pull(
        &mut self,
        cx: &mut Context<'_>,
        room: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Poll<Result<(), TlsError>> {
        let pulled = scratch::with(|scratch| {
            let buf = &mut scratch.read;
            let have = self.held.len();
            let mut end = have;
            if !self.more {
                let wanted = self.wanted(room).min(buf.len());
                let mut into = ReadBuf::new(buf.get_mut(have..wanted).unwrap_or_default());
                if into.capacity() == 0 {
                    let error = rustls::Error::InvalidMessage(rustls::InvalidMessage::HandshakePayloadTooLarge);
                    return Poll::Ready(Err(error.into()));
                }
                ready!(Pin::new(&mut self.stream).poll_read(cx, &mut into)).map_err(TlsError::Io)?;
                if into.filled().is_empty() {
                    return Poll::Ready(Err(TlsError::Io(cut())));
                }
                end += into.filled().len();
            }
            let buf = buf.get_mut(..end).unwrap_or_default();
            buf.get_mut(..have).unwrap_or_default().copy_from_slice(&self.held);
            let first = self.fresh;
            self.fresh &= end < 5;
            if first && is_http(buf) {
                return Poll::Ready(Err(TlsError::PlainHttp));
            }
            let (plain, mut left) = (&mut self.plain, room);
            let mut split = |data: &[u8]| {
                let (now, later) = data.split_at(data.len().min(left));
                sink(now);
                left -= now.len();
                put(plain, later);
                left > 0
            };
            let pass = self.session.drive(buf, &mut self.out, &mut split, Action::Nothing);
            let rest = buf.get(pass.consumed..).unwrap_or_default();
            self.held.clear();
            put(&mut self.held, rest);
            self.more = !rest.is_empty() && matches!(pass.at, Ok(At::Full));
            Poll::Ready(self.finish(pass).map(drop))
        });
        if let Poll::Ready(Err(TlsError::Tls(_))) = pulled {
            // What is wrong, if the socket takes it: the connection is lost in any case.
            if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
                tracing::debug!(%error, "the other side was gone before it heard of its error");
            }
        }
        pulled
    }

    /// Up to where `held` is to be filled: the end of the record that has begun, or what the reader has room for.
    fn wanted(&self, room: usize) -> usize {
        let record = match self.held[..] {
            [_, _, _, high, low, ..] => 5 + usize::from(u16::from_be_bytes([high, low])),
            _ => 0,
        };
        let least = if self.session.state().is_handshaking() { self.held.len() + READ_LEAST } else { READ_LEAST };
        record.max(room).max(least) + READ_BEYOND
    }

    /// Notes what a pass has come to, and pays for what it has left.
    fn finish(&mut self, pass: Pass) -> Result<Pass, TlsError> {
        self.peer_closed |= pass.peer_closed;
        self.asked = take_asked().or(self.asked.take());
        self.pay(0)?;
        match pass.at {
            Ok(_) => Ok(pass),
            Err(error) => Err(error.into()),
        }
    }

    /// Encrypts and sends as much of `parts` as one write takes: one record, where that is small enough. What it reports as
    /// written is on its way: [`TlsStream::poll_flush`] brings it there.
    pub(crate) fn poll_write_parts(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        // All but the end of a client's handshake has been refused by the socket, and goes first.
        if self.out_at > 0 || self.out.len() > READ_LEAST {
            ready!(self.poll_flush(cx))?;
        }
        let total = parts.iter().map(|part| part.len()).sum::<usize>().min(WRITE_MAX);
        let take = if self.pay(sealed(total)).is_ok() { total } else { total.min(WRITE_LEAST) };
        self.pay(sealed(take))?;
        scratch::with(|scratch| {
            let plain = match parts {
                [first, ..] if first.len() >= take => first.get(..take).unwrap_or_default(),
                _ => {
                    scratch.plain.clear();
                    for part in parts {
                        let room = take - scratch.plain.len();
                        scratch.plain.extend_from_slice(part.get(..room).unwrap_or(part));
                    }
                    &scratch.plain
                }
            };
            let held_back = &mut self.plain;
            let mut keep = |data: &[u8]| {
                put(held_back, data);
                true
            };
            let action = Action::Encrypt(plain, &mut scratch.write);
            let pass = self.session.drive(&mut self.held, &mut self.out, &mut keep, action);
            self.held.drain(..pass.consumed);
            self.more = false;
            let pass = self.finish(pass)?;
            if pass.at != Ok(At::Traffic) {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            }
            let mut made = scratch.write.get(..pass.made).unwrap_or_default();
            if self.out.is_empty()
                && let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write(cx, made)?
            {
                made = made.get(written..).unwrap_or_default();
            }
            put(&mut self.out, made);
            Poll::Ready(self.poll_flush(cx)).map(|flushed| match flushed {
                Poll::Ready(Err(error)) => Err(error),
                Poll::Ready(Ok(())) | Poll::Pending => Ok(take),
            })
        })
    }

    /// Whether the socket has not taken all that was written.
    pub(crate) fn is_unsent(&self) -> bool {
        !self.out.is_empty()
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest @ [_, ..]) = self.out.get(self.out_at..) {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.out_at += written,
            }
        }
        if self.out_at > 0 {
            (self.out, self.out_at) = (Vec::new(), 0);
        }
        // Whoever writes through the traits of tokio tells in no other way that it rests.
        if self.plain.is_empty() {
            self.rest();
        }
        Poll::Ready(Ok(()))
    }

    /// Says to the other side that no more comes, and that nobody has cut it off.
    pub(crate) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.closing, true) {
            let mut alert = [0; 2 * RECORD_OVERHEAD];
            let held_back = &mut self.plain;
            let mut keep = |data: &[u8]| {
                put(held_back, data);
                true
            };
            let pass = self.session.drive(&mut self.held, &mut self.out, &mut keep, Action::Close(&mut alert));
            self.held.drain(..pass.consumed);
            self.more = false;
            let pass = self.finish(pass)?;
            put(&mut self.out, alert.get(..pass.made).unwrap_or_default());
        }
        ready!(self.poll_flush(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Bytes that `plain` ones take when they are encrypted.
const fn sealed(plain: usize) -> usize {
    plain + RECORD_OVERHEAD * (1 + plain / (16 << 10))
}

/// Appends without room to spare: what is counted is what is held.
fn put(to: &mut Vec<u8>, data: &[u8]) {
    to.reserve_exact(data.len());
    to.extend_from_slice(data);
}

/// Source: Go, `crypto/tls` `tlsRecordHeaderLooksLikeHTTP`; DELETE and PATCH are ours.
fn is_http(start: &[u8]) -> bool {
    [b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO", b"DELET", b"PATCH"].iter().any(|verb| start.starts_with(*verb))
}

impl AsyncRead for TlsStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = buf.remaining();
        if room == 0 {
            return Poll::Ready(Ok(()));
        }
        self.poll_read_into(cx, room, |data| buf.put_slice(data)).map_ok(drop)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_parts(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_parts(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        TlsStream::poll_flush(&mut self, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_close(cx)
    }
}
