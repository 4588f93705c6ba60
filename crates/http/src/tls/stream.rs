//! An encrypted connection.

use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustls::{ProtocolVersion, pki_types::CertificateDer, pki_types::ServerName};
use tidegate_base::{Budget, Holder, Lease};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{
    Client, Server, TlsError,
    drive::{Action, At, Pass, Session, cut},
    scratch::{self, RECORD_OVERHEAD, WRITE_MAX},
    server::take_asked,
};

/// What an idle connection holds beside its socket: keys, and the state of `rustls`. The certificates of the other side come
/// on top. Measured: `examples/tls.rs`.
pub const TLS_BYTES: u64 = 4 << 10;
/// What a handshake holds besides, but for parts of messages.
pub(super) const HANDSHAKE_BYTES: u64 = 12 << 10;
/// A write that finds no room for more goes on with this much at a time.
const WRITE_LEAST: usize = 2 << 10;
/// Least that is read at once.
const READ_LEAST: usize = 4 << 10;
/// More is asked for than there is room for, so that a read that empties the socket is short, which tells the reactor so.
const READ_BEYOND: usize = 64;
/// A lease that is larger than need be by this much is shrunk.
const GRACE: u64 = 4 << 10;

/// TLS over a TCP connection, on either side, after [`accept`](super::accept) or a handshake of a client.
pub struct TlsStream {
    stream: TcpStream,
    session: Session,
    /// Records as they came that wait for their end, or for room.
    held: Vec<u8>,
    /// `held` may have a whole record.
    more: bool,
    /// Bytes of a record that was larger than its reader's buffer, from `plain_at` on.
    plain: Vec<u8>,
    plain_at: usize,
    /// Records that the socket has not taken, from `out_at` on.
    out: Vec<u8>,
    out_at: usize,
    /// The host that the client asked for.
    asked: Option<Box<str>>,
    started: bool,
    /// Nothing has been made of what came so far.
    fresh: bool,
    /// The other side has said that no more comes.
    peer_closed: bool,
    /// So have we.
    closing: bool,
    /// What it holds without buffers.
    base: u64,
    /// `None`: the program is a tool and has no budget.
    lease: Option<Lease>,
}

/// What a handshake has come to.
#[derive(Debug, Clone, Copy)]
pub struct TlsInfo<'a> {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// Host that the client asked for, in lower case.
    pub server_name: Option<&'a str>,
    /// Protocol that both sides have agreed on.
    pub alpn: Option<&'a [u8]>,
    /// Certificate of the client in DER, verified, and its chain; empty where none was asked for.
    pub client_certificates: &'a [CertificateDer<'static>],
    /// Whether an earlier session was resumed.
    pub resumed: bool,
}

impl TlsStream {
    /// The server's side, before its handshake.
    pub(super) fn server(
        stream: TcpStream,
        server: &Server,
        budget: &Budget,
        holder: Holder,
    ) -> Result<Box<Self>, TlsError> {
        let lease = budget.try_lease(holder, TLS_BYTES + HANDSHAKE_BYTES).ok_or(TlsError::NoMemory)?;
        Ok(Self::new(stream, Session::server(server.0.clone())?, Some(lease)))
    }

    /// The client's side, before its handshake.
    pub(crate) fn client(
        stream: TcpStream,
        client: &Client,
        name: ServerName<'static>,
        budget: Option<(&Budget, Holder)>,
    ) -> Result<Box<Self>, TlsError> {
        let lease = match budget {
            None => None,
            Some((budget, holder)) => {
                Some(budget.try_lease(holder, TLS_BYTES + HANDSHAKE_BYTES).ok_or(TlsError::NoMemory)?)
            }
        };
        Ok(Self::new(stream, Session::client(client.0.clone(), name)?, lease))
    }

    fn new(stream: TcpStream, session: Session, lease: Option<Lease>) -> Box<Self> {
        Box::new(Self {
            stream,
            session,
            held: Vec::new(),
            more: false,
            plain: Vec::new(),
            plain_at: 0,
            out: Vec::new(),
            out_at: 0,
            asked: None,
            started: false,
            fresh: true,
            peer_closed: false,
            closing: false,
            base: TLS_BYTES + HANDSHAKE_BYTES,
            lease,
        })
    }

    /// Ready when the handshake is done. What a client says last in it may still wait, and leaves with its first write.
    pub(crate) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TlsError>> {
        loop {
            if !self.started {
                self.started = true;
                let pass = self.session.drive(&mut [], &mut self.out, &mut |_| true, Action::Nothing);
                pass.at?;
            }
            if !self.session.state().is_handshaking() {
                self.fresh = false;
                let certificates = self.info().client_certificates.iter().map(|cert| cert.len() as u64);
                self.base = TLS_BYTES + certificates.sum::<u64>();
                self.rest();
                return Poll::Ready(self.pay(0));
            }
            ready!(self.poll_flush(cx))?;
            match ready!(self.poll_pull(cx, 0, &mut |_| ())) {
                Err(TlsError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Err(TlsError::Closed));
                }
                done => done?,
            }
            if self.peer_closed {
                return Poll::Ready(Err(TlsError::Closed));
            }
        }
    }

    pub(crate) const fn socket(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn into_socket(self) -> TcpStream {
        self.stream
    }

    pub fn info(&self) -> TlsInfo<'_> {
        let state = self.session.state();
        let of_client = matches!(self.session, Session::Server(_));
        TlsInfo {
            version: match state.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            },
            server_name: self.asked.as_deref(),
            alpn: state.alpn_protocol(),
            client_certificates: state.peer_certificates().filter(|_| of_client).unwrap_or_default(),
            resumed: state.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        }
    }

    /// What the other side has shown.
    #[cfg(test)]
    pub(super) fn session_certificates(&self) -> &[CertificateDer<'static>] {
        self.session.state().peer_certificates().unwrap_or_default()
    }

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
    fn poll_pull(
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
            // What is wrong, if the socket takes it.
            let _: Poll<io::Result<()>> = self.poll_flush(cx);
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

    /// Gives memory and bytes back that it does not need now: it rests, or a request has ended.
    pub(crate) fn rest(&mut self) {
        if self.held.is_empty() {
            self.held = Vec::new();
        }
        let needed = self.base + self.buffers();
        if let Some(lease) = &mut self.lease
            && lease.bytes() > needed + GRACE
        {
            lease.shrink_to(needed);
        }
    }

    fn buffers(&self) -> u64 {
        (self.held.capacity() + self.plain.capacity() + self.out.capacity()) as u64
    }

    /// Pays for what it holds and `more` bytes.
    fn pay(&mut self, more: usize) -> Result<(), TlsError> {
        let needed = self.base + self.buffers() + more as u64;
        match &mut self.lease {
            Some(lease) if lease.bytes() < needed => {
                let missing = needed - lease.bytes();
                if lease.try_grow(missing) { Ok(()) } else { Err(TlsError::NoMemory) }
            }
            _ => Ok(()),
        }
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

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("stream", &self.stream).field("info", &self.info()).finish_non_exhaustive()
    }
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
