use std::{
    cell::Cell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::conn::Local;

/// Seen from both sides of `h2`.
pub(super) struct Meter {
    /// Bytes that may be read until the driver sets it again.
    pub(super) allowance: Cell<usize>,
    /// The socket did not take what was last offered.
    pub(super) blocked: Cell<bool>,
    /// Something was read since the driver looked.
    pub(super) heard: Cell<bool>,
}

/// What `h2` reads and writes through: replays bytes that were read already, counts, and lets a connection read only so
/// much before its streams are polled. Vectored writes must pass, or `h2` copies payloads under 1 KiB.
pub(super) struct Wire<T> {
    io: T,
    first: BytesMut,
    meter: Rc<Meter>,
    local: Rc<Local>,
}

impl<T> Wire<T> {
    pub(super) fn new(io: T, first: BytesMut, meter: Rc<Meter>, local: Rc<Local>) -> Self {
        Self { io, first, meter, local }
    }

    fn written(&self, result: &Poll<io::Result<usize>>) {
        self.meter.blocked.set(result.is_pending());
        if let Poll::Ready(Ok(count)) = result {
            self.local.stats().bytes_out.add(*count as u64);
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Wire<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let count = buf.remaining().min(self.first.len());
            buf.put_slice(&self.first[..count]);
            self.first.advance(count);
            if self.first.is_empty() {
                self.first = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        let allowed = self.meter.allowance.get();
        if allowed == 0 {
            cx.waker().wake_by_ref(); // another turn, after the streams had theirs
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let done = Pin::new(&mut self.io).poll_read(cx, buf);
        let count = buf.filled().len() - before;
        self.meter.allowance.set(allowed.saturating_sub(count));
        self.meter.heard.set(self.meter.heard.get() | (count > 0));
        self.local.stats().bytes_in.add(count as u64);
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
