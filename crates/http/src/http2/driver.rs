use std::{
    cell::Cell,
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use futures_util::stream::{FuturesUnordered, StreamExt};
use h2::{Ping, PingPong, RecvStream, server};
use http::{Request, Response};
use tidegate_base::{Holder, clock};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Sleep,
};

use super::{
    Conn, Exchange,
    task::CallTask,
    wire::{Meter, Wire},
};
use crate::{
    grpc::{Call, Chunk, Code, Head, Metadata, Service, Status, check_head, refusal},
    h1::Timer,
};

/// Window of a stream, and least window of a connection.
const WINDOW: u32 = 64 << 10;
/// Window of a stream while a call of its connection waits for a lease, and while more than half of the request holder is
/// taken: 64 waiting uploads hold 1 MiB instead of 4.
const WINDOW_SCARCE: u32 = 16 << 10;
/// Read from the socket before the streams have their turn: bounds what one burst of tiny frames can queue.
const READ_PER_TURN: usize = 32 << 10;
const HEADER_LIST_MAX: u32 = 16 << 10;
/// A socket that takes nothing holds this much of an answer for each stream, under the answer's lease.
const SEND_BUFFER: usize = 32 << 10;
/// Shortage (256 bytes less its length) that unread small frames may add up to before `h2` ends the connection. Clients
/// send the keep-alives of all their leases at once, so its automatic value is too small by far.
const DATA_FRAME_BUDGET: usize = 1 << 20;
/// Of the compression of heads. The table of a client whose calls have deadlines is always full, with entries that are twice
/// as large in memory as they count: a quarter of the default costs a few bytes on the wire in every tenth call.
const HEADER_TABLE: u32 = 1 << 10;
/// Streams that were reset are remembered for so long, to know late frames.
const RESET_KEPT: Duration = Duration::from_secs(1);
/// Tokens up to this are part of what a stream is charged; longer ones are leased.
const TOKEN_FREE: usize = 128;
/// A client that does not finish the exchange of settings is not kept.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Serves one connection until it ends; `first` is what was read of it already.
pub(crate) async fn serve<T>(io: T, first: BytesMut, conn: Rc<Conn>, service: Rc<dyn Service>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let meter = Rc::new(Meter { allowance: Cell::new(usize::MAX), blocked: Cell::new(false), heard: Cell::new(false) });
    let wire = Wire::new(io, first, Rc::clone(&meter), Rc::clone(&conn.local));
    // In a box of its own, and the driver made apart: else the task keeps the room of both for the connection's life.
    let handshake = settings(conn.local.net.capacity.streams_per_connection).handshake::<_, Chunk>(wire);
    let handshake = Box::pin(tokio::time::timeout(HANDSHAKE_MAX, handshake));
    let Ok(Ok(h2)) = handshake.await else { return };
    let mut driver = Driver::new(h2, Rc::clone(&conn), service);
    let mut drain = pin!(conn.local.drained());
    poll_fn(|cx| {
        if !driver.draining && drain.as_mut().poll(cx).is_ready() {
            driver.draining = true;
            driver.h2.graceful_shutdown();
        }
        meter.allowance.set(READ_PER_TURN);
        if driver.turn(cx).is_ready() || driver.poll_quiet(&meter.heard, cx).is_ready() {
            return Poll::Ready(());
        }
        driver.poll_blocked(meter.blocked.get(), cx)
    })
    .await;
}

fn settings(streams_max: u32) -> server::Builder {
    let mut builder = server::Builder::new();
    builder
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_concurrent_streams(streams_max)
        .max_header_list_size(HEADER_LIST_MAX)
        .header_table_size(HEADER_TABLE)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(DATA_FRAME_BUDGET)
        // Clients cancel many calls at once: that is no attack.
        .max_pending_accept_reset_streams(streams_max as usize)
        .max_concurrent_reset_streams(streams_max as usize)
        .max_local_error_reset_streams(None)
        .reset_stream_duration(RESET_KEPT)
        // etcdctl 3.4 sends the URL of its endpoint. Servers of Go take anything.
        .ignore_malformed_authority(true);
    builder
}

