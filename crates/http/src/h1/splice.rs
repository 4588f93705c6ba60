//! Bodies that go from one plain socket to another inside of the kernel: through a pipe, and copied nowhere.

use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::OwnedFd,
    task::{Context, Poll, ready},
};

use rustix::{
    net::{RecvFlags, recv},
    pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice},
};
use tokio::{io::Interest, net::TcpStream};

use super::socket::Socket;

/// With less of a body to come, what the calls cost is more than the copies.
pub(crate) const SPLICE_LEAST: u64 = 24 << 10;
/// What a pipe holds, by pages that are the kernel's own: they are those of the socket's receive buffer.
const PIPE_BYTES: usize = 128 << 10;
/// Pipes of a thread. When all are in use, bodies are copied.
const PIPES_MAX: usize = 64;
/// Pipes that are kept for later.
const IDLE_MAX: usize = 8;

thread_local! {
    static IDLE: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

#[derive(Debug)]
struct Ends {
    reader: OwnedFd,
    writer: OwnedFd,
}

/// A pipe, and how many bytes are in it. Dropped empty, it is used again.
#[derive(Debug)]
pub(crate) struct Pipe {
    ends: Option<Ends>,
    held: usize,
}

impl Pipe {
    /// `None` when the thread has enough of them, or the system gives none.
    pub(crate) fn new() -> Option<Self> {
        if let Some(ends) = IDLE.with_borrow_mut(Vec::pop) {
            return Some(Self { ends: Some(ends), held: 0 });
        }
        if COUNT.get() >= PIPES_MAX {
            return None;
        }
        match pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK) {
            Ok((reader, writer)) => {
                if let Err(error) = fcntl_setpipe_size(&writer, PIPE_BYTES) {
                    tracing::debug!(%error, "a pipe is smaller than wanted");
                }
                COUNT.set(COUNT.get() + 1);
                Some(Self { ends: Some(Ends { reader, writer }), held: 0 })
            }
            Err(error) => {
                tracing::debug!(%error, "no pipe for a body, which is copied");
                None
            }
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Takes in up to `most` bytes from `source`, when it is empty; 0 is the end.
    pub(crate) fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Socket,
        most: u64,
    ) -> Poll<io::Result<usize>> {
        let Some(Ends { writer, .. }) = &self.ends else { return Poll::Ready(Ok(0)) };
        let most = usize::try_from(most.min(PIPE_BYTES as u64)).unwrap_or(usize::MAX);
        let drained = match source {
            Socket::Uring(socket) => socket.poll_drain(cx, writer, most),
            Socket::Tcp(socket) => {
                let socket = &*socket;
                let drained = ready!(poll_tcp(cx, socket, Interest::READABLE, |socket| {
                    splice(socket, None, writer, None, most, SpliceFlags::NONBLOCK)
                }));
                if drained.as_ref().is_ok_and(|count| *count == most) {
                    // The reactor does not know that nothing is left: it must be told, or an idle socket looks as if it were not.
                    let left = || Ok(recv(socket, &mut [0u8], RecvFlags::DONTWAIT | RecvFlags::PEEK)?);
                    socket.try_io(Interest::READABLE, left).ok();
                }
                Poll::Ready(drained)
            }
            _ => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        };
        self.held += ready!(&drained).as_ref().map_or(0, |count| *count);
        drained
    }

    /// Gives what it has to `sink`.
    pub(crate) fn poll_pour(&mut self, cx: &mut Context<'_>, sink: &mut Socket) -> Poll<io::Result<usize>> {
        let Some(Ends { reader, .. }) = &self.ends else { return Poll::Ready(Ok(0)) };
        let poured = match sink {
            Socket::Uring(socket) => ready!(socket.poll_fill(cx, reader, self.held)),
            Socket::Tcp(socket) => ready!(poll_tcp(cx, socket, Interest::WRITABLE, |socket| {
                splice(reader, None, socket, None, self.held, SpliceFlags::NONBLOCK)
            })),
            _ => Err(io::ErrorKind::Unsupported.into()),
        };
        let count = match poured? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            count => count,
        };
        self.held = self.held.saturating_sub(count);
        Poll::Ready(Ok(count))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let Some(ends) = self.ends.take() else { return };
        let put = |idle: &RefCell<Vec<Ends>>| {
            let mut idle = idle.borrow_mut();
            let kept = self.held == 0 && idle.len() < IDLE_MAX;
            if kept {
                idle.push(ends);
            }
            kept
        };
        // Without the list, the thread is ending.
        if !IDLE.try_with(put).unwrap_or(true) {
            COUNT.set(COUNT.get().saturating_sub(1));
        }
    }
}

impl Socket {
    /// Whether bytes can go between it and a pipe.
    pub(crate) const fn is_plain(&self) -> bool {
        matches!(self, Socket::Uring(_) | Socket::Tcp(_))
    }

    /// Whether its next bytes can go into a pipe.
    pub(crate) fn can_drain(&self) -> bool {
        match self {
            Socket::Uring(socket) => socket.can_drain(),
            other => other.is_plain(),
        }
    }

    /// No pipe is poured into it for now.
    pub(crate) fn end_fill(&mut self) -> io::Result<()> {
        match self {
            Socket::Uring(socket) => socket.end_fill(),
            _ => Ok(()),
        }
    }
}

fn poll_tcp(
    cx: &mut Context<'_>,
    socket: &TcpStream,
    interest: Interest,
    mut call: impl FnMut(&TcpStream) -> rustix::io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        if interest.is_readable() {
            ready!(socket.poll_read_ready(cx))?;
        } else {
            ready!(socket.poll_write_ready(cx))?;
        }
        match socket.try_io(interest, || call(socket).map_err(io::Error::from)) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            done => return Poll::Ready(done),
        }
    }
}
