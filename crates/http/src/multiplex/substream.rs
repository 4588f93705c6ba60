//! One stream, in the place of a socket.

use std::{
    cell::{Cell, RefCell},
    fmt,
    io::{self, ErrorKind, IoSlice},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::{Buf, BufMut, BytesMut};
use h2::{Reason, RecvStream, SendStream, server::SendResponse};

use super::{account::Account, head, inbox::Inbox};
use crate::{
    message::{Length, Response},
    tls::TlsInfo,
};

/// Unsent bytes of one answer. Two frames of the usual size: one being written, one behind it.
pub(super) const QUEUED_MAX: usize = 32 << 10;
/// One piece: what a frame can hold, unless the client allows more.
const PIECE_MAX: usize = 16 << 10;

/// A stream of an HTTP/2 connection. The request that holds it reads and writes; the connection's task pulls what is left.
pub struct Substream {
    inbox: RefCell<Inbox>,
    outbox: RefCell<Outbox>,
    queue: Rc<Queue>,
}

struct Outbox {
    side: Side,
    /// Bytes that are still to come of a body of known length.
    left: Option<u64>,
}

enum Side {
    /// Nothing was sent.
    Silent(SendResponse<Piece>),
    Open(SendStream<Piece>),
    /// All was given to `h2`, or the stream was reset.
    Ended,
}

/// What of a stream's answer `h2` has and the socket has not.
pub(super) struct Queue {
    bytes: Cell<usize>,
    /// Who waits for room, or for the client's reset.
    writer: RefCell<Option<Waker>>,
    account: Rc<Account>,
}

/// Bytes on their way out. Dropped when they are sent, or never will be.
pub(super) struct Piece {
    bytes: Vec<u8>,
    at: usize,
    queue: Rc<Queue>,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn advance(&mut self, count: usize) {
        self.at += count;
        assert!(self.at <= self.bytes.len(), "advanced beyond the end");
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.queue.bytes.set(self.queue.bytes.get() - self.bytes.len());
        self.queue.account.sent(self.bytes.len());
        // Only puts the request into the list of those to be polled: `h2` may be in the middle of something.
        if let Some(writer) = self.queue.writer.take() {
            writer.wake();
        }
    }
}

impl Substream {
    /// What the handshake of its connection has come to.
    pub(crate) fn tls(&self) -> Option<TlsInfo<'_>> {
        self.queue.account.tls()
    }

    pub(super) fn new(body: RecvStream, respond: SendResponse<Piece>, account: Rc<Account>) -> Rc<Self> {
        let inbox = Inbox::new(body);
        let queue = Rc::new(Queue { bytes: Cell::new(0), writer: RefCell::default(), account });
        let outbox = Outbox { side: Side::Silent(respond), left: None };
        Rc::new(Self { inbox: RefCell::new(inbox), outbox: RefCell::new(outbox), queue })
    }

    /// Reads into the free capacity of `buf`; 0 is the end of the body.
    pub(crate) fn poll_read(&self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        let inbox = &mut *self.inbox.borrow_mut();
        while inbox.available() == 0 {
            if inbox.ended {
                return Poll::Ready(Ok(0));
            }
            match inbox.poll_frame(&self.queue.account, cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    inbox.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(inbox.read(&self.queue.account, buf)))
    }

    /// Takes what there is room for; 0 bytes never.
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let outbox = &mut *self.outbox.borrow_mut();
        let Side::Open(stream) = &mut outbox.side else { return Poll::Ready(Err(ErrorKind::BrokenPipe.into())) };
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let count = total.min(PIECE_MAX).min(QUEUED_MAX - self.queue.bytes.get());
        let account = &self.queue.account;
        if count == 0 || !account.queue(count) {
            if count > 0 && !account.is_sending() {
                // Nobody's end would make room.
                return Poll::Ready(Err(ErrorKind::OutOfMemory.into()));
            }
            if count > 0 {
                account.wait(cx.waker());
            }
            *self.queue.writer.borrow_mut() = Some(cx.waker().clone());
            // A reset is told to who waits for room, too.
            return stream.poll_reset(cx).map(|_| Err(ErrorKind::ConnectionReset.into()));
        }
        let mut bytes = Vec::with_capacity(count);
        for part in parts {
            bytes.put_slice(part.get(..part.len().min(count - bytes.len())).unwrap_or_default());
        }
        self.queue.bytes.set(self.queue.bytes.get() + count);
        let piece = Piece { bytes, at: 0, queue: Rc::clone(&self.queue) };
        outbox.left = outbox.left.map(|left| left.saturating_sub(count as u64));
        let last = outbox.left == Some(0);
        let sent = stream.send_data(piece, last).map(|()| count).map_err(io::Error::other);
        if last {
            outbox.side = Side::Ended;
        }
        Poll::Ready(sent)
    }

    /// Sends the head of an answer; `length` is that of the body behind it. Gives the bytes of the head, uncompressed.
    ///
    /// # Errors
    /// The stream is no more.
    pub(crate) fn send_head(
        &self,
        response: &Response,
        announced: Option<u64>,
        length: Length,
    ) -> Result<u64, io::Error> {
        let outbox = &mut *self.outbox.borrow_mut();
        let Side::Silent(respond) = &mut outbox.side else { return Err(ErrorKind::BrokenPipe.into()) };
        let (head, bytes) = head::response(response, announced);
        let ends = length == Length::Known(0);
        let stream = respond.send_response(head, ends).map_err(io::Error::other)?;
        outbox.side = if ends { Side::Ended } else { Side::Open(stream) };
        outbox.left = match length {
            Length::Known(bytes) => Some(bytes),
            Length::Unknown => None,
        };
        Ok(bytes)
    }

    /// Says `100 Continue`.
    pub(crate) fn send_continue(&self) -> io::Result<()> {
        let Side::Silent(respond) = &mut self.outbox.borrow_mut().side else { return Ok(()) };
        let mut head = http::Response::new(());
        *head.status_mut() = http::StatusCode::CONTINUE;
        respond.send_informational(head).map_err(io::Error::other)
    }

    /// The body is complete: its last frame says so, or an empty one.
    pub(crate) fn finish(&self) -> io::Result<()> {
        let mut outbox = self.outbox.borrow_mut();
        match std::mem::replace(&mut outbox.side, Side::Ended) {
            Side::Open(mut stream) => {
                let piece = Piece { bytes: Vec::new(), at: 0, queue: Rc::clone(&self.queue) };
                stream.send_data(piece, true).map_err(io::Error::other)
            }
            Side::Silent(_) | Side::Ended => Ok(()),
        }
    }

    /// Cuts the answer.
    pub(crate) fn reset(&self) {
        match std::mem::replace(&mut self.outbox.borrow_mut().side, Side::Ended) {
            Side::Silent(mut respond) => respond.send_reset(Reason::INTERNAL_ERROR),
            Side::Open(mut stream) => stream.send_reset(Reason::INTERNAL_ERROR),
            Side::Ended => {}
        }
    }

    /// Ready when the client has reset the stream, or is gone.
    pub(crate) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let reset = match &mut self.outbox.borrow_mut().side {
            Side::Silent(respond) => respond.poll_reset(cx),
            Side::Open(stream) => stream.poll_reset(cx),
            Side::Ended => return Poll::Pending,
        };
        if reset.is_pending() {
            *self.queue.writer.borrow_mut() = Some(cx.waker().clone());
        }
        reset.map(|_| ErrorKind::ConnectionReset.into())
    }

    /// Wakes those inside of a request that do not wait with its own waker.
    pub(super) fn wake_inner(&self, own: &Waker) {
        let waiters = [self.inbox.borrow_mut().reader.take(), self.queue.writer.take()];
        waiters.into_iter().flatten().filter(|waker| !waker.will_wake(own)).for_each(Waker::wake);
    }

    /// Takes what the request left unread out of `h2`, where it would pin read buffers and hold the connection's window.
    pub(super) fn pull(&self, cx: &mut Context<'_>) {
        let inbox = &mut *self.inbox.borrow_mut();
        let mut news = false;
        while !inbox.ended {
            match inbox.poll_frame(&self.queue.account, cx) {
                Poll::Ready(Ok(())) => news = true,
                // The request hears of it when it reads or writes.
                Poll::Ready(Err(_)) => {
                    news = true;
                    break;
                }
                Poll::Pending => break,
            }
        }
        inbox.unpin();
        if news && let Some(reader) = inbox.reader.take() {
            reader.wake();
        }
    }
}

impl Drop for Substream {
    fn drop(&mut self) {
        self.inbox.get_mut().forget(&self.queue.account);
    }
}

impl fmt::Debug for Substream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Substream").field("queued", &self.queue.bytes.get()).finish_non_exhaustive()
    }
}

/// Answers a stream that never became a request.
pub(super) fn refuse(mut respond: SendResponse<Piece>, status: u16) {
    let (head, _) = head::response(&Response::new(status), Some(0));
    if respond.send_response(head, true).is_err() {
        tracing::trace!("a stream was reset before it was refused");
    }
}
