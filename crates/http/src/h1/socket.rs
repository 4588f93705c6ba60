//! A connected socket, asked by polls so that one task can watch several.

use std::{
    io::{self, IoSlice},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
};

use bytes::{BufMut, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use crate::{
    multiplex::Substream,
    tls::{TlsInfo, TlsStream},
    upstream::Stream,
};

/// The streams that HTTP runs over.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream>),
    /// A TCP stream on the ring of its thread.
    Uring(tidegate_uring::Socket),
    /// A stream of an HTTP/2 connection.
    Substream(Rc<Substream>),
    /// One of an HTTP/2 connection to a server.
    Shared(Box<Stream>),
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Socket::Tcp(stream)
    }
}

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Socket::Unix(stream)
    }
}

impl From<Box<TlsStream>> for Socket {
    fn from(stream: Box<TlsStream>) -> Self {
        Socket::Tls(stream)
    }
}

impl Socket {
    /// Puts a plain TCP stream on the ring of this thread, where it has one.
    ///
    /// # Errors
    /// The stream cannot be taken from the reactor, or given back to it.
    pub(crate) fn settle(self) -> io::Result<Self> {
        let Socket::Tcp(stream) = self else { return Ok(self) };
        if !tidegate_uring::is_installed() {
            return Ok(Socket::Tcp(stream));
        }
        match tidegate_uring::adopt(stream.into_std()?.into()) {
            Ok(socket) => Ok(Socket::Uring(socket)),
            Err(fd) => TcpStream::from_std(fd.into()).map(Socket::Tcp),
        }
    }

    /// What its handshake has come to, where it had one.
    pub(crate) fn tls(&self) -> Option<TlsInfo<'_>> {
        match self {
            Socket::Tls(stream) => Some(stream.info()),
            Socket::Substream(stream) => stream.tls(),
            Socket::Tcp(_) | Socket::Unix(_) | Socket::Uring(_) | Socket::Shared(_) => None,
        }
    }

    /// Whether a read would find bytes or the end. Asks the reactor's memory, not the system.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(stream) => stream.poll_read_ready(cx),
            Socket::Unix(stream) => stream.poll_read_ready(cx),
            Socket::Tls(stream) => stream.poll_readable(cx),
            Socket::Uring(stream) => stream.poll_readable(cx),
            Socket::Substream(_) | Socket::Shared(_) => Poll::Pending,
        }
    }

    /// Reads into the free capacity of `buf`, which must not be empty; 0 is the end.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        let free = buf.capacity() - buf.len();
        debug_assert!(free > 0, "a read without room looks like the end");
        match self {
            Socket::Tcp(stream) => pin!(stream.read_buf(&mut buf.limit(free))).poll(cx),
            Socket::Unix(stream) => pin!(stream.read_buf(&mut buf.limit(free))).poll(cx),
            Socket::Tls(stream) => stream.poll_read_into(cx, free, |data| buf.extend_from_slice(data)),
            Socket::Uring(stream) => stream.poll_read(cx, buf),
            Socket::Substream(stream) => stream.poll_read(cx, buf),
            Socket::Shared(stream) => stream.poll_read(cx, buf),
        }
    }

    /// Whether the last read has left bytes behind, as far as is known, though there was room for them.
    pub(crate) fn has_more(&self) -> bool {
        matches!(self, Socket::Uring(stream) if stream.has_more())
    }

    /// What it reports as written may still be on its way: see [`Socket::poll_flush`].
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        // One part goes by the plain call, which costs the kernel less than the gathering one.
        let written = match (self, parts) {
            (Socket::Tcp(stream), [part]) => Pin::new(stream).poll_write(cx, part),
            (Socket::Unix(stream), [part]) => Pin::new(stream).poll_write(cx, part),
            (Socket::Uring(stream), parts) => stream.poll_write(cx, parts),
            (Socket::Tls(stream), parts) => stream.poll_write_parts(cx, parts),
            (Socket::Tcp(stream), parts) => Pin::new(stream).poll_write_vectored(cx, parts),
            (Socket::Unix(stream), parts) => Pin::new(stream).poll_write_vectored(cx, parts),
            (Socket::Substream(stream), parts) => stream.poll_write(cx, parts),
            (Socket::Shared(stream), parts) => stream.poll_write(cx, parts),
        };
        match written {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            other => other,
        }
    }

    /// Whether bytes that were written have not left.
    pub(crate) fn is_unsent(&self) -> bool {
        matches!(self, Socket::Tls(stream) if stream.is_unsent())
    }

    /// Ready when all that was written has left.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tls(stream) => stream.poll_flush(cx),
            Socket::Tcp(_) | Socket::Unix(_) | Socket::Uring(_) | Socket::Substream(_) | Socket::Shared(_) => {
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Gives memory back that it needs only while it is busy.
    pub(crate) fn rest(&mut self) {
        if let Socket::Tls(stream) = self {
            stream.rest();
        }
    }

    /// Tells the other side, where the protocol can, that an idle connection ends. One try.
    pub(crate) fn poll_farewell(&mut self, cx: &mut Context<'_>) {
        if let Socket::Tls(stream) = self
            && let Poll::Ready(Err(error)) = stream.poll_close(cx)
        {
            tracing::debug!(%error, "the other side had closed an idle connection first");
        }
    }

    /// Has the close of the socket, which is to come, say that what was sent is not all. On a unix socket it cannot.
    pub(crate) fn reset(&mut self) {
        let set = match self {
            Socket::Tcp(stream) => stream.set_zero_linger(),
            Socket::Uring(stream) => stream.set_zero_linger(),
            Socket::Tls(stream) => stream.socket().set_zero_linger(),
            Socket::Substream(stream) => return stream.reset(),
            Socket::Shared(stream) => return stream.reset(),
            Socket::Unix(_) => return,
        };
        if let Err(error) = set {
            tracing::debug!(%error, "a connection that is cut ends as if it were whole");
        }
    }

    /// All of a request was written: where the protocol has a mark for its end, it is set.
    pub(crate) fn end_request(&mut self) -> io::Result<()> {
        match self {
            Socket::Shared(stream) => stream.finish(),
            _ => Ok(()),
        }
    }

    /// Says to the other side that no more comes.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Tls(stream) => stream.poll_close(cx),
            Socket::Uring(stream) => stream.poll_shutdown(cx),
            Socket::Substream(stream) => Poll::Ready(stream.finish()),
            Socket::Shared(stream) => Poll::Ready(stream.finish()),
        }
    }
}
