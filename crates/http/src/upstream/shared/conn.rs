//! Connections that several calls share.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use tidegate_base::{Budget, Holder, Lease, clock};
use tokio::sync::Notify;

use super::Stream;
use crate::{
    conn,
    h1::Socket,
    message::Length,
    upstream::{endpoint::Protocol, send::SendError},
};

/// An idle connection: its task, `h2`'s fixed state, its tables. As for clients, where it is measured.
const CONNECTION_BYTES: u64 = 10 << 10;
/// What can come of a stream that nobody reads.
const WINDOW: u32 = 32 << 10;
/// What `h2` keeps unsent of one upload.
pub(super) const UNSENT_MAX: usize = 32 << 10;
/// A stream: its window, `h2`'s part of it, and both heads.
const STREAM_BYTES: u64 = WINDOW as u64 + (8 << 10);
/// Most streams of a connection.
const STREAMS_MAX: u32 = 100;
/// Most bytes of the heads of an answer.
const HEAD_MAX: u32 = 32 << 10;
/// Table of compression of heads that come.
const HEADER_TABLE: u32 = 4 << 10;
/// Streams that were reset are remembered for so long, to know late frames.
const RESET_KEPT: Duration = Duration::from_secs(1);

/// A connection. Who drops the last handle ends it, once its streams have ended.
pub(crate) struct Shared {
    sender: RefCell<SendRequest<Bytes>>,
    streams: Cell<usize>,
    /// Takes no more calls.
    closed: Rc<Cell<bool>>,
    /// Calls were made before.
    used: Cell<bool>,
    idle_since: Cell<Instant>,
}

impl Shared {
    /// Speaks HTTP/2 on a new connection, for which `paid` pays.
    pub(crate) async fn start(socket: Socket, mut paid: Lease) -> Result<Rc<Self>, SendError> {
        let io = match socket {
            Socket::Tcp(stream) => conn::Stream::Tcp(stream),
            Socket::Tls(stream) => conn::Stream::Tls(stream),
            _ => return Err(SendError::NoAnswer),
        };
        if !paid.try_grow(CONNECTION_BYTES.saturating_sub(paid.bytes())) {
            return Err(SendError::NoMemory);
        }
        let made = Builder::new()
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW * STREAMS_MAX)
            .max_send_buffer_size(UNSENT_MAX)
            .max_header_list_size(HEAD_MAX)
            .header_table_size(HEADER_TABLE)
            .reset_stream_duration(RESET_KEPT)
            .enable_push(false)
            .handshake(io)
            .await;
        let (sender, connection) = made.map_err(|error| {
            tracing::debug!(%error, "HTTP/2 with a server did not begin");
            SendError::NoAnswer
        })?;
        let closed = Rc::new(Cell::new(false));
        tokio::task::spawn_local(drive(connection, Rc::clone(&closed), paid));
        Ok(Rc::new(Self {
            sender: RefCell::new(sender),
            streams: Cell::new(0),
            closed,
            used: Cell::new(false),
            idle_since: Cell::new(clock::now()),
        }))
    }

    /// Whether calls were made on it before.
    pub(crate) fn is_used(&self) -> bool {
        self.used.get()
    }

    fn has_room(&self) -> bool {
        let most = self.sender.borrow().current_max_send_streams().min(STREAMS_MAX as usize);
        !self.closed.get() && self.streams.get() < most
    }

    /// Begins a call; `length` is that of the body behind the head.
    pub(crate) fn open(
        self: &Rc<Self>,
        head: http::Request<()>,
        length: Length,
        (budget, holder): (&Budget, Holder),
    ) -> Result<(Stream, Lease), SendError> {
        let unsent = if length == Length::Known(0) { 0 } else { UNSENT_MAX as u64 };
        let lease = budget.try_lease(holder, STREAM_BYTES + unsent).ok_or(SendError::NoMemory)?;
        let mut sender = self.sender.borrow().clone();
        match sender.send_request(head, length == Length::Known(0)) {
            Ok((response, send)) => {
                self.used.set(true);
                self.streams.set(self.streams.get() + 1);
                Ok((Stream::new(response, send, length, Rc::clone(self)), lease))
            }
            Err(error) => {
                tracing::debug!(%error, "a connection takes no more calls");
                self.closed.set(true);
                Err(SendError::NoAnswer)
            }
        }
    }

    /// A call has ended.
    pub(super) fn ended(&self) {
        self.streams.set(self.streams.get() - 1);
        self.idle_since.set(clock::now());
    }

    fn is_over(&self, now: Instant, idle: Duration) -> bool {
        let quiet = self.streams.get() == 0 && now.saturating_duration_since(self.idle_since.get()) >= idle;
        self.closed.get() || quiet
    }
}

