//! One connection between two waits.

use std::{
    net::SocketAddr,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use h2::{Reason, RecvStream, server};
use http::Request;
use tidegate_base::{Lease, clock};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    account::{Account, HELD_MAX},
    flood::Patience,
    head,
    substream::{self, Piece, Substream},
    wire::{Meter, Wire},
};
use crate::{
    h1::{Buffer, Downstream, Exchange, Held, Inner, Shared, Socket, Stats, Timer},
    message::{Headers, Method, RequestHead},
};

/// What a stream holds: two heads and their lists, receive buffers of the least size, the future of its request, `h2`'s part.
pub(super) const STREAM_BYTES: u64 = 20 << 10;
/// Of which this is for the head as it came; a larger one leases the rest.
const HEAD_BYTES: usize = 8 << 10;
/// Most streams of a connection.
const STREAMS_MAX: u32 = 250;
/// Window of a stream, and least window of a connection.
pub(super) const WINDOW: u32 = 64 << 10;
/// Streams that were reset are remembered for so long, to know late frames.
pub(super) const RESET_KEPT: Duration = Duration::from_secs(1);
/// Spare requests of a connection, and how long they are kept when there are none.
const SPARE_MAX: usize = 16;
const QUIET: Duration = Duration::from_secs(1);
/// From the last word to a client until its connection is closed.
const LINGER: Duration = Duration::from_secs(2);

/// Streams of one connection: an eighth of the holder's floor.
pub(super) fn streams_max(shared: &Shared) -> u32 {
    let floor = shared.budget.limits().floor(shared.config.holder);
    u32::try_from(floor / 8 / STREAM_BYTES).unwrap_or(STREAMS_MAX).clamp(16, STREAMS_MAX)
}

pub(super) struct Driver<T: AsyncRead + AsyncWrite + Unpin> {
    pub(super) h2: server::Connection<Wire<T>, Piece>,
    account: Rc<Account>,
    pub(super) meter: Rc<Meter>,
    peer: Option<SocketAddr>,
    shared: Rc<Shared>,
    patience: Patience,
    /// Ended requests whose room the next ones use.
    spare: Vec<Spare>,
    streams_max: usize,
    /// Window of the connection as it was set last.
    window: u32,
    pub(super) draining: bool,
    /// The client was told why its connection ends.
    cut: bool,
    /// What it holds found no room at the end of the last turn.
    short: bool,
    /// What answers that ended while the socket took nothing have leased, until it takes something again.
    unsent: Vec<Lease>,
    /// Since when there is no stream.
    idle_since: Option<Instant>,
    /// When the last stream began: what others left is not kept for long without one.
    begun: Instant,
    /// Since when the socket takes nothing.
    blocked_since: Option<Instant>,
    forget_at: Option<Instant>,
    timer: Timer,
}

/// A request that has ended, without its stream, and what it leased.
struct Spare {
    head: RequestHead,
    tx: BytesMut,
    up_rx: Buffer,
    headers: Headers,
    peer_text: Option<Box<str>>,
    lease: Option<Lease>,
}

