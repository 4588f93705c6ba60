//! A connected socket on a ring.

use std::{
    fmt,
    io::{self, ErrorKind, IoSlice},
    net::Shutdown,
    os::fd::OwnedFd,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{BufMut, BytesMut};
use io_uring::{opcode, squeue};
use socket2::SockRef;
use tokio::task::coop::poll_proceed;

use crate::{
    buffers::{BUFFER_BYTES, GROUP},
    driver::linger,
    ring::Ring,
    state::{Input, Kind, Output, State},
};

/// Most bytes that are copied to be sent with others' in one call.
pub(crate) const SEND_MAX: usize = 4 << 10;

// Source: linux/io_uring.h, linux/socket.h, poll.h; the same on all machines.
const POLL_FIRST: u16 = 1;
const MSG_DONTWAIT: i32 = 0x40;
const MSG_WAITALL: i32 = 0x100;
const MSG_NOSIGNAL: i32 = 0x4000;
const POLLIN: u32 = 1;
const POLLOUT: u32 = 4;

/// A socket, polled by one task. Dropped, it closes when what was written has left, at the latest after two seconds.
pub struct Socket {
    ring: Rc<Ring>,
    pub(crate) state: Rc<State>,
}

impl Socket {
    pub(crate) fn new(ring: Rc<Ring>, fd: OwnedFd) -> Result<Self, OwnedFd> {
        // Else the kernel would not wait for bytes but say that there are none.
        if SockRef::from(&fd).set_nonblocking(false).is_err() {
            return Err(fd);
        }
        let state = ring.add(fd);
        Ok(Self { ring, state })
    }

    /// Ready when a read would find bytes, the end or an error, as far as is known.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = &self.state;
        match state.input.get() {
            Input::Unknown => self.receive()?,
            Input::Guessed => self.watch()?,
            Input::Receiving | Input::Watching => {}
            Input::Readable | Input::Got { .. } | Input::Ended | Input::Failed(_) => return Poll::Ready(Ok(())),
        }
        state.reader.set(cx);
        Poll::Pending
    }

    /// Reads into the free capacity of `buf`, which must not be empty; 0 is the end.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        let coop = ready!(poll_proceed(cx));
        let read = self.read(cx, buf);
        if read.is_ready() {
            coop.made_progress();
        }
        read
    }

    /// Whether the last read has taken all that one buffer holds, so that more is likely to be there.
    pub fn has_more(&self) -> bool {
        matches!(self.state.input.get(), Input::Guessed)
    }

    fn read(&self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        let state = &self.state;
        let free = buf.capacity() - buf.len();
        loop {
            match state.input.get() {
                Input::Got { buffer, at, end } => {
                    let to = end.min(at.saturating_add(u16::try_from(free).unwrap_or(u16::MAX)));
                    self.ring.read(buffer, at, to, to == end, |bytes| buf.extend_from_slice(bytes));
                    state.input.set(match to == end {
                        false => Input::Got { buffer, at: to, end },
                        true if end == BUFFER_BYTES => Input::Guessed,
                        true => Input::Unknown,
                    });
                    return Poll::Ready(Ok(usize::from(to - at)));
                }
                Input::Ended => return Poll::Ready(Ok(0)),
                Input::Failed(error) => return Poll::Ready(Err(io::Error::from_raw_os_error(error))),
                Input::Guessed | Input::Readable => match self.read_now(buf, free) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => state.input.set(Input::Unknown),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => {
                        state.input.set(Input::Failed(error.raw_os_error().unwrap_or_default()));
                        return Poll::Ready(Err(error));
                    }
                    done => return Poll::Ready(done),
                },
                Input::Unknown => self.receive()?,
                Input::Receiving | Input::Watching => {
                    state.reader.set(cx);
                    return Poll::Pending;
                }
            }
        }
    }

    fn read_now(&self, buf: &mut BytesMut, free: usize) -> io::Result<usize> {
        let room = buf.spare_capacity_mut().get_mut(..free).unwrap_or_default();
        let count = SockRef::from(&self.state.fd).recv_with_flags(room, MSG_DONTWAIT)?;
        // SAFETY: so many bytes of the room were written.
        unsafe { buf.advance_mut(count) };
        self.state.input.set(match count {
            0 => Input::Ended,
            // Less than there was room for: nothing more is there.
            count if count < free => Input::Unknown,
            _ => Input::Guessed,
        });
        Ok(count)
    }

    fn receive(&self) -> io::Result<()> {
        if self.state.nonblocking.get() {
            return self.watch();
        }
        let entry = opcode::Recv::new(self.state.target(), std::ptr::null_mut(), 0).buf_group(GROUP).ioprio(POLL_FIRST);
        self.state.input.set(Input::Receiving);
        self.expect(Kind::Receive, entry.build().flags(squeue::Flags::BUFFER_SELECT))
    }

    pub(crate) fn watch(&self) -> io::Result<()> {
        self.state.input.set(Input::Watching);
        self.expect(Kind::Readable, opcode::PollAdd::new(self.state.target(), POLLIN).build())
    }

    fn expect(&self, kind: Kind, entry: squeue::Entry) -> io::Result<()> {
        self.ring.start(&self.state, kind, entry).inspect_err(|_| self.state.input.set(Input::Unknown))
    }

    /// Writes what there is room for, at least a byte. Up to 4 KiB count as written before they have left.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let coop = ready!(poll_proceed(cx));
        let written = self.write(cx, parts);
        if written.is_ready() {
            coop.made_progress();
        }
        written
    }

    fn write(&self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        ready!(self.poll_idle(cx))?;
        let total: usize = parts.iter().map(|part| part.len()).sum();
        if total > SEND_MAX || self.state.nonblocking.get() {
            return self.write_now(cx, parts);
        }
        let mut bytes = Vec::with_capacity(total);
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        let bytes = bytes.into_boxed_slice();
        let length = u32::try_from(total).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(self.state.target(), bytes.as_ptr(), length).flags(MSG_NOSIGNAL | MSG_WAITALL);
        self.state.output.replace(Output::Sending(bytes));
        let started = self.ring.start(&self.state, Kind::Send, entry.build());
        if started.is_err() {
            self.state.output.replace(Output::Idle);
        }
        Poll::Ready(started.map(|()| total))
    }

    fn write_now(&self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            match SockRef::from(&self.state.fd).send_vectored_with_flags(parts, MSG_NOSIGNAL | MSG_DONTWAIT) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.wait_for_room(cx),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                done => return Poll::Ready(done),
            }
        }
    }

    /// Pending, until the socket takes more.
    pub(crate) fn wait_for_room<T>(&self, cx: &Context<'_>) -> Poll<io::Result<T>> {
        self.state.output.replace(Output::Full);
        let entry = opcode::PollAdd::new(self.state.target(), POLLOUT).build();
        if let Err(error) = self.ring.start(&self.state, Kind::Writable, entry) {
            self.state.output.replace(Output::Idle);
            return Poll::Ready(Err(error));
        }
        self.state.writer.set(cx);
        Poll::Pending
    }

    /// Ready when no entry stands in the way of a write.
    pub(crate) fn poll_idle(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self.state.output.borrow() {
            Output::Idle => Poll::Ready(Ok(())),
            Output::Failed(error) => Poll::Ready(Err(io::Error::from_raw_os_error(error))),
            Output::Sending(_) | Output::Full => {
                self.state.writer.set(cx);
                Poll::Pending
            }
        }
    }

    /// Says to the other side that no more comes, once all that was written has left.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_idle(cx))?;
        Poll::Ready(SockRef::from(&self.state.fd).shutdown(Shutdown::Write))
    }

    /// Has the close, which is to come, tell the other side that what was sent is not all.
    ///
    /// # Errors
    /// When the system refuses the option.
    pub fn set_zero_linger(&self) -> io::Result<()> {
        SockRef::from(&self.state.fd).set_linger(Some(Duration::ZERO))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let (ring, state) = (&self.ring, &self.state);
        state.dropped.set(true);
        // What the kernel took over a broken ring is waited for by nobody.
        let shut = ring.is_broken();
        let input = match state.input.get() {
            Input::Receiving => ring.cancel(state, Kind::Receive),
            Input::Watching => ring.cancel(state, Kind::Readable),
            _ => Ok(()),
        };
        let (is_sending, is_full) = (state.is_sending(), matches!(*state.output.borrow(), Output::Full));
        let output = if is_full { ring.cancel(state, Kind::Writable) } else { Ok(()) };
        if shut || input.and(output).is_err() {
            state.shut();
        }
        if is_sending {
            linger(ring, state);
        }
        ring.forget(state);
        if ring.is_over() {
            ring.wake_driver();
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("fd", &self.state.fd).finish_non_exhaustive()
    }
}
