//! The body of a request, as it came.

use std::{
    io::{self, ErrorKind},
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes, BytesMut};
use h2::RecvStream;

use super::account::Account;

/// Consumed bytes are given back to the window in steps: each gift takes a lock and may send a frame.
const GIVE_STEP: usize = 8 << 10;

/// Room beside what is left that is not worth a copy.
const SLACK: usize = 4 << 10;

/// What came of a body and was not read yet: at most one stream window, since nothing unread is given back.
pub(super) struct Inbox {
    body: RecvStream,
    /// One frame as `h2` gave it: a slice of its read buffer, so it stays no longer than one poll.
    front: Bytes,
    /// What came behind it, copied: it pins nothing.
    back: BytesMut,
    /// Read, and not yet given back to the window.
    consumed: usize,
    pub(super) ended: bool,
    /// There was no room for it.
    lost: bool,
    /// Who waits in a future of its own inside of the request's: `h2` knows one waker a stream.
    pub(super) reader: Option<Waker>,
}

impl Inbox {
    pub(super) fn new(body: RecvStream) -> Self {
        let ended = body.is_end_stream();
        Self { body, front: Bytes::new(), back: BytesMut::new(), consumed: 0, ended, lost: false, reader: None }
    }

    pub(super) fn available(&self) -> usize {
        self.front.len() + self.back.len()
    }

    /// Takes one frame out of `h2`, or its end.
    pub(super) fn poll_frame(&mut self, account: &Account, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lost {
            return Poll::Ready(Err(ErrorKind::OutOfMemory.into()));
        }
        match self.body.poll_data(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                // Trailers, which nobody wants, would stay in `h2` as long as the stream.
                let trailers = self.body.poll_trailers(cx);
                tracing::trace!(?trailers, "the client has sent its last");
                self.ended = true;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Err(io::Error::other(error))),
            Poll::Ready(Some(Ok(frame))) => {
                self.ended = self.body.is_end_stream();
                if !account.hold(frame.len()) {
                    account.release(frame.len());
                    self.consumed += frame.len();
                    self.forget(account);
                    self.lost = true;
                    return Poll::Ready(Err(ErrorKind::OutOfMemory.into()));
                }
                if self.available() == 0 {
                    self.front = frame;
                } else {
                    self.back.extend_from_slice(&frame);
                }
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Moves what there is room for.
    pub(super) fn read(&mut self, account: &Account, buf: &mut BytesMut) -> usize {
        let room = buf.capacity() - buf.len();
        let from_front = room.min(self.front.len());
        buf.extend_from_slice(&self.front.split_to(from_front));
        let from_back = (room - from_front).min(self.back.len());
        buf.extend_from_slice(self.back.get(..from_back).unwrap_or_default());
        self.back.advance(from_back);
        if self.back.is_empty() {
            self.back = BytesMut::new();
        } else if self.back.capacity() > 2 * self.back.len() + SLACK {
            // What is charged is what is left: the room of what was read goes.
            self.back = BytesMut::from(&self.back[..]);
        }
        let count = from_front + from_back;
        account.release(count);
        self.consumed += count;
        if self.available() == 0 || self.consumed >= GIVE_STEP {
            self.give_back();
        }
        count
    }

    /// Lets go of what was not read. `h2` gives the connection's window back for it.
    pub(super) fn forget(&mut self, account: &Account) {
        let unread = self.available();
        (self.front, self.back) = (Bytes::new(), BytesMut::new());
        account.release(unread);
        self.consumed += unread;
        self.give_back();
    }

    fn give_back(&mut self) {
        let count = std::mem::take(&mut self.consumed);
        if count > 0 {
            // Fails only for more than was received, and we give back what we counted.
            let given = self.body.flow_control().release_capacity(count);
            debug_assert!(given.is_ok(), "gave back more than came");
        }
    }

    /// Copies what is a slice of `h2`'s read buffer.
    pub(super) fn unpin(&mut self) {
        if self.front.is_empty() {
            return;
        }
        if self.back.is_empty() {
            self.back.extend_from_slice(&self.front);
        } else {
            let mut all = BytesMut::with_capacity(self.available());
            all.extend_from_slice(&self.front);
            all.extend_from_slice(&self.back);
            self.back = all;
        }
        self.front = Bytes::new();
    }
}