struct Driver<T: AsyncRead + AsyncWrite + Unpin> {
    h2: server::Connection<Wire<T>, Chunk>,
    ping: Option<PingPong>,
    conn: Rc<Conn>,
    service: Rc<dyn Service>,
    calls: FuturesUnordered<CallTask>,
    /// Window of the connection as it was set last, and of its streams.
    window: u32,
    stream_window: u32,
    draining: bool,
    /// Since when the socket takes nothing, as a timer.
    blocked: Option<Pin<Box<Sleep>>>,
    /// When to look whether the client said anything.
    quiet: Pin<Box<Sleep>>,
    /// It was asked whether it is there.
    asked: bool,
    /// What it holds found no room at the end of the last turn.
    short: bool,
    /// When the streams that were reset are forgotten.
    forget: Timer,
    forget_at: Option<Instant>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    fn new(mut h2: server::Connection<Wire<T>, Chunk>, conn: Rc<Conn>, service: Rc<dyn Service>) -> Self {
        let quiet = Box::pin(tokio::time::sleep(conn.local.net.times.ping_after));
        Self {
            ping: h2.ping_pong(),
            h2,
            conn,
            service,
            calls: FuturesUnordered::new(),
            window: WINDOW,
            stream_window: WINDOW,
            draining: false,
            blocked: None,
            quiet,
            asked: false,
            short: false,
            forget: Timer::new(),
            forget_at: None,
        }
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.h2.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => self.start(request, respond),
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(%error, "an HTTP/2 connection ended");
                    return Poll::Ready(());
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        while let Poll::Ready(Some(())) = self.calls.poll_next_unpin(cx) {}
        self.follow();
        self.settle(cx)
    }

