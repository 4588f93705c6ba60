//! Entries on their way to the kernel, and its answers.

use std::{
    cell::{Cell, RefCell},
    io::{self, ErrorKind},
    mem::ManuallyDrop,
    os::fd::{AsRawFd, OwnedFd},
    rc::Rc,
    sync::atomic::{Ordering, fence},
    task::Waker,
};

use io_uring::{
    IoUring, cqueue, opcode, squeue,
    types::{CancelBuilder, Timespec},
};
use rustix::{
    event::{EventfdFlags, eventfd},
    io::Errno,
};
use slab::Slab;
use tidegate_base::Lease;

use crate::{
    buffers::{BUFFER_BYTES, Buffers, GROUP},
    driver::{LINGERING_MAX, Lingering},
    socket::SEND_MAX,
    state::{Input, Kind, Output, State},
};

/// Entries that are handed over in one call at most. Full, they are handed over at once.
const ENTRIES: u32 = 256;
/// Answers that are kept in shared memory; the kernel keeps further ones.
const ANSWERS: u32 = 2048;
/// How long the end of a ring waits for the kernel to let go of its memory.
const CANCEL_MAX: Timespec = Timespec::new().sec(1);
/// Calls in which a ring that ends takes its answers, of which each brings some twenty.
const PASSES_MAX: usize = 10_000;
/// The flag of a call that asks for answers.
const GETEVENTS: u32 = 1;

/// Bytes of one thread's ring: its buffers, its two queues, and what dropped sockets are still sending.
pub const RING_BYTES: u64 =
    (Buffers::BYTES + ENTRIES as usize * 64 + ANSWERS as usize * 16 + LINGERING_MAX * SEND_MAX) as u64;

pub(crate) struct Ring {
    uring: RefCell<IoUring>,
    buffers: ManuallyDrop<RefCell<Buffers>>,
    states: ManuallyDrop<RefCell<Slab<Rc<State>>>>,
    /// Tasks to be woken when nothing is borrowed.
    woken: RefCell<Vec<Waker>>,
    pub(crate) driver: RefCell<Option<Waker>>,
    pub(crate) lingering: RefCell<Lingering>,
    /// Becomes readable when there are answers.
    pub(crate) events: OwnedFd,
    /// New sockets come to it.
    pub(crate) installed: Cell<bool>,
    broken: Cell<bool>,
    lease: ManuallyDrop<Lease>,
}

/// A ring without anything.
pub(crate) fn build() -> io::Result<IoUring> {
    IoUring::builder()
        .dontfork()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_cqsize(ANSWERS)
        .build(ENTRIES)
}

impl Ring {
    pub(crate) fn new(lease: Lease) -> io::Result<Self> {
        let uring = build()?;
        let events = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        uring.submitter().register_eventfd(events.as_raw_fd())?;
        let buffers = Buffers::register(&uring)?;
        Ok(Self {
            uring: RefCell::new(uring),
            buffers: ManuallyDrop::new(RefCell::new(buffers)),
            states: ManuallyDrop::default(),
            woken: RefCell::default(),
            driver: RefCell::default(),
            lingering: RefCell::default(),
            events,
            installed: Cell::new(true),
            broken: Cell::new(false),
            lease: ManuallyDrop::new(lease),
        })
    }

    /// Whether the kernel has refused to go on. Its sockets have failed then.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// Whether there is no socket, and none will come.
    pub(crate) fn is_over(&self) -> bool {
        !self.installed.get() && self.states.borrow().is_empty()
    }

    pub(crate) fn add(&self, fd: OwnedFd) -> Rc<State> {
        let state = Rc::new(State::new(fd));
        state.key.set(self.states.borrow_mut().insert(Rc::clone(&state)));
        state
    }

    /// Has the kernel do what `entry` says, of memory that `state` keeps.
    ///
    /// # Errors
    /// When it takes no entry. There is none then.
    pub(crate) fn start(&self, state: &State, kind: Kind, entry: squeue::Entry) -> io::Result<()> {
        state.flying.set(state.flying.get() + 1);
        let pushed = self.push(&entry.user_data(kind.name(state.key.get())));
        if pushed.is_err() {
            state.flying.set(state.flying.get() - 1);
        }
        pushed
    }

