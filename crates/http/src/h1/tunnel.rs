//! WebSocket: after the upstream's `101` both connections carry bytes that are no HTTP, until both sides have closed.
//!
//! Nothing of them is looked at, so subprotocols and extensions are the ends' own matter. Each way has one buffer, of at most
//! 64 KiB under the connection's lease: who does not read stops the other side's reads. There is no idle timeout, as Easegress
//! has none; a vanished client is noticed by the keep-alive of its socket.

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use tidegate_base::{Lease, clock};

use super::{
    buffer::{BUFFER_LEAST, BUFFER_MOST, Buffer},
    downstream::Downstream,
    encode,
    exchange::Inner,
    framing::Decoder,
    relay::{Framing, Loaded, Relay},
    respond::Lost,
    socket::Socket,
};
use crate::{
    message::{Headers, Known, Method, RequestHead, Version, text},
    upstream::Call,
};

/// A tunnel without a byte for this long gives its grown buffers back.
const QUIET: Duration = Duration::from_secs(1);
/// How long one side may be silent after the other has closed.
const HALF_CLOSED_MAX: Duration = Duration::from_secs(60);

/// Whether the request asks for a WebSocket (RFC 6455, 4.1). Only then its `Upgrade` goes on to the upstream.
pub(crate) fn wants_websocket(head: &RequestHead, down: &Downstream) -> bool {
    head.headers.get(Known::Upgrade).is_some()
        && head.version == Version::Http11
        && head.method == Method::Get
        && down.decoder.is_done()
        && names(head.headers.all(Known::Upgrade), b"websocket")
        && names(head.headers.all(Known::Connection), b"upgrade")
}

/// Whether an answer that switches protocols switches to this one.
pub(crate) fn is_websocket(headers: &Headers) -> bool {
    names(headers.all(Known::Upgrade), b"websocket")
}

fn names<'a>(mut values: impl Iterator<Item = &'a [u8]>, wanted: &[u8]) -> bool {
    values.any(|value| text::members(value).any(|member| member.eq_ignore_ascii_case(wanted)))
}

/// One way of a tunnel.
struct Way {
    relay: Relay,
    /// No more comes.
    ended: bool,
    /// And the other side knows.
    told: bool,
}

impl Way {
    const fn new(first: BytesMut, ended: bool) -> Self {
        Self { relay: Relay::new(first, Framing::Plain), ended, told: false }
    }

    /// Goes on as far as both sides let it; ready at the end, which the receiver has then been told.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: (&mut Socket, &mut Buffer),
        to: &mut Socket,
        mut lease: Option<&mut Lease>,
    ) -> Poll<io::Result<()>> {
        let (socket, rx) = from;
        while !self.told {
            if self.relay.loadable() {
                // What no decoder ends fails in no way.
                let loaded = self.relay.load(&mut Decoder::UntilClose, &mut rx.bytes).map_err(io::Error::other)?;
                if loaded == Loaded::More && !self.ended {
                    if !rx.room(BUFFER_MOST, lease.as_deref_mut()) {
                        return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
                    }
                    match rx.poll_read(cx, socket) {
                        Poll::Ready(Ok(0)) => self.ended = true,
                        Poll::Ready(Ok(_)) => continue,
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Pending if self.relay.pending() || to.is_unsent() => {}
                        Poll::Pending => return Poll::Pending,
                    }
                }
            }
            if self.relay.pending() {
                ready!(self.relay.poll_write(cx, to, &mut rx.bytes))?;
            } else if to.is_unsent() {
                ready!(to.poll_flush(cx))?;
            } else if self.ended {
                ready!(to.poll_shutdown(cx))?;
                self.told = true;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Gives back what a quiet tunnel needs only while it is busy.
fn rest(down: &mut Downstream, call: &mut Call) {
    let mut freed = 0;
    for rx in [&mut down.rx, &mut call.rx] {
        if rx.bytes.is_empty() {
            freed += rx.size().saturating_sub(BUFFER_LEAST) as u64;
            rx.release();
        }
    }
    if let Some(lease) = &mut down.lease {
        lease.shrink_to(lease.bytes().saturating_sub(freed));
    }
    down.socket.rest();
    call.socket.rest();
}

/// Sends the `101` and carries bytes both ways until both sides have closed, or one is lost.
pub(super) async fn run(inner: &mut Inner, headers: Headers, call: &mut Call) -> Result<(), Lost> {
    inner.keep_alive = false;
    let mut head = std::mem::take(&mut inner.tx);
    head.clear();
    encode::switching(&mut head, &headers);
    drop(headers);
    let down = &mut inner.down;
    let (mut up, mut back) = (Way::new(BytesMut::new(), down.closed), Way::new(head, false));
    let mut half_closed: Option<(u64, Instant)> = None;
    // Since when nothing moves, and what had moved when the buffers were given back.
    let (mut quiet, mut rested): (Option<(u64, Instant)>, Option<u64>) = (None, None);
    let ended = poll_fn(|cx| {
        let from = (&mut down.socket, &mut down.rx);
        let sent = up.poll(cx, from, &mut call.socket, down.lease.as_mut());
        let from = (&mut call.socket, &mut call.rx);
        let received = back.poll(cx, from, &mut down.socket, down.lease.as_mut());
        let moved = up.relay.written + back.relay.written;
        match (sent, received) {
            (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => return Poll::Ready(Err(error)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(Ok(())),
            (Poll::Pending, Poll::Pending) if rested == Some(moved) => return Poll::Pending,
            (Poll::Pending, Poll::Pending) => {
                let since = match quiet {
                    Some((before, since)) if before == moved => since,
                    _ => quiet.insert((moved, clock::now())).1,
                };
                ready!(down.timer.poll(cx, since + QUIET));
                rest(down, call);
                rested = Some(moved);
                return Poll::Pending;
            }
            (Poll::Ready(Ok(())), Poll::Pending) | (Poll::Pending, Poll::Ready(Ok(()))) => {}
        }
        let since = match half_closed {
            Some((before, since)) if before == moved => since,
            _ => half_closed.insert((moved, clock::now())).1,
        };
        down.timer.poll(cx, since + HALF_CLOSED_MAX).map(|()| Err(io::ErrorKind::TimedOut.into()))
    })
    .await;
    down.written += back.relay.written;
    down.received += up.relay.written;
    ended.map_err(|error| {
        tracing::debug!(%error, "a WebSocket broke off");
        Lost
    })
}
