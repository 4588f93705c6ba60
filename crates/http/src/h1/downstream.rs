//! The client's side of a connection: its socket, what was read from it, and the body that is coming.

use std::{
    io::{self, IoSlice},
    rc::Rc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use tidegate_base::{Lease, clock};

use super::{
    buffer::{BUFFER_LEAST, BUFFER_MOST, Buffer},
    framing::Decoder,
    head::{HeadError, Scanned, Scanner},
    relay::{Loaded, Relay},
    shared::{Shared, Stats},
    socket::Socket,
    timer::Timer,
};
use crate::message::BodyError;

/// Whether a client waits for leave to send its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    No,
    /// It waits: the first read of the body says yes.
    Waiting,
    /// This many bytes of the yes are written.
    Granting(usize),
}

/// How far the body of the request at hand went to an upstream as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Streamed {
    Not,
    /// Bytes that the decoder has passed may still stand in the buffer: given up here, nobody can tell where the next
    /// request begins.
    Partly,
    Whole,
}

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

pub(crate) struct Downstream {
    pub(crate) socket: Socket,
    pub(crate) rx: Buffer,
    pub(crate) timer: Timer,
    scanner: Scanner,
    /// Framing of the body of the request at hand.
    pub(crate) decoder: Decoder,
    pub(crate) expect: Expect,
    pub(crate) streamed: Streamed,
    /// Body bytes taken from the wire, and how many may be.
    pub(crate) received: u64,
    /// Bytes of the answer that the socket has taken.
    pub(crate) written: u64,
    pub(crate) limit: u64,
    /// When the body was first waited for, and when the wait at hand began.
    waited_since: Option<Instant>,
    pause_since: Option<Instant>,
    /// The client has closed its side.
    pub(crate) closed: bool,
    /// The body could not be read: what stands behind it is nobody's request.
    pub(crate) broken: bool,
    pub(crate) shared: Rc<Shared>,
    /// Pays for the buffers while the connection is active.
    pub(crate) lease: Option<Lease>,
}

/// What a wait for a head ended with.
#[derive(Debug)]
pub(crate) enum Wait {
    Head {
        start: usize,
        end: usize,
    },
    /// Nothing came for a while.
    Quiet,
    /// The client closed, or is lost.
    Closed,
    Bad(HeadError),
    /// The head came too slowly.
    Slow,
}

impl Downstream {
    pub(crate) fn new(socket: Socket, already_read: BytesMut, shared: Rc<Shared>) -> Self {
        Self {
            socket,
            rx: Buffer::new(already_read),
            timer: Timer::new(),
            scanner: Scanner::default(),
            decoder: Decoder::Done,
            expect: Expect::No,
            streamed: Streamed::Not,
            received: 0,
            written: 0,
            limit: u64::MAX,
            waited_since: None,
            pause_since: None,
            closed: false,
            broken: false,
            shared,
            lease: None,
        }
    }

    /// Sets up the body behind a head.
    pub(crate) fn begin_body(&mut self, decoder: Decoder, expects_continue: bool, limit: u64) {
        self.decoder = decoder;
        // A client that sends its body at once does not wait, whatever it says.
        self.expect = if expects_continue && self.rx.bytes.is_empty() { Expect::Waiting } else { Expect::No };
        self.streamed = Streamed::Not;
        self.limit = limit;
        (self.received, self.written) = (0, 0);
        (self.waited_since, self.pause_since) = (None, None);
        self.scanner = Scanner::default();
    }

