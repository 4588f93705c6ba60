//! Sends a response, with its framing, and decides whether the connection lives on.

use std::{
    future::poll_fn,
    io::IoSlice,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes, BytesMut};
use tidegate_base::clock;

use super::{
    downstream::{Downstream, Expect, Streamed},
    encode::{self, Announce},
    exchange::{Exchange, Inner},
    framing::Decoder,
    relay::{Framing, Loaded, Relay, put_hex},
    shared::Stats,
    socket::Socket,
    tunnel,
};
use crate::{
    message::{Body, BodyError, Known, Length, Pieces, Response, Version, text},
    upstream::Call,
};

/// The client went away, or its answer had to be cut short. The connection is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer could not be sent to its end")]
pub struct Lost;

/// What of a request's body is read and dropped so that its connection can be kept.
pub(crate) const DRAIN_BYTES_MAX: u64 = 64 << 10;

/// Largest header list that is kept for the next answer.
const SPARE_BYTES_MAX: usize = 4 << 10;

/// Longest pause in what an upstream sends, where no deadline says less.
pub(crate) const UPSTREAM_PAUSE_MAX: Duration = Duration::from_secs(300);

impl Exchange {
    /// Answers the request. Once, and before [`Service::handle`](super::Service::handle) gives the exchange back; else the
    /// client gets a 500.
    ///
    /// Cancel safe only in that the connection then closes.
    ///
    /// # Errors
    /// [`Lost`]; there is nothing left to do but to end.
    pub async fn respond(&mut self, response: Response) -> Result<(), Lost> {
        let inner = &mut *self.inner;
        debug_assert!(!inner.answered, "a request has one answer");
        inner.answered = true;
        let mut sent = send(inner, response).await;
        if let Socket::Substream(stream) = &inner.down.socket {
            // A stream says itself where its answer ends, so it is never in doubt that one was cut.
            sent = sent.and_then(|()| stream.finish().map_err(|_| Lost));
            inner.cut = true;
        }
        inner.keep_alive &= sent.is_ok();
        inner.cut &= sent.is_err();
        sent
    }
}

async fn send(inner: &mut Inner, mut response: Response) -> Result<(), Lost> {
    if response.status == 101 {
        response.body = match response.body {
            // Boxed, so that other requests do not hold the room of its future.
            Body::Upstream(mut call) if call.tunnel => {
                return Box::pin(tunnel::run(inner, response.headers, &mut call)).await;
            }
            other => other,
        };
    }
    if !(200..=599).contains(&response.status) {
        response.status = 500;
    }
    let uploading = matches!(&response.body, Body::Upstream(call) if !call.upload.is_done());
    inner.keep_alive &= may_keep(inner, uploading);
    let old = inner.head.version == Version::Http10;
    let bodyless = inner.head_only || matches!(response.status, 204 | 304);
    let announce = match (response.body.length(), bodyless) {
        (_, true) => announce_bodyless(&response),
        (Length::Known(bytes), false) => Announce::Length(bytes),
        (Length::Unknown, false) if old => Announce::Nothing,
        (Length::Unknown, false) => Announce::Chunked,
    };
    // Without a length an answer to an old client ends with the connection.
    inner.keep_alive &= bodyless || announce != Announce::Nothing;
    // And should it break off, an orderly close would make a whole one of it.
    inner.cut = !bodyless && announce == Announce::Nothing;
    // The upstream was asked for more than the client: what it sends goes with its connection.
    if bodyless && matches!(&response.body, Body::Upstream(call) if call.length() != Length::Known(0)) {
        response.body = Body::Empty;
    }
    let connection = match (inner.keep_alive, old) {
        (false, _) => Some("close"),
        (true, true) => Some("keep-alive"),
        (true, false) => None,
    };
    let mut tx = std::mem::take(&mut inner.tx);
    tx.clear();
    let over_stream = matches!(inner.down.socket, Socket::Substream(_));
    if let Socket::Substream(stream) = &inner.down.socket {
        let length = if bodyless { Length::Known(0) } else { response.body.length() };
        let sent = stream.send_head(&response, announce.length(), length);
        inner.down.written += sent.map_err(|_| Lost)?;
    } else {
        encode::response(&mut tx, &response, announce, connection);
    }
    let headers = std::mem::take(&mut response.headers);
    if headers.allocated() <= SPARE_BYTES_MAX {
        inner.spare = headers;
    }
    let framing = if announce == Announce::Chunked && !over_stream { Framing::Chunked } else { Framing::Plain };
    match response.body {
        Body::Upstream(mut call) => {
            let mut relay = Relay::to(tx, framing, &inner.down.socket);
            let sent = relay_answer(&mut inner.down, &mut relay, &mut call).await;
            inner.down.written += relay.written;
            inner.tx = relay.pre;
            inner.up_rx = call.finish();
            // The answer was complete before the upload was.
            let down = &inner.down;
            inner.keep_alive &= rest_is_small(down) && !down.broken && down.streamed != Streamed::Partly;
            sent
        }
        _ if bodyless => write_all(inner, tx, Bytes::new()).await,
        Body::Empty => write_all(inner, tx, Bytes::new()).await,
        Body::Full(bytes) => write_all(inner, tx, bytes).await,
        Body::Leased(bytes, _lease) => write_all(inner, tx, bytes).await,
        Body::Chunks(mut chunks) => {
            write_all(inner, tx, Bytes::new()).await?;
            while let Some(chunk) = next_chunk(&mut inner.down, &mut chunks).await {
                let chunk = chunk.map_err(|_| Lost)?;
                if chunk.is_empty() {
                    continue;
                }
                let mut size = std::mem::take(&mut inner.tx);
                if framing == Framing::Chunked {
                    put_hex(&mut size, chunk.len());
                }
                write_all(inner, size, chunk).await?;
                if framing == Framing::Chunked {
                    inner.tx.extend_from_slice(b"\r\n");
                }
            }
            if framing == Framing::Chunked {
                inner.tx.extend_from_slice(b"0\r\n\r\n");
            }
            let end = std::mem::take(&mut inner.tx);
            write_all(inner, end, Bytes::new()).await
        }
    }
}

