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
    buffers::{BUFFER_BYTES, Buffers},
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
    _lease: Lease,
}

impl Ring {
    pub(crate) fn new(lease: Lease) -> io::Result<Self> {
        let uring = IoUring::builder()
            .dontfork()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(ANSWERS)
            .build(ENTRIES)?;
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
            _lease: lease,
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
                Err(_) => self.enter(&mut uring).and_then(|()| {
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

    /// Hands all entries over and takes all answers. True: there may be more of them, and nothing will tell.
    pub(crate) fn turn(&self) -> io::Result<bool> {
        let more = {
            let mut uring = self.uring.borrow_mut();
            // What comes while we look anyway need not be told.
            uring.completion().disable_eventfd();
            let entered = self.enter(&mut uring);
            uring.completion().enable_eventfd();
            entered?;
            fence(Ordering::SeqCst);
            // What came before the eventfd was on again told nobody. The flag may also be an old one: it is looked at once.
            if uring.submission().taskrun() {
                self.enter(&mut uring)?;
            }
            uring.submission().cq_overflow()
        };
        self.wake();
        Ok(more)
    }

    fn enter(&self, uring: &mut IoUring) -> io::Result<()> {
        let entries = u32::try_from(uring.submission().len()).unwrap_or(u32::MAX);
        // SAFETY: as for `push`.
        let entered = unsafe { uring.submitter().enter::<()>(entries, 0, GETEVENTS, None) };
        match entered.map_err(|error| (Errno::from_io_error(&error), error)) {
            Ok(_) | Err((Some(Errno::BUSY | Errno::AGAIN | Errno::INTR), _)) => {}
            Err((_, error)) => return Err(error),
        }
        for answer in uring.completion() {
            self.complete(&answer);
        }
        Ok(())
    }

    fn complete(&self, answer: &cqueue::Entry) {
        let Some((kind, key)) = Kind::of(answer.user_data()) else { return };
        let Some(state) = self.states.borrow().get(key).map(Rc::clone) else { return };
        state.flying.set(state.flying.get() - 1);
        let result = answer.result();
        let waiting = match kind {
            Kind::Receive => {
                let input = self.received(&state, result, cqueue::buffer_select(answer.flags()));
                state.input.set(input);
                &state.reader
            }
            Kind::Readable => {
                // Bytes or the end: the plain call tells.
                state.direct.set(true);
                state.input.set(Input::Unknown);
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

    fn received(&self, state: &State, result: i32, buffer: Option<u16>) -> Input {
        match (u16::try_from(result), buffer) {
            (Ok(end @ 1..=BUFFER_BYTES), Some(buffer)) => return Input::Got { buffer, at: 0, end },
            (_, Some(buffer)) => self.buffers.borrow_mut().give(buffer),
            (_, None) => {}
        }
        if result == -Errno::NOBUFS.raw_os_error() {
            state.direct.set(true);
            return Input::Unknown;
        }
        if result >= 0 { Input::Ended } else { Input::Failed(-result) }
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
    /// The kernel must have let go of all memory before it is freed; what it keeps is leaked.
    fn drop(&mut self) {
        let flies = |ring: &Self| ring.states.borrow().iter().any(|(_, state)| state.flying.get() > 0);
        if flies(self) {
            let any = self.uring.get_mut().submitter().register_sync_cancel(Some(CANCEL_MAX), CancelBuilder::any());
            if let Err(error) = any {
                tracing::debug!(%error, "entries of a ring that ends are not cancelled");
            }
            let mut uring = self.uring.borrow_mut();
            if let Err(error) = self.enter(&mut uring) {
                tracing::debug!(%error, "a ring that ends does not answer");
            }
        }
        if flies(self) || self.uring.get_mut().submitter().unregister_buf_ring(crate::buffers::GROUP).is_err() {
            tracing::warn!("memory that the kernel holds is not freed");
            return;
        }
        // SAFETY: neither is used again.
        unsafe {
            ManuallyDrop::drop(&mut self.states);
            ManuallyDrop::drop(&mut self.buffers);
        }
    }
}
