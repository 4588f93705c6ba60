//! Sends a request to an upstream and waits for the head of the answer.

use std::{
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes, BytesMut};
use tidegate_base::clock;
use tokio::net::TcpStream;

use super::{
    call::Call,
    endpoint::{Endpoint, Protocol},
    pool::{Conn, Pools},
    shared::{self, Shared},
    upload::{Upload, UploadError},
};
use crate::{
    h1::{
        BUFFER_KEPT, Buffer, Decoder, Downstream, Exchange, Framing, HeadError, HeadLimits, Relay, Scanned, Scanner,
        Socket, Streamed, hop_by_hop, is_websocket, parse_response, put_decimal, wants_websocket,
    },
    message::{Body, BodyError, Headers, Known, Length, Method, RequestHead, Response},
    tls::{HANDSHAKE_TIMEOUT, TlsError},
};

/// Until a connection is made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the answer to a client that has closed its side is waited for. It may only have sent all it had to say.
const HALF_CLOSED_MAX: Duration = Duration::from_secs(60);
/// How often a call goes out again that a server has not begun.
const REFUSALS_MAX: usize = 2;
/// Interim answers (1xx) in front of one answer.
pub(super) const INTERIM_MAX: usize = 16;
/// Up to this many bytes, a body is waited for whole before its answer is passed on.
const WHOLE_MAX: u64 = 8 << 10;
/// An upstream's head may be larger than a client's: it is ours.
pub(super) const HEAD: HeadLimits = HeadLimits { bytes_max: 32 << 10, headers_max: 200 };

/// How a request goes out.
pub struct Outgoing<'a> {
    pub endpoint: &'a Endpoint,
    /// Number of the endpoint in its pools.
    pub number: usize,
    /// The `Host` header; `None`: the client's.
    pub host: Option<&'a str>,
    /// By when the whole answer must have come.
    pub deadline: Option<Instant>,
    /// Most bytes of the answer's body; `None`: no limit, and its head is passed on at once. Else the beginning of its body is waited
    /// for, and all of one that is announced with up to 8 KiB, unless the request is still on its way.
    pub answer_bytes_max: Option<u64>,
}

