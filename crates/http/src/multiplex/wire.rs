//! What `h2` reads and writes through.

use std::{
    cell::Cell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::flood::Frames;

/// Bytes of the client's preface. RFC 9113, 3.4.
const PREFACE_LEN: usize = 24;

/// Seen from both sides of `h2`.
#[derive(Default)]
pub(super) struct Meter {
    /// Bytes that may be read until the driver sets it again.
    pub(super) allowance: Cell<usize>,
    /// What came cost, less what it brought, since the driver looked.
    pub(super) cost: Cell<i64>,
    /// The socket did not take what was last offered.
    pub(super) blocked: Cell<bool>,
    /// It took something since the driver looked.
    pub(super) moved: Cell<bool>,
}

/// Replays bytes that were read already, and lets a connection read only so much before its streams are polled.
pub(super) struct Wire<T> {
    io: T,
    first: BytesMut,
    meter: Rc<Meter>,
    frames: Frames,
}

impl<T> Wire<T> {
    pub(super) fn new(io: T, first: BytesMut, meter: Rc<Meter>) -> Self {
        Self { io, first, meter, frames: Frames::new(PREFACE_LEN) }
    }

    fn written(&self, result: &Poll<io::Result<usize>>) {
        self.meter.blocked.set(result.is_pending());
        self.meter.moved.set(self.meter.moved.get() | result.is_ready());
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Wire<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let allowed = this.meter.allowance.get();
        if allowed == 0 {
            cx.waker().wake_by_ref(); // another turn, after the streams had theirs
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let done = if this.first.is_empty() {
            Pin::new(&mut this.io).poll_read(cx, buf)
        } else {
            let count = buf.remaining().min(this.first.len());
            buf.put_slice(&this.first[..count]);
            this.first.advance(count);
            if this.first.is_empty() {
                this.first = BytesMut::new();
            }
            Poll::Ready(Ok(()))
        };
        let came = buf.filled().get(before..).unwrap_or_default();
        this.meter.allowance.set(allowed.saturating_sub(came.len()));
        this.meter.cost.set(this.meter.cost.get() + this.frames.cost(came));
        done
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        self.written(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.written(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
