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

use crate::multiplex::Substream;

/// The streams that HTTP runs over.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// A stream of an HTTP/2 connection.
    Substream(Rc<Substream>),
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

impl Socket {
    /// Whether a read would find bytes or the end. Asks the reactor's memory, not the system.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(stream) => stream.poll_read_ready(cx),
            Socket::Unix(stream) => stream.poll_read_ready(cx),
            Socket::Substream(_) => Poll::Pending,
        }
    }

    /// Reads into the free capacity of `buf`, which must not be empty; 0 is the end.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        let free = buf.capacity() - buf.len();
        debug_assert!(free > 0, "a read without room looks like the end");
        let mut room = (&mut *buf).limit(free);
        match self {
            Socket::Tcp(stream) => pin!(stream.read_buf(&mut room)).poll(cx),
            Socket::Unix(stream) => pin!(stream.read_buf(&mut room)).poll(cx),
            Socket::Substream(stream) => stream.poll_read(cx, buf),
        }
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        // One part goes by the plain call, which costs the kernel less than the gathering one.
        let written = match (self, parts) {
            (Socket::Tcp(stream), [part]) => Pin::new(stream).poll_write(cx, part),
            (Socket::Unix(stream), [part]) => Pin::new(stream).poll_write(cx, part),
            (Socket::Tcp(stream), parts) => Pin::new(stream).poll_write_vectored(cx, parts),
            (Socket::Unix(stream), parts) => Pin::new(stream).poll_write_vectored(cx, parts),
            (Socket::Substream(stream), parts) => stream.poll_write(cx, parts),
        };
        match written {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            other => other,
        }
    }

    /// Has the close of the socket, which is to come, say that what was sent is not all. On a unix socket it cannot.
    pub(crate) fn reset(&self) {
        match self {
            Socket::Tcp(stream) => {
                if let Err(error) = stream.set_zero_linger() {
                    tracing::debug!(%error, "a connection that is cut ends as if it were whole");
                }
            }
            Socket::Substream(stream) => stream.reset(),
            Socket::Unix(_) => {}
        }
    }

    /// Says to the other side that no more comes.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Substream(stream) => Poll::Ready(stream.finish()),
        }
    }
}