    /// Has the kernel give an entry up; its answer comes all the same.
    pub(crate) fn cancel(&self, state: &State, kind: Kind) -> io::Result<()> {
        let entry = opcode::AsyncCancel::new(kind.name(state.key.get())).build();
        self.push(&entry.user_data(Kind::Cancel.name(0)))
    }

    fn push(&self, entry: &squeue::Entry) -> io::Result<()> {
        if self.is_broken() {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let pushed = {
            let mut uring = self.uring.borrow_mut();
            // SAFETY: all memory that an entry names is kept by the state that it is of, until the answer is here.
            let pushed = unsafe { uring.submission().push(entry) };
            match pushed {
                Ok(()) => Ok(()),
                Err(_) => self.enter(&mut uring).and_then(|_| {
                    // SAFETY: as above.
                    unsafe { uring.submission().push(entry) }.map_err(|_| ErrorKind::ResourceBusy.into())
                }),
            }
        };
        self.wake();
        self.wake_driver();
        pushed
    }

    /// Has the driver take its turn, behind the tasks that are to run already.
    pub(crate) fn wake_driver(&self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    /// Hands all entries over and takes the answers that are there. True: there may be more of them, and nothing will tell.
    pub(crate) fn turn(&self) -> io::Result<bool> {
        let more = {
            let mut uring = self.uring.borrow_mut();
            // What comes while we look anyway need not be told.
            uring.completion().disable_eventfd();
            let entered = self.enter(&mut uring);
            uring.completion().enable_eventfd();
            entered?;
            fence(Ordering::SeqCst);
            // What came before the eventfd was on again told nobody.
            let answers = if uring.submission().taskrun() { self.enter(&mut uring)? } else { 0 };
            let queue = uring.submission();
            // The kernel does some twenty pieces of work in a call, and leaves the rest. Its flag for that may be an old one: with
            // nothing done there is nothing left.
            queue.cq_overflow() || !queue.is_empty() || (answers > 0 && queue.taskrun())
        };
        self.wake();
        Ok(more)
    }

    /// One call; the number of answers.
    fn enter(&self, uring: &mut IoUring) -> io::Result<usize> {
        let entries = u32::try_from(uring.submission().len()).unwrap_or(u32::MAX);
        // SAFETY: as for `push`.
        let entered = unsafe { uring.submitter().enter::<()>(entries, 0, GETEVENTS, None) };
        match entered.map_err(|error| (Errno::from_io_error(&error), error)) {
            Ok(_) | Err((Some(Errno::BUSY | Errno::AGAIN | Errno::INTR), _)) => {}
            Err((_, error)) => return Err(error),
        }
        let mut answers = 0;
        for answer in uring.completion() {
            self.complete(&answer);
            answers += 1;
        }
        Ok(answers)
    }

    fn complete(&self, answer: &cqueue::Entry) {
        let Some((kind, key)) = Kind::of(answer.user_data()) else { return };
        let Some(state) = self.states.borrow().get(key).map(Rc::clone) else { return };
        state.flying.set(state.flying.get() - 1);
        let result = answer.result();
        let waiting = match kind {
            Kind::Receive => {
                let input = self.received(result, cqueue::buffer_select(answer.flags()));
                state.input.set(input);
                &state.reader
            }
            Kind::Readable => {
                state.input.set(Input::Readable);
                &state.reader
            }
            Kind::Send => {
                let sent = state.output.replace(Output::Idle);
                let whole = matches!(&sent, Output::Sending(bytes) if usize::try_from(result) == Ok(bytes.len()));
                if !whole {
                    let error = if result < 0 { -result } else { Errno::PIPE.raw_os_error() };
                    state.output.replace(Output::Failed(error));
                }
                &state.writer
            }
            Kind::Writable | Kind::Cancel => {
                state.output.replace(Output::Idle);
                &state.writer
            }
        };
        self.woken.borrow_mut().extend(waiting.take());
        if state.dropped.get() {
            self.forget(&state);
        }
    }

    fn received(&self, result: i32, buffer: Option<u16>) -> Input {
        match (u16::try_from(result), buffer) {
            (Ok(end @ 1..=BUFFER_BYTES), Some(buffer)) => return Input::Got { buffer, at: 0, end },
            (_, Some(buffer)) => self.buffers.borrow_mut().give(buffer),
            (_, None) => {}
        }
        if result >= 0 {
            return Input::Ended;
        }
        match Errno::from_raw_os_error(-result) {
            // There are bytes, and was no memory for them.
            Errno::NOBUFS | Errno::NOMEM | Errno::AGAIN | Errno::INTR => Input::Readable,
            _ => Input::Failed(-result),
        }
    }

    /// Lets `read` have the bytes of a buffer, which then goes back to the kernel when they were the last.
    pub(crate) fn read(&self, buffer: u16, at: u16, end: u16, last: bool, read: impl FnOnce(&[u8])) {
        let mut buffers = self.buffers.borrow_mut();
        read(buffers.filled(buffer, at, end));
        if last {
            buffers.give(buffer);
        }
    }

    /// Takes a dropped socket's state away, once the kernel has answered all of its entries.
    pub(crate) fn forget(&self, state: &State) {
        if let Input::Got { buffer, .. } = state.input.replace(Input::Ended) {
            self.buffers.borrow_mut().give(buffer);
        }
        if state.flying.get() == 0 {
            let gone = self.states.borrow_mut().try_remove(state.key.get());
            drop(gone);
        }
    }

    /// The kernel refuses to go on: all sockets have failed.
    pub(crate) fn fail(&self) {
        self.broken.set(true);
        let error = Errno::IO.raw_os_error();
        for (_, state) in &*self.states.borrow() {
            state.input.set(Input::Failed(error));
            // What is being sent stays: the kernel may still read it.
            if !state.is_sending() {
                state.output.replace(Output::Failed(error));
            }
            // Nobody will take the answers: the other side is to see an end all the same.
            state.shut();
            self.woken.borrow_mut().extend(state.reader.take().into_iter().chain(state.writer.take()));
        }
        self.wake();
    }

    fn wake(&self) {
        loop {
            let Some(waker) = self.woken.borrow_mut().pop() else { return };
            waker.wake();
        }
    }
}

impl Drop for Ring {
    /// The kernel must have let go of all memory before it is freed; what it keeps is leaked, and its lease with it.
    fn drop(&mut self) {
        if !self.is_idle() {
            self.cancel_all();
        }
        let unregistered = self.is_idle() && self.uring.get_mut().submitter().unregister_buf_ring(GROUP).is_ok();
        if !unregistered {
            tracing::warn!("memory that the kernel holds is not freed");
            return;
        }
        // SAFETY: none of them is used again.
        unsafe {
            ManuallyDrop::drop(&mut self.states);
            ManuallyDrop::drop(&mut self.buffers);
            ManuallyDrop::drop(&mut self.lease);
        }
    }
}

impl Ring {
    fn is_idle(&self) -> bool {
        self.states.borrow().iter().all(|(_, state)| state.flying.get() == 0)
    }

    /// Has the kernel give up all entries, and takes its answers.
    fn cancel_all(&self) {
        let mut uring = self.uring.borrow_mut();
        // What it has not taken yet it could not give up.
        let entered = self.enter(&mut uring);
        let cancelled = uring.submitter().register_sync_cancel(Some(CANCEL_MAX), CancelBuilder::any());
        tracing::trace!(?entered, ?cancelled, "a ring ends with entries in flight");
        // A pass may bring some twenty answers.
        for _ in 0..PASSES_MAX {
            if self.is_idle() || self.enter(&mut uring).is_err() {
                return;
            }
        }
    }
}