/// Why there is no answer. The client has been sent nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("the server's name is not resolved")]
    NoAddress,
    #[error("cannot connect: {0:?}")]
    Connect(std::io::ErrorKind),
    /// The log has the reason, at the level of debugging.
    #[error("no TLS connection could be made with the server")]
    Tls,
    /// It closed, or reset, before an answer came.
    #[error("the server closed the connection without an answer")]
    NoAnswer,
    /// The head of an answer has come, and not the beginning of its body, or not all of a small one.
    #[error("the server closed the connection behind the head of its answer")]
    Cut,
    #[error("the server's answer is malformed: {0}")]
    BadAnswer(#[from] HeadError),
    #[error("the deadline has passed")]
    Timeout,
    #[error("the client closed the connection")]
    ClientGone,
    #[error("the request's body cannot be read: {0}")]
    ClientBody(BodyError),
    #[error("tunnels are not made")]
    Tunnel,
    #[error("the request's body went to another server and was not kept")]
    BodyGone,
    #[error("the answer is larger than the limit")]
    TooLarge,
    #[error("no memory is free for the answer")]
    NoMemory,
    #[error("HTTP/2 cannot say the request's {0}")]
    Unsayable(&'static str),
}

/// Sends the request of `exchange` on a kept connection, or a new one, and waits for the head of the answer; its body stays
/// in the response and is read when that is sent.
///
/// A kept connection may have been closed by the other side at this very moment: when not a byte of the answer came, the
/// method is idempotent and no byte of a streamed body was taken, the request is sent once more on a new connection.
///
/// # Errors
/// [`SendError`].
pub async fn send(pools: &Rc<Pools>, out: &Outgoing<'_>, exchange: &mut Exchange) -> Result<Response, SendError> {
    let inner = &mut *exchange.inner;
    // A tunnel would go into the pool as a connection like others, and the next client's request into the tunnel.
    if inner.head.method == Method::Connect {
        return Err(SendError::Tunnel);
    }
    if inner.down.streamed != Streamed::Not {
        return Err(SendError::BodyGone);
    }
    let length = match (&inner.buffered, inner.down.decoder) {
        (Some((bytes, _)), _) => Length::Known(bytes.len() as u64),
        (None, Decoder::Done) => Length::Known(0),
        (None, Decoder::Length(bytes)) => Length::Known(bytes),
        (None, _) => Length::Unknown,
    };
    let whole = inner.buffered.is_some() || length == Length::Known(0);
    let may_repeat = inner.head.method.is_idempotent() && whole;
    let websocket = length == Length::Known(0) && wants_websocket(&inner.head, &inner.down);
    let (mut fresh, mut refusals) = (false, 0);
    loop {
        let line = obtain(pools, out, &mut inner.down, fresh, websocket).await?;
        let reused = line.is_used();
        let mut tx = std::mem::take(&mut inner.tx);
        tx.clear();
        let Conn { mut socket, paid } = match line {
            Line::Own(conn, _) => {
                encode(&mut tx, &inner.head, out, length, websocket);
                conn
            }
            Line::Shared(shared) => {
                let head = shared::request(&inner.head, out, length)?;
                match shared.open(head, length, pools.account()) {
                    Ok((stream, paid)) => Conn { socket: Socket::Shared(Box::new(stream)), paid },
                    // It has ended just now, and nothing was sent.
                    Err(SendError::NoAnswer) if refusals < REFUSALS_MAX => {
                        refusals += 1;
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        let mut upload = if whole {
            let body = inner.buffered.as_ref().map(|(bytes, _)| bytes.clone()).unwrap_or_default();
            Upload::Whole { head: tx, body }
        } else {
            let chunked = length == Length::Unknown && !matches!(socket, Socket::Shared(_));
            inner.down.streamed = Streamed::Partly;
            Upload::Stream(Relay::to(tx, if chunked { Framing::Chunked } else { Framing::Plain }, &socket))
        };
        let mut rx = std::mem::take(&mut inner.up_rx);
        rx.bytes.clear();
        let spare = std::mem::take(&mut inner.spare);
        let (method, scanner) = (inner.head.method, Scanner::default());
        let mut answer = Waiting { out, method, scanner, interim: 0, touched: false, websocket, spare };
        let got = answer.head(&mut inner.down, &mut socket, &mut upload, &mut rx).await;
        match got {
            Ok((head, headers)) => {
                if let (Some(limit), Some(length)) = (out.answer_bytes_max, head.length)
                    && length > limit
                    && !head.decoder.is_done()
                {
                    return Err(SendError::TooLarge);
                }
                let tunnel = head.status == 101;
                let waits = out.answer_bytes_max.is_some() && !tunnel && upload.is_done();
                if waits && !head.decoder.is_done() {
                    answer.body(&mut inner.down, &mut socket, &mut upload, &mut rx, head.decoder).await?;
                }
                let call = Call {
                    socket,
                    paid,
                    rx,
                    decoder: head.decoder,
                    upload,
                    keep_alive: head.keep_alive && !tunnel,
                    tunnel,
                    deadline: out.deadline.filter(|_| !tunnel),
                    limit: out.answer_bytes_max.unwrap_or(u64::MAX),
                    received: 0,
                    pools: Rc::clone(pools),
                    endpoint: out.number,
                };
                return Ok(Response { status: head.status, headers, body: Body::Upstream(Box::new(call)) });
            }
            Err(SendError::NoAnswer) if whole && refusals < REFUSALS_MAX && was_refused(&socket) => {
                refusals += 1;
                inner.tx = upload.into_buffer();
                inner.up_rx = rx;
            }
            Err(SendError::NoAnswer) if reused && may_repeat && !answer.touched => {
                fresh = true;
                inner.tx = upload.into_buffer();
                inner.up_rx = rx;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether the server has said that it did nothing for the call.
fn was_refused(socket: &Socket) -> bool {
    matches!(socket, Socket::Shared(stream) if stream.was_refused())
}

/// What a request goes out on.
pub(super) enum Line {
    /// A connection of its own, and whether it was used before.
    Own(Conn, bool),
    Shared(Rc<Shared>),
}

impl Line {
    pub(super) fn is_used(&self) -> bool {
        match self {
            Line::Own(_, used) => *used,
            Line::Shared(shared) => shared.is_used(),
        }
    }
}

/// A kept connection, unless it is to be a `fresh` one, or a new one.
async fn obtain(
    pools: &Rc<Pools>,
    out: &Outgoing<'_>,
    down: &mut Downstream,
    fresh: bool,
    websocket: bool,
) -> Result<Line, SendError> {
    let protocol = out.endpoint.protocol_of(websocket);
    let slot = if protocol == Protocol::Http1 { None } else { pools.slot(out.number) };
    let Some(slot) = slot else {
        if let Some(conn) = pools.take(out.number).filter(|_| !fresh) {
            return Ok(Line::Own(conn, true));
        }
        let paid = pools.pay().ok_or(SendError::NoMemory)?;
        let socket = connect(pools, out, down, Protocol::Http1).await?;
        return Ok(Line::Own(Conn { socket: socket.settle().map_err(lost)?, paid }, false));
    };
    let until = out.deadline.unwrap_or_else(|| clock::now() + CONNECT_TIMEOUT);
    let connecting = loop {
        if let Some(shared) = slot.pick().filter(|shared| !(fresh && shared.is_used())) {
            return Ok(Line::Shared(shared));
        }
        if protocol == Protocol::Auto
            && let Some(conn) = pools.take(out.number).filter(|_| !fresh)
        {
            return Ok(Line::Own(conn, true));
        }
        match slot.begin() {
            Some(connecting) => break connecting,
            None => shared::by(slot.changed(), |cx| late(down, cx, until)).await?,
        }
    };
    let paid = pools.pay().ok_or(SendError::NoMemory)?;
    let socket = connect(pools, out, down, protocol).await?;
    let is_new = shared::spoken(&socket, protocol)?;
    connecting.is_old(!is_new);
    if !is_new {
        return Ok(Line::Own(Conn { socket: socket.settle().map_err(lost)?, paid }, false));
    }
    let shared = shared::by(Shared::start(socket, paid), |cx| late(down, cx, until)).await??;
    tracing::debug!(server = out.endpoint.authority(), "HTTP/2 with a server");
    connecting.made(&shared);
    Ok(Line::Shared(shared))
}

fn late(down: &mut Downstream, cx: &mut Context<'_>, until: Instant) -> Poll<SendError> {
    if down.poll_gone(cx).is_ready() {
        return Poll::Ready(SendError::ClientGone);
    }
    down.timer.poll(cx, until).map(|()| SendError::Timeout)
}

fn lost(error: std::io::Error) -> SendError {
    SendError::Connect(error.kind())
}

async fn connect(
    pools: &Pools,
    out: &Outgoing<'_>,
    down: &mut Downstream,
    protocol: Protocol,
) -> Result<Socket, SendError> {
    let addresses = out.endpoint.addresses();
    let (mut last, until) = (SendError::NoAddress, clock::now() + CONNECT_TIMEOUT);
    let until = out.deadline.map_or(until, |deadline| deadline.min(until));
    for (index, address) in addresses.iter().enumerate() {
        // Each address has its part of the time that is left, so that one which swallows everything does not hide the others.
        let left = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let now = clock::now();
        let until = now + until.saturating_duration_since(now) / left;
        let mut connecting = std::pin::pin!(TcpStream::connect(*address));
        let made = poll_fn(|cx| match connecting.as_mut().poll(cx) {
            Poll::Ready(made) => Poll::Ready(Some(made)),
            Poll::Pending => down.timer.poll(cx, until).map(|()| None),
        });
        match made.await {
            Some(Ok(stream)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    last = SendError::Connect(error.kind());
                    continue;
                }
                return handshake(pools, out, stream, down, protocol).await;
            }
            Some(Err(error)) => last = SendError::Connect(error.kind()),
            None if out.deadline.is_some_and(|deadline| deadline <= until) => return Err(SendError::Timeout),
            None => last = SendError::Connect(std::io::ErrorKind::TimedOut),
        }
    }
    Err(last)
}

/// Makes TLS of a connection where the endpoint wants it. The other addresses are not tried: they are the same server's.
async fn handshake(
    pools: &Pools,
    out: &Outgoing<'_>,
    stream: TcpStream,
    down: &mut Downstream,
    protocol: Protocol,
) -> Result<Socket, SendError> {
    let limit = clock::now() + HANDSHAKE_TIMEOUT;
    let until = out.deadline.map_or(limit, |deadline| deadline.min(limit));
    let made = match pools.secure(out.endpoint, stream, protocol) {
        Ok(Socket::Tls(mut tls)) => {
            let done = poll_fn(|cx| match tls.poll_handshake(cx) {
                Poll::Ready(done) => Poll::Ready(done),
                Poll::Pending => down.timer.poll(cx, until).map(|()| Err(TlsError::Timeout)),
            });
            done.await.map(|()| Socket::Tls(tls))
        }
        made => made,
    };
    made.map_err(|error| {
        tracing::debug!(server = out.endpoint.authority(), %error, "no TLS connection with a server");
        match error {
            TlsError::NoMemory => SendError::NoMemory,
            TlsError::Timeout if until < limit => SendError::Timeout,
            _ => SendError::Tls,
        }
    })
}

/// `websocket`: the request's `Upgrade` goes with it.
pub(super) fn encode(tx: &mut BytesMut, head: &RequestHead, out: &Outgoing<'_>, length: Length, websocket: bool) {
    tx.reserve(128 + head.headers.raw().len() + out.endpoint.base().len());
    tx.extend_from_slice(head.method_text());
    tx.extend_from_slice(b" ");
    // `*` asks about the server as a whole and has no place below a path.
    if head.path() != b"*" {
        tx.extend_from_slice(out.endpoint.base().as_bytes());
    }
    tx.extend_from_slice(head.path());
    if !head.query().is_empty() {
        tx.extend_from_slice(b"?");
        tx.extend_from_slice(head.query());
    }
    tx.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    match out.host {
        Some(host) => tx.extend_from_slice(host.as_bytes()),
        None if head.authority().is_empty() => tx.extend_from_slice(out.endpoint.authority().as_bytes()),
        None => tx.extend_from_slice(head.authority()),
    }
    tx.extend_from_slice(b"\r\n");
    let nominated = head.headers.get(Known::Connection).is_some();
    head.headers.write(tx, |known, name| {
        // We answer `Expect` ourselves; length and coding follow from how we send.
        let ours = matches!(known, Known::Host | Known::ContentLength | Known::Expect) || known.is_hop_by_hop();
        !(ours || nominated && hop_by_hop(&head.headers, known, name))
    });
    match length {
        // A body that is empty is announced where one is usual, or was announced.
        Length::Known(0) if head.headers.get(Known::ContentLength).is_none() && !wants_length(head.method) => {}
        Length::Known(bytes) => {
            tx.extend_from_slice(b"Content-Length: ");
            put_decimal(tx, bytes);
            tx.extend_from_slice(b"\r\n");
        }
        Length::Unknown => tx.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    if websocket {
        tx.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
    }
    tx.extend_from_slice(b"\r\n");
}

pub(super) const fn wants_length(method: Method) -> bool {
    matches!(method, Method::Post | Method::Put | Method::Patch)
}

struct Waiting<'a> {
    out: &'a Outgoing<'a>,
    method: Method,
    scanner: Scanner,
    interim: usize,
    /// Something came from the upstream.
    touched: bool,
    /// It was asked for a WebSocket.
    websocket: bool,
    /// A used list for the headers.
    spare: Headers,
}

impl Waiting<'_> {
    /// Sends and receives until the head of the final answer is there.
    async fn head(
        &mut self,
        down: &mut Downstream,
        socket: &mut Socket,
        upload: &mut Upload,
        rx: &mut Buffer,
    ) -> Result<(crate::h1::ResponseHead, Headers), SendError> {
        self.until(down, socket, upload, rx, Self::poll_answer).await
    }

    /// Goes on until the beginning of the body is there, or all of a small one; where there is no memory for it, it goes on its way
    /// as it comes.
    async fn body(
        &mut self,
        down: &mut Downstream,
        socket: &mut Socket,
        upload: &mut Upload,
        rx: &mut Buffer,
        decoder: Decoder,
    ) -> Result<(), SendError> {
        let wanted = match decoder {
            Decoder::Length(bytes) if bytes <= WHOLE_MAX => bytes,
            _ => 1,
        };
        if rx.bytes.len() as u64 >= wanted {
            return Ok(());
        }
        self.until(down, socket, upload, rx, |_, cx, down, socket, rx| {
            loop {
                let missing = wanted.saturating_sub(rx.bytes.len() as u64);
                if missing == 0 || !rx.room_for(missing, BUFFER_KEPT, down.lease.as_mut()) {
                    return Poll::Ready(Ok(()));
                }
                if let Ok(0) | Err(_) = ready!(rx.poll_read(cx, socket)) {
                    // The end is met again by who passes the body on.
                    return Poll::Ready(if decoder == Decoder::UntilClose { Ok(()) } else { Err(SendError::Cut) });
                }
            }
        })
        .await
    }

    /// Goes on with both ways until `poll` is ready, the client is gone or it takes too long.
    async fn until<T>(
        &mut self,
        down: &mut Downstream,
        socket: &mut Socket,
        upload: &mut Upload,
        rx: &mut Buffer,
        mut poll: impl FnMut(
            &mut Self,
            &mut Context<'_>,
            &mut Downstream,
            &mut Socket,
            &mut Buffer,
        ) -> Poll<Result<T, SendError>>,
    ) -> Result<T, SendError> {
        let mut half_closed: Option<Instant> = None;
        poll_fn(|cx| {
            if !upload.is_done() {
                match upload.poll(cx, down, socket) {
                    Poll::Ready(Err(UploadError::Body(error))) => {
                        return Poll::Ready(Err(SendError::ClientBody(error)));
                    }
                    // It may have answered before it closed: what it said is read first.
                    Poll::Ready(Err(UploadError::Upstream)) => upload.give_up(),
                    Poll::Ready(Ok(())) | Poll::Pending => {}
                }
            }
            if let Poll::Ready(done) = poll(self, cx, down, socket, rx) {
                return Poll::Ready(done);
            }
            if upload.is_done() && down.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(SendError::ClientGone));
            }
            let mut until = self.out.deadline;
            if down.closed {
                let limit = *half_closed.get_or_insert_with(|| clock::now() + HALF_CLOSED_MAX);
                until = Some(until.map_or(limit, |until| until.min(limit)));
            }
            match until {
                Some(until) => down.timer.poll(cx, until).map(|()| {
                    let gone = half_closed.is_some_and(|limit| limit <= until);
                    Err(if gone { SendError::ClientGone } else { SendError::Timeout })
                }),
                None => Poll::Pending,
            }
        })
        .await
    }

    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        down: &mut Downstream,
        socket: &mut Socket,
        rx: &mut Buffer,
    ) -> Poll<Result<(crate::h1::ResponseHead, Headers), SendError>> {
        if let Socket::Shared(stream) = socket {
            let mut headers = std::mem::take(&mut self.spare);
            let polled = stream.poll_answer(cx, self.method, &mut headers);
            return polled.map_ok(|head| (head, headers));
        }
        loop {
            if !rx.bytes.is_empty()
                && let Scanned::Head { start, end } = self.scanner.scan(&rx.bytes, HEAD)?
            {
                let mut headers = std::mem::take(&mut self.spare);
                let head = parse_response(rx.bytes.get(start..end).unwrap_or_default(), self.method, &mut headers)?;
                rx.bytes.advance(end);
                match head.status {
                    101 if self.websocket && is_websocket(&headers) => return Poll::Ready(Ok((head, headers))),
                    // Nobody asked for another protocol.
                    101 => return Poll::Ready(Err(HeadError::Malformed("a protocol switch nobody asked for").into())),
                    100..=199 if self.interim < INTERIM_MAX => {
                        self.interim += 1;
                        self.scanner = Scanner::default();
                        continue;
                    }
                    100..=199 => return Poll::Ready(Err(HeadError::Malformed("too many interim answers").into())),
                    _ => return Poll::Ready(Ok((head, headers))),
                }
            }
            if !rx.room(HEAD.bytes_max + 1, down.lease.as_mut()) {
                return Poll::Ready(Err(SendError::NoMemory));
            }
            match rx.poll_read(cx, socket) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(SendError::NoAnswer)),
                Poll::Ready(Ok(_)) => self.touched = true,
            }
        }
    }
}

/// A request without a client behind it: head and body in one.
pub(crate) fn encode_whole(tx: &mut BytesMut, head: &RequestHead, endpoint: &Endpoint, body: &Bytes) {
    let out =
        Outgoing { endpoint, number: 0, host: Some(endpoint.authority()), deadline: None, answer_bytes_max: None };
    encode(tx, head, &out, Length::Known(body.len() as u64), false);
}