/// The next piece; an error as soon as the client is gone, who may have waited for a piece that does not come.
async fn next_chunk(down: &mut Downstream, chunks: &mut Pieces) -> Option<Result<Bytes, BodyError>> {
    poll_fn(|cx| match Body::poll_chunk(chunks, cx) {
        Poll::Pending if down.poll_gone(cx).is_ready() => Poll::Ready(Some(Err(BodyError::Lost))),
        polled => polled,
    })
    .await
}

/// Whether the connection can serve another request after this answer, as far as can be known before it.
fn may_keep(inner: &Inner, uploading: bool) -> bool {
    let down = &inner.down;
    down.shared.config.keep_alive
        && !down.shared.drain.is_draining()
        && !down.closed
        && !down.broken
        // Who was never told to send its body may send it or the next request: nobody could tell which.
        && (down.expect == Expect::No || down.decoder.is_done())
        // An upload that goes on beside its answer may still come to its end.
        && (down.streamed != Streamed::Partly || uploading)
        && (rest_is_small(down) || uploading || inner.buffered.is_some())
}

/// Whether what is left of the request's body is worth reading to keep the connection.
fn rest_is_small(down: &Downstream) -> bool {
    match down.decoder {
        Decoder::Done => true,
        Decoder::Length(left) => left <= DRAIN_BYTES_MAX,
        _ => false,
    }
}

/// A HEAD's or 304's answer repeats the length that a GET's would have.
fn announce_bodyless(response: &Response) -> Announce {
    let announced = response.headers.get(Known::ContentLength).and_then(text::number);
    match (response.status, announced, &response.body) {
        (204, ..) => Announce::Nothing,
        (_, Some(bytes), _) => Announce::Length(bytes),
        (_, None, Body::Full(bytes)) => Announce::Length(bytes.len() as u64),
        _ => Announce::Nothing,
    }
}

