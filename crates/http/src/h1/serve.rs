//! The life of a connection.

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::pin,
    rc::Rc,
    task::Poll,
    time::{Duration, Instant},
};

use bytes::{Buf, BytesMut};
use tidegate_base::{
    clock,
    planted::{Fault, is_planted},
};

use super::{
    buffer::{BUFFER_LEAST, Buffer},
    downstream::{Downstream, Streamed, Wait},
    exchange::{Exchange, Held, Inner},
    parse,
    relay::{Framing, Loaded, Relay},
    respond::DRAIN_BYTES_MAX,
    shared::{Shared, Stats},
    socket::Socket,
};
use crate::message::{BodyError, Headers, Method, RequestHead, Response, reason};

/// Bytes of a sleeping connection: its task, its socket in the reactor, and the kernel's least.
const IDLE_BYTES: u64 = 3 << 10;
/// What an active one holds besides: two receive buffers, two heads and their lists, the future of a request.
const ACTIVE_BYTES: u64 = 20 << 10;
/// An active connection without a byte for this long goes to sleep. Long enough that a busy one never does, short enough
/// that many quiet ones hold nothing.
const QUIET: Duration = Duration::from_secs(1);
/// Largest buffer that is kept from one request to the next.
const KEPT_BUFFER: usize = 16 << 10;
/// Until the client has read an answer that came before its body was read, and closed.
const LINGER: Duration = Duration::from_secs(2);

/// What answers requests.
pub trait Service: 'static {
    /// Answers with [`Exchange::respond`] and gives the exchange back.
    fn handle(&self, exchange: Exchange) -> impl Future<Output = Exchange>;
}

/// Whether a connection goes on.
enum Next {
    Sleep,
    Close,
}

/// Serves one connection until it ends. `already_read` is what was read from it to see that it speaks HTTP/1.
pub async fn serve<S: Service>(
    socket: impl Into<Socket>,
    already_read: BytesMut,
    peer: Option<SocketAddr>,
    service: Rc<S>,
    shared: Rc<Shared>,
) {
    Stats::add(&shared.stats.connections);
    let Some(_lease) = shared.budget.try_lease(shared.config.holder, IDLE_BYTES) else {
        Stats::add(&shared.stats.no_memory);
        return;
    };
    let mut exchange = Exchange {
        inner: Held::new(Inner {
            down: Downstream::new(socket.into(), already_read, Rc::clone(&shared)),
            head: RequestHead::default(),
            peer,
            buffered: None,
            head_only: false,
            head_bytes: 0,
            keep_alive: true,
            answered: false,
            cut: false,
            tx: BytesMut::new(),
            up_rx: Buffer::default(),
            spare: Headers::new(),
            peer_text: None,
        }),
    };
    let mut idle_until = clock::now() + shared.config.idle_timeout;
    loop {
        if exchange.inner.down.rx.bytes.is_empty() && !awake(&mut exchange, idle_until).await {
            return;
        }
        exchange.inner.down.lease = shared.budget.try_lease(shared.config.holder, ACTIVE_BYTES);
        if exchange.inner.down.lease.is_none() {
            Stats::add(&shared.stats.no_memory);
            refuse(&mut exchange).await;
            return;
        }
        // Boxed, so that a sleeping connection does not hold the room of a request's futures.
        let Some((active, next)) = Box::pin(active(exchange, &*service)).await else { return };
        exchange = active;
        match next {
            Next::Close => return,
            Next::Sleep => {
                let inner = &mut *exchange.inner;
                inner.down.sleep();
                (inner.head, inner.tx, inner.up_rx) = (RequestHead::default(), BytesMut::new(), Buffer::default());
                (inner.spare, inner.peer_text) = (Headers::new(), None);
                idle_until = clock::now() + shared.config.idle_timeout;
            }
        }
    }
}