    /// Lets the account follow what `h2` keeps. Ready when there is no room for that.
    fn settle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut kept = self.h2.release_idle();
        let mut room = self.conn.settle(kept);
        if !room && kept.reset > 0 {
            self.h2.forget_reset_streams();
            kept = self.h2.release_idle();
            room = self.conn.settle(kept);
        }
        if !room && self.short {
            tracing::info!(peer = %self.conn.peer, bytes = kept.bytes, "a connection is closed: no room for what it holds");
            return Poll::Ready(());
        }
        self.short = !room;
        if self.short {
            cx.waker().wake_by_ref(); // the frames of this turn are written in the next, and gone then
        }
        if kept.reset == 0 {
            (self.forget_at, self.forget) = (None, Timer::new());
        } else {
            let at = *self.forget_at.get_or_insert_with(|| clock::now() + RESET_KEPT);
            if self.forget.poll(cx, at).is_ready() {
                self.forget_at = None;
                cx.waker().wake_by_ref(); // `h2` forgets when it is polled
            }
        }
        Poll::Pending
    }

    fn start(&mut self, request: Request<RecvStream>, mut respond: server::SendResponse<Chunk>) {
        let (parts, body) = request.into_parts();
        let (response, code) = match check_head(&parts) {
            Head::Call { timeout } => {
                let metadata = Metadata::new(parts.uri.path(), &parts.headers);
                let token = metadata.token_len();
                let budget = &self.conn.local.net.budget;
                let lease = (token > TOKEN_FREE).then(|| budget.try_lease(Holder::Connections, token as u64));
                if !matches!(lease, Some(None)) {
                    let deadline = timeout.and_then(|timeout| clock::now().checked_add(timeout));
                    let exchange = Rc::new(Exchange::new(Rc::clone(&self.conn), body, respond, deadline));
                    let call = Call::new(Rc::clone(&exchange), metadata, lease.flatten());
                    let service = Rc::clone(&self.service);
                    self.calls.push(CallTask::start(|| service.call(call), exchange));
                    return;
                }
                (refusal(&Status::TOO_MANY_REQUESTS), Status::TOO_MANY_REQUESTS.code)
            }
            Head::Refused(status) => (refusal(&status), status.code),
            Head::NotGrpc(status) => {
                let mut response = Response::new(());
                *response.status_mut() = status;
                (response, Code::Unknown)
            }
        };
        self.conn.local.stats().ended(code);
        if respond.send_response(response, true).is_err() {
            tracing::trace!("a stream was reset before it was refused");
        }
    }

    /// Ready when the connection must be closed, since its socket keeps bytes that others need.
    fn poll_blocked(&mut self, blocked: bool, cx: &mut Context<'_>) -> Poll<()> {
        if !blocked {
            self.blocked = None;
            return Poll::Pending;
        }
        let most = self.conn.local.net.times.blocked;
        let timer = self.blocked.get_or_insert_with(|| Box::pin(tokio::time::sleep(most)));
        while timer.as_mut().poll(cx).is_ready() {
            if self.conn.answers.used() > 0 && self.conn.local.net.answers.waiting() > 0 {
                tracing::info!(peer = %self.conn.peer, "a connection that takes no answers is closed: others need the bytes");
                return Poll::Ready(());
            }
            timer.as_mut().reset((clock::now() + most).into());
        }
        Poll::Pending
    }

    /// Ready when the client is gone: it said nothing for long, nor when it was asked.
    fn poll_quiet(&mut self, heard: &Cell<bool>, cx: &mut Context<'_>) -> Poll<()> {
        let times = &self.conn.local.net.times;
        if self.asked && heard.take() {
            self.asked = false;
            self.quiet.as_mut().reset((clock::now() + times.ping_after).into());
        }
        while self.quiet.as_mut().poll(cx).is_ready() {
            let wait = match (heard.take(), self.asked) {
                (false, true) => {
                    tracing::info!(peer = %self.conn.peer, "a connection is closed: its client does not answer");
                    return Poll::Ready(());
                }
                (true, _) => times.ping_after,
                (false, false) => {
                    // An answer is heard as any other byte. `h2` wants it fetched before it asks again; where it refuses
                    // to, the last question is still open.
                    if let Some(ping) = &mut self.ping {
                        let answered = ping.poll_pong(cx).is_ready();
                        let sent = ping.send_ping(Ping::opaque()).is_ok();
                        tracing::trace!(peer = %self.conn.peer, answered, sent, "a quiet client is asked");
                    }
                    self.asked = true;
                    times.ping_timeout
                }
            };
            self.quiet.as_mut().reset((clock::now() + wait).into());
        }
        Poll::Pending
    }

    /// Lets the windows follow what the calls hold.
    fn follow(&mut self) {
        // At most 2 MiB and what came in this turn, so the sum is far from the limit of a window.
        let window = WINDOW + u32::try_from(self.conn.held()).unwrap_or(u32::MAX / 4);
        if window != self.window {
            self.window = window;
            self.h2.set_target_window_size(window);
        }
        let (current, wanted) = (self.stream_window, if self.scarce() { WINDOW_SCARCE } else { WINDOW });
        // Fails while the client has not acknowledged the last change: a later turn tries again.
        if wanted != current && self.h2.set_initial_window_size(wanted).is_ok() {
            self.stream_window = wanted;
        }
        // `h2` looks whether a window is due when bytes are given back, not when the client acknowledges a smaller one: a
        // stream that had given everything back before would stay below zero for ever.
        if current == WINDOW_SCARCE {
            self.calls.iter().for_each(CallTask::reopen);
        }
    }

    fn scarce(&self) -> bool {
        let net = &self.conn.local.net;
        self.conn.waiting() > 0 || net.budget.used(Holder::Requests) > net.budget.limits().floor(Holder::Requests) / 2
    }
}
