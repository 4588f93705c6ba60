//! What the ring and a socket know of each other.

use std::{
    cell::{Cell, RefCell},
    net::Shutdown,
    os::fd::{AsRawFd, OwnedFd},
    task::{Context, Waker},
};

use io_uring::types::Fd;
use socket2::SockRef;

/// Kinds of entries: the lower bits of their names, below the key of their socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Kind {
    Receive,
    Send,
    Readable,
    Writable,
    Cancel,
}

const KIND_BITS: u32 = 3;

impl Kind {
    /// The name of an entry of this kind.
    pub(crate) const fn name(self, key: usize) -> u64 {
        (key as u64) << KIND_BITS | self as u64
    }

    /// Reads a name; `None` for those of cancellations, which nobody waits for.
    pub(crate) fn of(name: u64) -> Option<(Self, usize)> {
        let kind = match name & ((1 << KIND_BITS) - 1) {
            0 => Kind::Receive,
            1 => Kind::Send,
            2 => Kind::Readable,
            3 => Kind::Writable,
            _ => return None,
        };
        usize::try_from(name >> KIND_BITS).ok().map(|key| (kind, key))
    }
}

/// A socket's state. It lives until the kernel has answered all of its entries.
pub(crate) struct State {
    pub(crate) fd: OwnedFd,
    pub(crate) key: Cell<usize>,
    /// Entries that the kernel has not answered.
    pub(crate) flying: Cell<u8>,
    /// The socket was dropped.
    pub(crate) dropped: Cell<bool>,
    /// The system says that it would have to wait instead of doing so. Then an entry does not wait for bytes either.
    pub(crate) nonblocking: Cell<bool>,
    pub(crate) input: Cell<Input>,
    pub(crate) reader: Waiting,
    pub(crate) output: RefCell<Output>,
    pub(crate) writer: Waiting,
}

/// What is known of the bytes to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Input {
    Unknown,
    /// As many came as there was room for: more are likely to be there, and the plain call is tried first.
    Guessed,
    /// An entry waits for bytes.
    Receiving,
    /// An entry waits until there are bytes, and takes none.
    Watching,
    /// Bytes or the end are there, as far as is known: the plain call tells.
    Readable,
    /// They stand in a buffer, from `at` to `end`.
    Got {
        buffer: u16,
        at: u16,
        end: u16,
    },
    Ended,
    /// The number of an error.
    Failed(i32),
}

/// What becomes of the bytes that were written.
#[derive(Debug)]
pub(crate) enum Output {
    Idle,
    /// An entry sends them.
    Sending(Box<[u8]>),
    /// An entry waits until the socket takes more.
    Full,
    /// The number of an error.
    Failed(i32),
}

impl State {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self {
            fd,
            key: Cell::new(0),
            flying: Cell::new(0),
            dropped: Cell::new(false),
            nonblocking: Cell::new(false),
            input: Cell::new(Input::Unknown),
            reader: Waiting::default(),
            output: RefCell::new(Output::Idle),
            writer: Waiting::default(),
        }
    }

    pub(crate) fn target(&self) -> Fd {
        Fd(self.fd.as_raw_fd())
    }

    /// Ends the connection, and with it whatever waits for it.
    pub(crate) fn shut(&self) {
        if let Err(error) = SockRef::from(&self.fd).shutdown(Shutdown::Both) {
            tracing::debug!(%error, "a socket is not shut");
        }
    }

    pub(crate) fn is_sending(&self) -> bool {
        matches!(*self.output.borrow(), Output::Sending(_))
    }
}

/// Who is to be woken.
#[derive(Default)]
pub(crate) struct Waiting(RefCell<Option<Waker>>);

impl Waiting {
    pub(crate) fn set(&self, cx: &Context<'_>) {
        let old = {
            let mut slot = self.0.borrow_mut();
            match &*slot {
                Some(waker) if waker.will_wake(cx.waker()) => None,
                _ => slot.replace(cx.waker().clone()),
            }
        };
        drop(old);
    }

    pub(crate) fn take(&self) -> Option<Waker> {
        self.0.borrow_mut().take()
    }
}