/// Sleeps until bytes come: true; false when the connection is to end.
async fn awake(exchange: &mut Exchange, until: Instant) -> bool {
    let down = &mut exchange.inner.down;
    let shared = Rc::clone(&down.shared);
    let readable = poll_fn(|cx| match down.socket.poll_readable(cx) {
        Poll::Ready(ready) => Poll::Ready(ready.is_ok()),
        Poll::Pending => down.timer.poll(cx, until).map(|()| false),
    });
    let awake = tokio::select! {
        biased;
        () = shared.drain.started() => false,
        readable = readable => readable,
    };
    if !awake {
        poll_fn(|cx| {
            down.socket.poll_farewell(cx);
            Poll::Ready(())
        })
        .await;
    }
    awake
}

/// No memory for the request: a short answer that needs none.
async fn refuse(exchange: &mut Exchange) {
    let text = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let down = &mut exchange.inner.down;
    // One try: who does not take 80 bytes at once gets none.
    let sent = poll_fn(|cx| {
        Poll::Ready(matches!(down.socket.poll_write(cx, &[std::io::IoSlice::new(text)]), Poll::Ready(Ok(_))))
    });
    if sent.await {
        linger(exchange).await;
    }
}

/// Serves requests until the connection is quiet or done; `None` when a handler lost it.
async fn active<S: Service>(mut exchange: Exchange, service: &S) -> Option<(Exchange, Next)> {
    loop {
        let (start, end) = match wait_for_head(&mut exchange).await {
            Wait::Head { start, end } => (start, end),
            Wait::Quiet => return Some((exchange, Next::Sleep)),
            Wait::Closed => return Some((exchange, Next::Close)),
            Wait::Slow => {
                Stats::add(&exchange.inner.down.shared.stats.timeouts);
                return Some((reject(exchange, 408, "the head came too slowly").await, Next::Close));
            }
            Wait::Bad(error) => {
                return Some((reject(exchange, error.status(), &error.to_string()).await, Next::Close));
            }
        };
        let inner = &mut *exchange.inner;
        let head = inner.down.rx.bytes.get(start..end).unwrap_or_default();
        let framing = parse::request(head, &mut inner.head);
        inner.down.rx.bytes.advance(end);
        let framing = match framing {
            Ok(framing) => framing,
            Err(error) => return Some((reject(exchange, error.status(), &error.to_string()).await, Next::Close)),
        };
        inner.head_bytes = end - start;
        let limit = inner.down.shared.config.body_bytes_max;
        inner.down.begin_body(framing.decoder, framing.expects_continue, limit);
        (inner.keep_alive, inner.answered, inner.cut) = (framing.keep_alive, false, false);
        inner.head_only = inner.head.method == Method::Head;
        Stats::add(&inner.down.shared.stats.requests);
        exchange = handle(exchange, service).await?;
        if !exchange.inner.answered && exchange.respond(Response::text(500, reason(500))).await.is_err() {
            return Some((exchange, Next::Close));
        }
        if exchange.inner.cut {
            exchange.inner.down.socket.reset();
            return Some((exchange, Next::Close));
        }
        exchange.inner.buffered = None;
        if !exchange.inner.keep_alive || exchange.inner.down.streamed == Streamed::Partly {
            linger(&mut exchange).await;
            return Some((exchange, Next::Close));
        }
        let unread = !exchange.inner.down.decoder.is_done() && !is_planted(Fault::UnreadBodyTakenForARequest);
        if unread && discard(&mut exchange).await.is_err() {
            return Some((exchange, Next::Close));
        }
        // Between requests, and only there, a grown buffer is given back.
        exchange.inner.trim();
    }
}

/// Has the service answer. A panic in it is one request's error: what it held comes back, and the connection ends with it.
pub(crate) async fn handle<S: Service>(exchange: Exchange, service: &S) -> Option<Exchange> {
    let shared = Rc::clone(&exchange.inner.down.shared);
    let mut work = pin!(service.handle(exchange));
    let handled = poll_fn(|cx| match shared.rescue.run(|| work.as_mut().poll(cx)) {
        Ok(polled) => polled.map(Ok),
        Err(rescued) => Poll::Ready(Err(rescued)),
    });
    handled
        .await
        .or_else(|rescued| {
            Stats::add(&shared.stats.panics);
            tracing::error!("a request's handler panicked");
            let mut exchange = rescued.ok_or(())?;
            exchange.inner.down.broken = true;
            exchange.inner.keep_alive = false;
            Ok::<_, ()>(exchange)
        })
        .ok()
}

