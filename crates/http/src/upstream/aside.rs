//! Calls of the gateway's own, without a client behind them: copies of requests and health checks.

use std::{future::poll_fn, rc::Rc, task::Poll};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, header};
use tidegate_base::clock;
use tokio::{net::TcpStream, time::timeout_at};

use super::{
    Answer, ClientError, Outgoing, Pools, Protocol, SendError, Stream,
    client::{Keep, Told, io, read_body, talk},
    pool::Conn,
    send::{Line, encode},
    shared::{self, Shared},
    upload::Upload,
};
use crate::{
    h1::Socket,
    message::{Headers, Known, Length, Method, RequestHead},
    tls::{HANDSHAKE_TIMEOUT, TlsError},
};

/// Most bytes that a call holds beside its body, twice its head (once as it is, once encoded) and what it keeps of the
/// answer's body: a head on its way in, and what is read behind it.
pub const ASIDE_BYTES: u64 = 32 << 10;

/// Sends `head` and `body` and reads the answer, of whose body the first `keep` bytes are given back. A kept connection is
/// used and kept again. Over HTTP/2 the trailers are among the answer's headers. Cancel safe: the connection then closes. What it holds is to be leased by
/// the caller.
///
/// # Errors
/// [`ClientError`]; among them, that the answer is longer than `out` allows.
pub async fn ask(
    pools: &Rc<Pools>,
    out: &Outgoing<'_>,
    head: &RequestHead,
    body: Bytes,
    keep: usize,
) -> Result<Answer, ClientError> {
    let work = exchange(pools, out, head, body, keep);
    match out.deadline {
        Some(deadline) => timeout_at(deadline.into(), work).await.map_err(|_| ClientError::Deadline)?,
        None => work.await,
    }
}

async fn exchange(
    pools: &Rc<Pools>,
    out: &Outgoing<'_>,
    head: &RequestHead,
    body: Bytes,
    keep: usize,
) -> Result<Answer, ClientError> {
    let length = Length::Known(body.len() as u64);
    let limit = out.answer_bytes_max.unwrap_or(u64::MAX);
    let mut fresh = false;
    loop {
        let line = obtain(pools, out, fresh).await?;
        let reused = line.is_used();
        let answer = match line {
            Line::Own(mut conn, _) => {
                let mut tx = BytesMut::new();
                encode(&mut tx, head, out, length, false);
                let told = talk(&mut conn.socket, tx, body.clone(), head.method, Keep::Start(keep, limit)).await;
                told.map(|Told { answer, reusable }| {
                    if reusable {
                        pools.put(out.number, conn);
                    }
                    answer
                })
            }
            Line::Shared(shared) => {
                let mut request = shared::request(head, out, length)?;
                // Of a connection, but the one thing that a server of HTTP/2 is told by it: calls of gRPC need it.
                if head.headers.get(Known::Te) == Some(b"trailers") {
                    request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
                }
                let (stream, _paid) = shared.open(request, length, pools.account())?;
                call(stream, body.clone(), head.method, Keep::Start(keep, limit)).await
            }
        };
        match answer {
            // The other side may have closed it at this very moment.
            Err(ClientError::NoAnswer | ClientError::Io { .. } | ClientError::Call(SendError::NoAnswer))
                if reused && !fresh && head.method.is_idempotent() =>
            {
                fresh = true;
            }
            answer => return answer,
        }
    }
}

/// As for requests of clients.
async fn obtain(pools: &Rc<Pools>, out: &Outgoing<'_>, fresh: bool) -> Result<Line, ClientError> {
    let protocol = out.endpoint.protocol_of(false);
    let slot = if protocol == Protocol::Http1 { None } else { pools.slot(out.number) };
    let connecting = loop {
        let Some(slot) = &slot else { break None };
        if let Some(shared) = slot.pick().filter(|shared| !(fresh && shared.is_used())) {
            return Ok(Line::Shared(shared));
        }
        match slot.begin() {
            Some(connecting) => break Some(connecting),
            None => slot.changed().await,
        }
    };
    if protocol != Protocol::Http2
        && !fresh
        && let Some(conn) = pools.take(out.number)
    {
        return Ok(Line::Own(conn, true));
    }
    let Conn { socket, paid } = connect(pools, out, protocol).await?;
    if shared::spoken(&socket, protocol)? {
        let shared = Shared::start(socket, paid).await?;
        if let Some(connecting) = connecting {
            connecting.made(&shared);
        }
        return Ok(Line::Shared(shared));
    }
    if let Some(connecting) = connecting {
        connecting.is_old(true);
    }
    let socket = socket.settle().map_err(io("connect"))?;
    Ok(Line::Own(Conn { socket, paid }, false))
}

async fn connect(pools: &Rc<Pools>, out: &Outgoing<'_>, protocol: Protocol) -> Result<Conn, ClientError> {
    let paid = pools.pay().ok_or(ClientError::NoMemory)?;
    let addresses = out.endpoint.addresses();
    let stream = TcpStream::connect(&addresses[..]).await;
    let stream = stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream)).map_err(io("connect"))?;
    let mut socket = pools.secure(out.endpoint, stream, protocol)?;
    if let Socket::Tls(tls) = &mut socket {
        let until = clock::now() + HANDSHAKE_TIMEOUT;
        timeout_at(until.into(), poll_fn(|cx| tls.poll_handshake(cx))).await.unwrap_or(Err(TlsError::Timeout))?;
    }
    Ok(Conn { socket, paid })
}

/// A call on a shared connection, to the end of its answer.
async fn call(stream: Stream, body: Bytes, method: Method, keep: Keep) -> Result<Answer, ClientError> {
    let mut socket = Socket::Shared(Box::new(stream));
    let (mut sent, mut headers) = (false, Headers::new());
    let mut upload = Upload::Whole { head: BytesMut::new(), body };
    // An answer may come before the request was taken whole.
    let head = poll_fn(|cx| {
        if !sent {
            sent = upload.poll_whole(cx, &mut socket).is_ready();
        }
        match &mut socket {
            Socket::Shared(stream) => stream.poll_answer(cx, method, &mut headers),
            _ => Poll::Ready(Err(SendError::NoAnswer)),
        }
    });
    let head = head.await?;
    let (body, _) = read_body(&mut socket, &mut BytesMut::new(), head.decoder, keep).await?;
    if let Socket::Shared(stream) = &mut socket {
        stream.add_trailers(&mut headers);
    }
    Ok(Answer { status: head.status, headers, body })
}