async fn drive(connection: Connection<conn::Stream, Bytes>, closed: Rc<Cell<bool>>, paid: Lease) {
    let mut connection = pin!(connection);
    let ended = poll_fn(|cx| connection.as_mut().poll(cx)).await;
    closed.set(true);
    tracing::debug!(?ended, "HTTP/2 with a server has ended");
    drop(paid);
}

/// What the server at the other end of a new connection speaks: true for HTTP/2.
pub(crate) fn spoken(socket: &Socket, protocol: Protocol) -> Result<bool, SendError> {
    let chosen = socket.tls().map(|tls| tls.alpn == Some(b"h2"));
    match (protocol, chosen) {
        (Protocol::Http1, _) | (Protocol::Auto, None) => Ok(false),
        (Protocol::Auto, Some(chosen)) => Ok(chosen),
        (Protocol::Http2, None | Some(true)) => Ok(true),
        (Protocol::Http2, Some(false)) => {
            tracing::debug!("a server that is to speak HTTP/2 does not offer it");
            Err(SendError::Tls)
        }
    }
}

/// The connections to one server.
#[derive(Default)]
pub(crate) struct Slot {
    conns: RefCell<Vec<Rc<Shared>>>,
    /// A call makes one at this moment.
    connecting: Cell<bool>,
    /// The server chose HTTP/1.1 when it was asked last.
    is_old: Cell<bool>,
    made: Notify,
}

/// Per server, made when first asked for.
pub(crate) type Slots = RefCell<Vec<Option<Rc<Slot>>>>;

impl Slot {
    pub(crate) fn of(slots: &Slots, number: usize) -> Option<Rc<Self>> {
        slots.borrow_mut().get_mut(number).map(|slot| Rc::clone(slot.get_or_insert_default()))
    }

    /// A connection that takes another call.
    pub(crate) fn pick(&self) -> Option<Rc<Shared>> {
        let mut conns = self.conns.borrow_mut();
        conns.retain(|conn| !conn.closed.get());
        conns.iter().find(|conn| conn.has_room()).map(Rc::clone)
    }

    /// Leave to make a connection; `None` while another call makes one that both can use.
    pub(crate) fn begin(self: &Rc<Self>) -> Option<Connecting> {
        let waits = self.connecting.get() && !self.is_old.get();
        if waits {
            return None;
        }
        self.connecting.set(true);
        Some(Connecting(Rc::clone(self)))
    }

    /// Ready when it is worth to look again.
    pub(crate) async fn changed(&self) {
        let mut notified = pin!(self.made.notified());
        notified.as_mut().enable();
        if self.connecting.get() {
            notified.await;
        }
    }

    /// Closes what was idle for too long.
    pub(crate) fn sweep(&self, now: Instant, idle: Duration) {
        self.conns.borrow_mut().retain(|conn| !conn.is_over(now, idle));
    }
}

/// One call makes a connection; dropped, it lets the others look.
pub(crate) struct Connecting(Rc<Slot>);

impl Connecting {
    pub(crate) fn is_old(&self, old: bool) {
        self.0.is_old.set(old);
    }

    pub(crate) fn made(&self, conn: &Rc<Shared>) {
        self.0.conns.borrow_mut().push(Rc::clone(conn));
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.connecting.set(false);
        self.0.made.notify_waiters();
    }
}

/// Polls `work` until `until`.
pub(crate) async fn by<F: Future>(
    work: F,
    mut late: impl FnMut(&mut Context<'_>) -> Poll<SendError>,
) -> Result<F::Output, SendError> {
    let mut work = pin!(work);
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending => late(cx).map(Err),
    })
    .await
}