    /// Waits for a whole head. `quiet_at`: when to give up while not a byte of it is there.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        quiet_at: Instant,
        head_until: &mut Option<Instant>,
    ) -> Poll<Wait> {
        let limits = self.shared.config.head;
        loop {
            if !self.rx.bytes.is_empty() {
                match self.scanner.scan(&self.rx.bytes, limits) {
                    Ok(Scanned::Head { start, end }) => return Poll::Ready(Wait::Head { start, end }),
                    Ok(Scanned::More) => {}
                    Err(error) => return Poll::Ready(Wait::Bad(error)),
                }
            }
            if self.closed {
                return Poll::Ready(Wait::Closed);
            }
            // One byte more than the limit, so that the scanner sees that it is passed.
            if !self.rx.room((limits.bytes_max + 1).max(BUFFER_LEAST), self.lease.as_mut()) {
                return Poll::Ready(Wait::Bad(HeadError::NoMemory));
            }
            match self.rx.poll_read(cx, &mut self.socket) {
                Poll::Ready(Ok(0) | Err(_)) => self.closed = true,
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => {
                    let empty = self.rx.bytes.is_empty();
                    let until = || clock::now() + self.shared.config.head_timeout;
                    let deadline = if empty { quiet_at } else { *head_until.get_or_insert_with(until) };
                    ready!(self.timer.poll(cx, deadline));
                    return Poll::Ready(if empty { Wait::Quiet } else { Wait::Slow });
                }
            }
        }
    }

    /// Brings body bytes into `relay`, from the buffer or the socket. Ready with [`Loaded::Data`] or [`Loaded::End`].
    pub(crate) fn poll_load(&mut self, cx: &mut Context<'_>, relay: &mut Relay) -> Poll<Result<Loaded, BodyError>> {
        let loaded = self.poll_load_or_fail(cx, relay);
        self.broken |= matches!(loaded, Poll::Ready(Err(_)));
        loaded
    }

    fn poll_load_or_fail(&mut self, cx: &mut Context<'_>, relay: &mut Relay) -> Poll<Result<Loaded, BodyError>> {
        loop {
            // What did not fit into a small buffer is read before its beginning goes on: fewer and larger writes. What stands in the
            // way is met again when the rest is read.
            if !relay.draws(&self.decoder, &self.rx.bytes, &self.socket)
                && self.rx.read_ahead(self.decoder.announced(), BUFFER_MOST, self.lease.as_mut())
                && let Poll::Ready(Ok(1..)) = self.rx.poll_read(cx, &mut self.socket)
            {
                self.pause_since = None;
            }
            match relay.load(&mut self.decoder, &mut self.rx.bytes)? {
                Loaded::More => {}
                Loaded::Data(bytes) => {
                    self.count(bytes)?;
                    return Poll::Ready(Ok(Loaded::Data(bytes)));
                }
                Loaded::End => return Poll::Ready(Ok(Loaded::End)),
            }
            if relay.draws(&self.decoder, &self.rx.bytes, &self.socket) {
                if let Some(bytes) = ready!(self.poll_draw(cx, relay))? {
                    self.count(bytes)?;
                    return Poll::Ready(Ok(Loaded::Data(bytes)));
                }
                continue;
            }
            ready!(self.poll_fill(cx))?;
        }
    }

    fn count(&mut self, bytes: usize) -> Result<(), BodyError> {
        self.received += bytes as u64;
        if self.received <= self.limit { Ok(()) } else { Err(BodyError::TooLarge) }
    }

    /// Has more of the body go into `relay` without its passing through here; `None` where it must.
    fn poll_draw(&mut self, cx: &mut Context<'_>, relay: &mut Relay) -> Poll<Result<Option<usize>, BodyError>> {
        if self.closed {
            return Poll::Ready(Err(BodyError::Truncated));
        }
        ready!(self.poll_grant(cx))?;
        match relay.poll_draw(cx, &mut self.decoder, &mut self.socket) {
            Poll::Ready(Ok(Some(0))) => {
                self.closed = true;
                Poll::Ready(Err(BodyError::Truncated))
            }
            Poll::Ready(Ok(drawn)) => {
                self.pause_since = None;
                Poll::Ready(Ok(drawn))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(BodyError::Lost)),
            Poll::Pending => self.poll_late(cx).map(Err),
        }
    }

    /// Ready when the body has come too slowly.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let deadline = self.body_deadline();
        ready!(self.timer.poll(cx, deadline));
        Stats::add(&self.shared.stats.timeouts);
        Poll::Ready(BodyError::TooSlow)
    }

    /// Reads more of the body.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        if self.closed {
            return Poll::Ready(Err(BodyError::Truncated));
        }
        ready!(self.poll_grant(cx))?;
        if !self.rx.room_for(self.decoder.announced(), BUFFER_MOST, self.lease.as_mut()) {
            return Poll::Ready(Err(BodyError::NoMemory));
        }
        match self.rx.poll_read(cx, &mut self.socket) {
            // The body of a stream may end with it.
            Poll::Ready(Ok(0)) if self.decoder.closed().is_ok() => Poll::Ready(Ok(())),
            Poll::Ready(Ok(0)) => {
                self.closed = true;
                Poll::Ready(Err(BodyError::Truncated))
            }
            Poll::Ready(Ok(_)) => {
                self.pause_since = None;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::OutOfMemory => {
                Poll::Ready(Err(BodyError::NoMemory))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(BodyError::Lost)),
            Poll::Pending => self.poll_late(cx).map(Err),
        }
    }

    /// No pause longer than the stall timeout, and on the whole no slower than the least rate: one byte now and then does
    /// not hold a connection.
    fn body_deadline(&mut self) -> Instant {
        let config = &self.shared.config;
        let pause = *self.pause_since.get_or_insert_with(clock::now);
        let first = *self.waited_since.get_or_insert(pause);
        let gap = pause + config.stall_timeout;
        match self.received.checked_div(config.body_rate_min) {
            None => gap,
            Some(earned) => gap.min(first + config.stall_timeout + Duration::from_secs(earned.min(1 << 32))),
        }
    }

    /// Says `100 Continue` to a client that waits for it.
    fn poll_grant(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        if self.expect != Expect::No
            && let Socket::Substream(stream) = &self.socket
        {
            self.expect = Expect::No;
            return Poll::Ready(stream.send_continue().map_err(|_| BodyError::Lost));
        }
        loop {
            let done = match self.expect {
                Expect::No => return Poll::Ready(Ok(())),
                Expect::Waiting => 0,
                Expect::Granting(done) => done,
            };
            let rest = CONTINUE.get(done..).unwrap_or_default();
            if rest.is_empty() {
                self.expect = Expect::No;
                continue;
            }
            let written = ready!(self.socket.poll_write(cx, &[IoSlice::new(rest)])).map_err(|_| BodyError::Lost)?;
            self.expect = Expect::Granting(done + written);
        }
    }

    /// Looks whether the client went away while its answer is being made. Never ready while it is there. What it sends
    /// meanwhile (pipelined requests) is read into the free part of the buffer and no further.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if let Socket::Substream(stream) = &self.socket {
            return stream.poll_gone(cx);
        }
        while !self.closed && self.rx.bytes.capacity() > self.rx.bytes.len() {
            match ready!(self.rx.poll_read(cx, &mut self.socket)) {
                Ok(0) => self.closed = true,
                Ok(_) => {}
                Err(error) => return Poll::Ready(error),
            }
        }
        Poll::Pending
    }

    /// Gives buffers and timer back: the connection goes to sleep.
    pub(crate) fn sleep(&mut self) {
        self.rx.release();
        self.timer.clear();
        self.socket.rest();
        self.lease = None;
    }
}