impl Spare {
    fn new(lease: Lease) -> Self {
        let (head, tx, up_rx) = (RequestHead::default(), BytesMut::new(), Buffer::default());
        Self { head, tx, up_rx, headers: Headers::new(), peer_text: None, lease: Some(lease) }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    pub(super) fn new(
        h2: server::Connection<Wire<T>, Piece>,
        account: Rc<Account>,
        meter: Rc<Meter>,
        peer: Option<SocketAddr>,
        shared: Rc<Shared>,
    ) -> Self {
        Self {
            h2,
            account,
            meter,
            peer,
            patience: Patience::new(clock::now()),
            spare: Vec::new(),
            streams_max: streams_max(&shared) as usize,
            shared,
            window: WINDOW,
            draining: false,
            cut: false,
            short: false,
            unsent: Vec::new(),
            idle_since: None,
            begun: clock::now(),
            blocked_since: None,
            forget_at: None,
            timer: Timer::new(),
        }
    }

    pub(super) fn drain(&mut self) {
        self.draining = true;
        self.h2.graceful_shutdown();
    }

    /// Ends the connection with a word why.
    fn cut(&mut self, why: &'static str) {
        if !self.cut {
            tracing::info!(peer = ?self.peer, why, "an HTTP/2 connection is cut");
            self.cut = true;
            self.h2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        }
    }

    /// Makes a request of a new stream, or answers it at once.
    pub(super) fn begin(
        &mut self,
        request: Request<RecvStream>,
        mut respond: server::SendResponse<Piece>,
        running: usize,
    ) -> Option<(Exchange, Rc<Substream>)> {
        // Requests of streams that were reset count until they have ended.
        if self.cut || running >= self.streams_max {
            respond.send_reset(Reason::REFUSED_STREAM);
            return None;
        }
        let (parts, body) = request.into_parts();
        let config = &self.shared.config;
        let Some(mut spare) =
            self.spare.pop().or_else(|| self.shared.budget.try_lease(config.holder, STREAM_BYTES).map(Spare::new))
        else {
            Stats::add(&self.shared.stats.no_memory);
            substream::refuse(respond, 503);
            return None;
        };
        let ended = body.is_end_stream();
        let framing = match head::request(&parts, ended, config.head.headers_max, &mut spare.head) {
            Ok(framing) => framing,
            Err(error) => {
                Stats::add(&self.shared.stats.bad_heads);
                substream::refuse(respond, error.status());
                self.spare.push(spare);
                return None;
            }
        };
        let more = spare.head.headers.raw().len().saturating_sub(HEAD_BYTES) as u64;
        if more > 0 && !spare.lease.as_mut().is_some_and(|lease| lease.try_grow(more)) {
            Stats::add(&self.shared.stats.no_memory);
            substream::refuse(respond, 503);
            return None;
        }
        Stats::add(&self.shared.stats.requests);
        if !self.spare.is_empty() {
            self.begun = clock::now();
        }
        let stream = Substream::new(body, respond, Rc::clone(&self.account));
        let socket = Socket::Substream(Rc::clone(&stream));
        let mut down = Downstream::new(socket, BytesMut::new(), Rc::clone(&self.shared));
        down.begin_body(framing.decoder, framing.expects_continue, config.body_bytes_max);
        down.lease = spare.lease;
        let inner = Inner {
            down,
            head_only: spare.head.method == Method::Head,
            head_bytes: spare.head.headers.raw().len(),
            head: spare.head,
            peer: self.peer,
            buffered: None,
            keep_alive: true,
            answered: false,
            cut: false,
            tx: spare.tx,
            up_rx: spare.up_rx,
            spare: spare.headers,
            peer_text: spare.peer_text,
        };
        if !config.keep_alive && !self.draining {
            self.drain();
        }
        Some((Exchange { inner: Held::new(inner) }, stream))
    }

    /// Keeps what the next request can use.
    pub(super) fn end(&mut self, ended: Option<Exchange>) {
        let Some(exchange) = ended else { return };
        if !exchange.inner.cut {
            self.patience.answered();
        }
        if self.meter.blocked.get() {
            // Its head may still be with `h2`, which nobody else pays for.
            let lease = exchange.inner.take().and_then(|mut inner| inner.down.lease.take());
            self.unsent.extend(lease);
            return;
        }
        if self.spare.len() >= SPARE_MAX {
            return;
        }
        let Some(mut inner) = exchange.inner.take() else { return };
        if self.spare.is_empty() {
            self.begun = clock::now();
        }
        inner.down.rx.release();
        inner.trim();
        let Inner { down, head, tx, up_rx, spare, peer_text, .. } = inner;
        self.spare.push(Spare { head, tx, up_rx, headers: spare, peer_text, lease: down.lease });
    }

    /// What is due at the end of a turn. Ready when the connection is to be closed.
    pub(super) fn turn(&mut self, cx: &mut Context<'_>, streams: usize) -> Poll<()> {
        self.patience.sent(self.account.take_given());
        if !self.meter.blocked.get() {
            self.unsent = Vec::new();
        }
        if self.patience.spend(self.meter.cost.take(), clock::now) {
            self.cut("its client sends frames that move nothing");
            cx.waker().wake_by_ref(); // `h2` says so when it is polled
        }
        // At most 1 MiB more, so the sum is far from the limit of a window.
        let window = WINDOW + u32::try_from(self.account.held().min(HELD_MAX)).unwrap_or(0);
        if window != self.window {
            self.window = window;
            self.h2.set_target_window_size(window);
        }
        if self.settle(cx, streams).is_ready() {
            return Poll::Ready(());
        }
        self.poll_times(cx, streams)
    }

    /// Lets the account follow what is held. Ready when there is no room for that.
    fn settle(&mut self, cx: &mut Context<'_>, streams: usize) -> Poll<()> {
        let mut kept = self.h2.release_idle();
        let reset = kept.reset > 0;
        let mut room = self.account.settle(kept, streams);
        if !room && reset {
            self.h2.forget_reset_streams();
            kept = self.h2.release_idle();
            room = self.account.settle(kept, streams);
        }
        if !room && self.short {
            tracing::info!(peer = ?self.peer, "a connection is closed: no room for what it holds");
            return Poll::Ready(());
        }
        self.short = !room;
        if self.short {
            cx.waker().wake_by_ref(); // the frames of this turn are written in the next, and gone then
        }
        self.forget_at = reset.then(|| self.forget_at.unwrap_or_else(|| clock::now() + RESET_KEPT));
        Poll::Pending
    }

    /// Watches the clock: for a client that says nothing, or takes nothing.
    fn poll_times(&mut self, cx: &mut Context<'_>, streams: usize) -> Poll<()> {
        let config = &self.shared.config;
        loop {
            let mut next = self.forget_at;
            let mut add = |at: Instant| next = Some(next.map_or(at, |next| next.min(at)));
            let moved = self.meter.moved.take();
            self.blocked_since = match (self.meter.blocked.get(), self.blocked_since) {
                (false, _) => None,
                (true, Some(since)) if !moved => Some(since),
                (true, _) => Some(clock::now()),
            };
            if let Some(since) = self.blocked_since {
                add(since + if self.cut { LINGER } else { config.stall_timeout });
            }
            if streams > 0 {
                self.idle_since = None;
            } else {
                let since = *self.idle_since.get_or_insert_with(clock::now);
                add(since + if self.draining || self.cut { LINGER } else { config.idle_timeout });
            }
            if !self.spare.is_empty() {
                add(self.begun + QUIET);
            }
            let Some(at) = next else { return Poll::Pending };
            if self.timer.poll(cx, at).is_pending() {
                return Poll::Pending;
            }
            let now = clock::now();
            let passed = |since: Option<Instant>, wait| since.is_some_and(|since| since + wait <= now);
            if passed(self.blocked_since, if self.cut { LINGER } else { config.stall_timeout })
                || ((self.draining || self.cut) && passed(self.idle_since, LINGER))
            {
                return Poll::Ready(());
            }
            if passed(self.idle_since, config.idle_timeout) && !self.draining {
                self.draining = true;
                self.idle_since = Some(now);
                self.h2.graceful_shutdown();
                cx.waker().wake_by_ref();
            }
            if passed(Some(self.begun), QUIET) {
                self.spare = Vec::new();
            }
            if self.forget_at.is_some_and(|at| at <= now) {
                self.forget_at = None;
                cx.waker().wake_by_ref(); // `h2` forgets when it is polled
                return Poll::Pending;
            }
        }
    }
}
