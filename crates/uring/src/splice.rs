//! Bytes between a socket and a pipe, which stay in the kernel.

use std::{
    io,
    os::fd::AsFd,
    task::{Context, Poll, ready},
};

use rustix::{
    io::{Errno, ioctl_fionbio, ioctl_fionread},
    net::{RecvFlags, recv},
    pipe::{SpliceFlags, splice},
};
use tokio::task::coop::poll_proceed;

use crate::{socket::Socket, state::Input};

impl Socket {
    /// Whether the next bytes can go into a pipe: none of them stand in a buffer already.
    pub fn can_drain(&self) -> bool {
        !matches!(self.state.input.get(), Input::Got { .. })
    }

    /// Moves up to `most` bytes into an empty `pipe`; 0 is the end. To be called when [`Socket::can_drain`] says so.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>, pipe: impl AsFd, most: usize) -> Poll<io::Result<usize>> {
        let coop = ready!(poll_proceed(cx));
        let drained = self.drain(cx, pipe, most);
        if drained.is_ready() {
            coop.made_progress();
        }
        drained
    }

    fn drain(&self, cx: &mut Context<'_>, pipe: impl AsFd, most: usize) -> Poll<io::Result<usize>> {
        let state = &self.state;
        loop {
            match state.input.get() {
                Input::Got { .. } => return Poll::Ready(Err(io::ErrorKind::InvalidInput.into())),
                Input::Ended => return Poll::Ready(Ok(0)),
                Input::Failed(error) => return Poll::Ready(Err(io::Error::from_raw_os_error(error))),
                Input::Receiving | Input::Watching => {
                    state.reader.set(cx);
                    return Poll::Pending;
                }
                Input::Unknown | Input::Guessed | Input::Readable => {}
            }
            // Without bytes the call would wait for some, and the thread with it.
            if ioctl_fionread(&state.fd).map_err(io::Error::from)? == 0 {
                match recv(&state.fd, &mut [0u8], RecvFlags::DONTWAIT | RecvFlags::PEEK) {
                    // They came just now, or stand behind urgent ones: then the call says that this is the end.
                    Ok((1.., _)) => {}
                    looked => {
                        match looked {
                            Err(Errno::AGAIN) => self.watch()?,
                            Err(Errno::INTR) => {}
                            Err(error) => state.input.set(Input::Failed(error.raw_os_error())),
                            Ok(_) => state.input.set(Input::Ended),
                        }
                        continue;
                    }
                }
            }
            match splice(&state.fd, None, &pipe, None, most, SpliceFlags::NONBLOCK) {
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
                Ok(0) => state.input.set(Input::Ended),
                Ok(count) => {
                    state.input.set(if count < most { Input::Guessed } else { Input::Unknown });
                    return Poll::Ready(Ok(count));
                }
            }
        }
    }

    /// Moves up to `most` bytes out of a `pipe` that holds some. Until [`Socket::end_fill`], waiting costs more than usual.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, pipe: impl AsFd, most: usize) -> Poll<io::Result<usize>> {
        let coop = ready!(poll_proceed(cx));
        let filled = self.fill(cx, pipe, most);
        if filled.is_ready() {
            coop.made_progress();
        }
        filled
    }

    fn fill(&self, cx: &mut Context<'_>, pipe: impl AsFd, most: usize) -> Poll<io::Result<usize>> {
        ready!(self.poll_idle(cx))?;
        let state = &self.state;
        // The call has no flag for it.
        if !state.nonblocking.replace(true) {
            ioctl_fionbio(&state.fd, true).inspect_err(|_| state.nonblocking.set(false))?;
        }
        loop {
            match splice(&pipe, None, &state.fd, None, most, SpliceFlags::NONBLOCK) {
                Err(Errno::AGAIN) => return self.wait_for_room(cx),
                Err(Errno::INTR) => {}
                done => return Poll::Ready(done.map_err(io::Error::from)),
            }
        }
    }

    /// No [`Socket::poll_fill`] follows for now.
    ///
    /// # Errors
    /// What the system says. The socket is of no use then.
    pub fn end_fill(&mut self) -> io::Result<()> {
        let state = &self.state;
        if state.nonblocking.replace(false) {
            ioctl_fionbio(&state.fd, false)?
        }
        Ok(())
    }
}
