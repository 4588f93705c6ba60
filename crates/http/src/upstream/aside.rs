//! Calls of the gateway's own, without a client behind them: copies of requests and health checks.

use std::{future::poll_fn, rc::Rc};

use bytes::{Bytes, BytesMut};
use tidegate_base::clock;
use tokio::{net::TcpStream, time::timeout_at};

use super::{
    Answer, ClientError, Outgoing, Pools,
    client::{Keep, Told, talk},
    pool::Conn,
    send::encode,
};
use crate::{
    h1::Socket,
    message::{Length, RequestHead},
    tls::{HANDSHAKE_TIMEOUT, TlsError},
};

/// Most bytes that a call holds beside its body, twice its head (once as it is, once encoded) and what it keeps of the
/// answer's body: a head on its way in, and what is read behind it.
pub const ASIDE_BYTES: u64 = 32 << 10;

/// Sends `head` and `body` and reads the answer, of whose body the first `keep` bytes are given back. A kept connection is
/// used and kept again. Cancel safe: the connection then closes. What it holds is to be leased by
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
    let mut kept = pools.take(out.number);
    loop {
        let reused = kept.is_some();
        let mut conn = match kept.take() {
            Some(conn) => conn,
            None => connect(pools, out).await?,
        };
        let mut tx = BytesMut::new();
        encode(&mut tx, head, out, Length::Known(body.len() as u64), false);
        let limit = out.answer_bytes_max.unwrap_or(u64::MAX);
        match talk(&mut conn.socket, tx, body.clone(), head.method, Keep::Start(keep, limit)).await {
            Ok(Told { answer, reusable }) => {
                if reusable {
                    pools.put(out.number, conn);
                }
                return Ok(answer);
            }
            // The other side may have closed it at this very moment.
            Err(ClientError::NoAnswer | ClientError::Io { .. }) if reused && head.method.is_idempotent() => {}
            Err(error) => return Err(error),
        }
    }
}

async fn connect(pools: &Rc<Pools>, out: &Outgoing<'_>) -> Result<Conn, ClientError> {
    let paid = pools.pay().ok_or(ClientError::NoMemory)?;
    let addresses = out.endpoint.addresses();
    let stream = TcpStream::connect(&addresses[..]).await;
    let stream = stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
    let stream = stream.map_err(|source| ClientError::Io { action: "connect", source })?;
    let mut socket = pools.secure(out.endpoint, stream)?;
    if let Socket::Tls(tls) = &mut socket {
        let until = clock::now() + HANDSHAKE_TIMEOUT;
        timeout_at(until.into(), poll_fn(|cx| tls.poll_handshake(cx))).await.unwrap_or(Err(TlsError::Timeout))?;
    }
    let socket = socket.settle().map_err(|source| ClientError::Io { action: "connect", source })?;
    Ok(Conn { socket, paid })
}
