use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};
use h2::RecvStream;

use super::Conn;
use crate::grpc::{PREFIX_LEN, Status};

/// Consumed bytes are given back to the window in steps: each gift takes a lock and may send a frame.
const GIVE_STEP: usize = 4 << 10;

/// What came on a stream and was not read yet: at most one stream window, since nothing unread is given back.
pub(super) struct Inbox {
    body: RecvStream,
    /// One frame as `h2` gave it: a slice of its read buffer, so it stays no longer than one poll.
    front: Bytes,
    /// What came behind it, copied: it pins nothing.
    back: BytesMut,
    /// Read, and not yet given back.
    consumed: usize,
    ended: bool,
    /// Who waits in a future of its own inside of the call's future.
    pub(super) reader: Option<Waker>,
}

impl Inbox {
    pub(super) fn new(body: RecvStream) -> Self {
        let ended = body.is_end_stream();
        Self { body, front: Bytes::new(), back: BytesMut::new(), consumed: 0, ended, reader: None }
    }

    pub(super) fn available(&self) -> usize {
        self.front.len() + self.back.len()
    }

    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Takes one frame out of `h2`; `Ready(false)` at the end of the stream.
    pub(super) fn poll_frame(&mut self, conn: &Conn, cx: &mut Context<'_>) -> Poll<Result<bool, Status>> {
        if self.ended {
            return Poll::Ready(Ok(false));
        }
        match self.body.poll_data(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                // Trailers, which nobody wants, would stay in `h2` as long as the stream.
                let trailers = self.body.poll_trailers(cx);
                tracing::trace!(?trailers, "the client has sent its last");
                self.ended = true;
                Poll::Ready(Ok(false))
            }
            Poll::Ready(Some(Err(_))) => Poll::Ready(Err(Status::CANCELLED)),
            Poll::Ready(Some(Ok(frame))) => {
                self.ended = self.body.is_end_stream();
                conn.hold(frame.len());
                if self.available() == 0 {
                    self.front = frame;
                } else {
                    self.back.extend_from_slice(&frame);
                }
                Poll::Ready(Ok(true))
            }
        }
    }

    /// Takes everything out of `h2`, so that nothing stays that pins its buffers.
    pub(super) fn pull(&mut self, conn: &Conn, cx: &mut Context<'_>) -> Result<bool, Status> {
        let mut news = false;
        while let Poll::Ready(more) = self.poll_frame(conn, cx)? {
            if !more {
                break;
            }
            news = true;
        }
        if !self.front.is_empty() {
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
        Ok(news)
    }

    pub(super) fn take_prefix(&mut self, conn: &Conn) -> [u8; PREFIX_LEN] {
        let mut prefix = [0; PREFIX_LEN];
        let from_front = self.front.len().min(PREFIX_LEN);
        prefix[..from_front].copy_from_slice(&self.front.split_to(from_front)); // all of it: nothing stays that pins
        self.back.copy_to_slice(&mut prefix[from_front..]);
        self.consume(conn, PREFIX_LEN);
        prefix
    }

    /// The next `len` bytes, all of which are here.
    pub(super) fn take_bytes(&mut self, conn: &Conn, len: usize) -> Bytes {
        let bytes = if len <= self.front.len() {
            self.front.split_to(len)
        } else if self.front.is_empty() && len == self.back.len() {
            std::mem::take(&mut self.back).freeze()
        } else {
            let mut copy = BytesMut::with_capacity(len);
            self.move_bytes(&mut copy, len);
            copy.freeze()
        };
        self.consume(conn, len);
        bytes
    }

    /// Moves at most `most` of what is here behind `out`.
    pub(super) fn move_into(&mut self, conn: &Conn, out: &mut BytesMut, most: usize) {
        let count = self.move_bytes(out, most);
        self.consume(conn, count);
    }

    fn move_bytes(&mut self, out: &mut BytesMut, most: usize) -> usize {
        let from_front = most.min(self.front.len());
        out.extend_from_slice(&self.front.split_to(from_front));
        let from_back = (most - from_front).min(self.back.len());
        out.extend_from_slice(&self.back[..from_back]);
        self.back.advance(from_back);
        if self.back.is_empty() {
            self.back = BytesMut::new();
        }
        from_front + from_back
    }

    fn consume(&mut self, conn: &Conn, count: usize) {
        self.consumed += count;
        if self.available() == 0 || self.consumed >= GIVE_STEP {
            self.give_back(conn, self.consumed);
            self.consumed = 0;
        }
    }

    fn give_back(&mut self, conn: &Conn, count: usize) {
        conn.release(count);
        // Fails only for more than was received, and we give back what we counted.
        let given = self.body.flow_control().release_capacity(count);
        debug_assert!(given.is_ok(), "gave back more than came");
    }

    /// Gives back nothing, upon which `h2` looks whether the window is due.
    pub(super) fn reopen(&mut self) {
        if !self.ended {
            let given = self.body.flow_control().release_capacity(0);
            debug_assert!(given.is_ok(), "nothing is never too much");
        }
    }

    /// Forgets what was not read. `h2` gives the window back when the stream is dropped.
    pub(super) fn clear(&mut self, conn: &Conn) {
        let unread = self.available() + std::mem::take(&mut self.consumed);
        (self.front, self.back) = (Bytes::new(), BytesMut::new());
        if unread > 0 {
            self.give_back(conn, unread);
        }
        self.ended = true;
        self.reader = None;
    }
}