async fn wait_for_head(exchange: &mut Exchange) -> Wait {
    let down = &mut exchange.inner.down;
    let (mut quiet_at, mut head_until) = (None, None);
    poll_fn(|cx| {
        let quiet_at = *quiet_at.get_or_insert_with(|| clock::now() + QUIET);
        down.poll_head(cx, quiet_at, &mut head_until)
    })
    .await
}

/// Answers a request that could not be read, and ends the connection.
async fn reject(mut exchange: Exchange, status: u16, text: &str) -> Exchange {
    Stats::add(&exchange.inner.down.shared.stats.bad_heads);
    exchange.inner.keep_alive = false;
    exchange.inner.answered = false;
    exchange.inner.head.clear();
    exchange.inner.down.rx.bytes.clear();
    if exchange.respond(Response::text(status, format!("{text}\n"))).await.is_ok() {
        linger(&mut exchange).await;
    }
    exchange
}

/// Reads what is left of a small body.
async fn discard(exchange: &mut Exchange) -> Result<(), BodyError> {
    let down = &mut exchange.inner.down;
    down.limit = DRAIN_BYTES_MAX.saturating_add(down.limit);
    let mut relay = Relay::new(BytesMut::new(), Framing::Plain);
    poll_fn(|cx| {
        loop {
            match std::task::ready!(down.poll_load(cx, &mut relay))? {
                Loaded::End => return Poll::Ready(Ok(())),
                Loaded::More | Loaded::Data(_) => relay.take(&mut down.rx.bytes, |_| ()),
            }
            if relay.ended() {
                return Poll::Ready(Ok(()));
            }
        }
    })
    .await
}

/// Says that no more comes and waits a moment for the client to close. To close a socket with unread bytes resets it, and
/// the client may then lose the answer.
async fn linger(exchange: &mut Exchange) {
    let down = &mut exchange.inner.down;
    let until = clock::now() + LINGER;
    let mut dropped: u64 = 0;
    let mut told = false;
    poll_fn(|cx| {
        if !told {
            match down.socket.poll_shutdown(cx) {
                Poll::Ready(Ok(())) => told = true,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return down.timer.poll(cx, until),
            }
        }
        while !down.closed && dropped < 1 << 20 {
            down.rx.bytes.clear();
            if !down.rx.room(super::BUFFER_MOST, None) {
                return Poll::Ready(());
            }
            match down.rx.poll_read(cx, &mut down.socket) {
                Poll::Ready(Ok(0) | Err(_)) => down.closed = true,
                Poll::Ready(Ok(read)) => dropped += read as u64,
                Poll::Pending => return down.timer.poll(cx, until),
            }
        }
        Poll::Ready(())
    })
    .await;
}

impl Inner {
    /// Gives back what one large request made grow, but for a size that the next ones of its kind can use while memory is
    /// not short.
    pub(crate) fn trim(&mut self) {
        self.down.socket.rest();
        let Some(lease) = &mut self.down.lease else { return };
        // A buffer that grew and went, with a call that was not kept, is paid for no longer.
        let grown = [&self.down.rx, &self.up_rx].map(|buffer| buffer.size().saturating_sub(BUFFER_LEAST) as u64);
        lease.shrink_to(ACTIVE_BYTES + grown.into_iter().sum::<u64>());
        if lease.bytes() > ACTIVE_BYTES && self.down.rx.bytes.is_empty() {
            let Shared { budget, config, .. } = &*self.down.shared;
            let scarce = budget.room(config.holder) < budget.limits().floor(config.holder) / 4;
            if scarce || self.down.rx.size().max(self.up_rx.size()) > KEPT_BUFFER {
                self.down.rx.release();
                self.up_rx.release();
                lease.shrink_to(ACTIVE_BYTES);
            }
        }
        if self.tx.capacity() > 4 << 10 {
            self.tx = BytesMut::new();
        }
        if self.head.headers.allocated() > 8 << 10 {
            self.head = RequestHead::default();
        }
    }
}