/// Writes `head` and `body` in as few calls as the socket takes; a client that takes nothing for the stall timeout is lost.
async fn write_all(inner: &mut Inner, mut head: BytesMut, mut body: Bytes) -> Result<(), Lost> {
    let down = &mut inner.down;
    let mut stalled: Option<Instant> = None;
    let sent = poll_fn(|cx| {
        while !head.is_empty() || !body.is_empty() {
            let parts = [IoSlice::new(&head), IoSlice::new(&body)];
            let parts = if head.is_empty() {
                &parts[1..]
            } else if body.is_empty() {
                &parts[..1]
            } else {
                &parts[..]
            };
            match down.socket.poll_write(cx, parts) {
                Poll::Ready(Ok(written)) => {
                    down.written += written as u64;
                    let first = written.min(head.len());
                    head.advance(first);
                    body.advance(written - first);
                    stalled = None;
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Lost)),
                Poll::Pending => return poll_stall(cx, down, &mut stalled, None),
            }
        }
        match down.socket.poll_flush(cx) {
            Poll::Ready(flushed) => Poll::Ready(flushed.map_err(|_| Lost)),
            Poll::Pending => poll_stall(cx, down, &mut stalled, None),
        }
    })
    .await;
    inner.tx = head;
    sent
}

/// Ready, with [`Lost`], when nothing moved for the stall timeout or the deadline has come.
fn poll_stall(
    cx: &mut Context<'_>,
    down: &mut Downstream,
    stalled: &mut Option<Instant>,
    limit: Option<Instant>,
) -> Poll<Result<(), Lost>> {
    let stall = *stalled.get_or_insert_with(clock::now) + down.shared.config.stall_timeout;
    ready!(down.timer.poll(cx, limit.map_or(stall, |limit| limit.min(stall))));
    Stats::add(&down.shared.stats.timeouts);
    Poll::Ready(Err(Lost))
}

/// Whether a server is to be told that its request ends here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shut {
    Not,
    Owed,
    Told,
}

/// Carries an upstream's body to the client, while what is left of the request's body goes the other way.
async fn relay_answer(down: &mut Downstream, relay: &mut Relay, call: &mut Call) -> Result<(), Lost> {
    let (mut stalled, mut shut): (Option<Instant>, _) = (None, Shut::Not);
    poll_fn(|cx| {
        // An upload that fails now ends by itself: the answer goes on, and the connections are not used again.
        if !call.upload.is_done()
            && let Poll::Ready(Err(_)) = call.upload.poll(cx, down, &mut call.socket)
        {
            call.keep_alive = false;
            call.upload.give_up();
            shut = Shut::Owed;
        }
        // A server that reads the request to its end before it closes would wait for the rest, and we for its close.
        if shut == Shut::Owed
            && let Poll::Ready(told) = call.socket.poll_shutdown(cx)
        {
            shut = Shut::Told;
            if let Err(error) = told {
                tracing::debug!(%error, "a server had closed before it was told that no more comes");
            }
        }
        let mut upstream_waits = false;
        loop {
            if relay.loadable() {
                if !relay.draws(&call.decoder, &call.rx.bytes, &call.socket) {
                    call.poll_ahead(cx, down.lease.as_mut());
                }
                match relay.load(&mut call.decoder, &mut call.rx.bytes).map_err(|_| Lost)? {
                    Loaded::Data(bytes) => call.count(bytes)?,
                    Loaded::End => {}
                    Loaded::More => match call.poll_more(cx, relay, down.lease.as_mut()) {
                        Poll::Ready(Ok(true)) => {
                            stalled = None;
                            continue;
                        }
                        Poll::Ready(Ok(false)) => {
                            relay.end();
                        }
                        Poll::Ready(Err(_)) => return Poll::Ready(Err(Lost)),
                        Poll::Pending => upstream_waits = true,
                    },
                }
            }
            if relay.pending() || down.socket.is_unsent() {
                let before = relay.written;
                match relay.poll_write(cx, &mut down.socket, &mut call.rx.bytes) {
                    Poll::Ready(Ok(())) => stalled = None,
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Lost)),
                    Poll::Pending => {
                        // Who takes a part is slow, and not gone.
                        if relay.written > before {
                            stalled = None;
                        }
                        return poll_stall(cx, down, &mut stalled, call.deadline);
                    }
                }
            }
            if relay.ended() {
                return Poll::Ready(Ok(()));
            }
            if upstream_waits {
                break;
            }
        }
        if call.upload.is_done() && down.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Lost));
        }
        let pause = *stalled.get_or_insert_with(clock::now) + UPSTREAM_PAUSE_MAX;
        ready!(down.timer.poll(cx, call.deadline.map_or(pause, |deadline| deadline.min(pause))));
        Stats::add(&down.shared.stats.timeouts);
        Poll::Ready(Err(Lost))
    })
    .await
}
