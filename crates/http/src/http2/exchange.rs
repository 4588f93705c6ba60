use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker, ready},
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream, server::SendResponse};
use tidegate_base::clock;

use super::{Conn, inbox::Inbox, outbox::Outbox};
use crate::{
    grpc::{Chunk, Code, Gone, PREFIX_LEN, Status},
    h1::Timer,
};

/// One stream, shared by the call that answers it and by the task that watches over the call.
pub(crate) struct Exchange {
    conn: Rc<Conn>,
    inbox: RefCell<Inbox>,
    outbox: RefCell<Outbox>,
    deadline: Option<Instant>,
    /// A message of it waits for its lease.
    waits: Cell<bool>,
    /// It had bytes of the answers' holder, and may have some still.
    leased: Cell<bool>,
    stall: RefCell<Stall>,
}

/// Bytes that a client takes at least while it would else be given up.
const TAKEN_LEAST: usize = 64 << 10;

/// A wait for the client's window.
#[derive(Default)]
struct Stall {
    since: Option<Instant>,
    taken: usize,
    timer: Timer,
}

/// Result of waiting for bytes of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filled {
    /// As many as were asked for are here.
    Enough,
    /// The client sends no more, and this many are here, fewer than were asked for.
    Ended(usize),
}

impl Exchange {
    pub(super) fn new(
        conn: Rc<Conn>,
        body: RecvStream,
        respond: SendResponse<Chunk>,
        deadline: Option<Instant>,
    ) -> Self {
        let (inbox, outbox) = (RefCell::new(Inbox::new(body)), RefCell::new(Outbox::new(respond)));
        let (leased, stall) = (Cell::new(false), RefCell::default());
        Self { conn, inbox, outbox, deadline, waits: Cell::new(false), leased, stall }
    }

    pub(crate) fn conn(&self) -> &Conn {
        &self.conn
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(crate) fn waits(&self) -> bool {
        self.waits.get()
    }

    pub(crate) fn set_waits(&self, waits: bool) {
        match (self.waits.replace(waits), waits) {
            (false, true) => self.conn.start_wait(),
            (true, false) => self.conn.end_wait(),
            (true, true) | (false, false) => {}
        }
    }

    pub(crate) fn poll_fill(&self, wanted: usize, cx: &mut Context<'_>) -> Poll<Result<Filled, Status>> {
        let mut inbox = self.inbox.borrow_mut();
        loop {
            let available = inbox.available();
            if available >= wanted {
                return Poll::Ready(Ok(Filled::Enough));
            }
            match inbox.poll_frame(&self.conn, cx)? {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Poll::Ready(Ok(Filled::Ended(available))),
                Poll::Pending => {
                    keep(&mut inbox.reader, cx.waker());
                    return Poll::Pending;
                }
            }
        }
    }

    pub(crate) fn available(&self) -> usize {
        self.inbox.borrow().available()
    }

    pub(crate) fn take_prefix(&self) -> [u8; PREFIX_LEN] {
        self.inbox.borrow_mut().take_prefix(&self.conn)
    }

    pub(crate) fn take_bytes(&self, len: usize) -> Bytes {
        self.inbox.borrow_mut().take_bytes(&self.conn, len)
    }

    pub(crate) fn move_into(&self, out: &mut BytesMut, most: usize) {
        self.inbox.borrow_mut().move_into(&self.conn, out, most);
    }

    pub(crate) fn poll_room(&self, want: usize, cx: &mut Context<'_>) -> Poll<Result<usize, Gone>> {
        let mut outbox = self.outbox.borrow_mut();
        let room = outbox.poll_room(want, cx);
        let mut stall = self.stall.borrow_mut();
        if let Poll::Ready(Ok(room)) = room {
            stall.taken += room;
            // A byte now and then does not make a client that takes its answer.
            if room == want || stall.taken >= TAKEN_LEAST {
                (stall.since, stall.taken) = (None, 0);
            }
            return Poll::Ready(Ok(room));
        }
        if room.is_ready() {
            return room;
        }
        keep(&mut outbox.waiter, cx.waker());
        if self.leased.get() && self.poll_stalled(&mut stall, cx).is_ready() {
            outbox.reset(Reason::ENHANCE_YOUR_CALM, Code::ResourceExhausted);
            return Poll::Ready(Err(Gone));
        }
        Poll::Pending
    }

    /// Ready when the client takes nothing of this answer and others wait for the bytes that it may hold.
    fn poll_stalled(&self, stall: &mut Stall, cx: &mut Context<'_>) -> Poll<()> {
        let net = &self.conn.local.net;
        loop {
            let since = *stall.since.get_or_insert_with(clock::now);
            ready!(stall.timer.poll(cx, since + net.times.blocked));
            if self.conn.answers.used() > 0 && net.answers.waiting() + net.requests.waiting() > 0 {
                tracing::info!(peer = %self.conn.peer, "an answer that is not taken is given up: others need the bytes");
                return Poll::Ready(());
            }
            (stall.since, stall.taken) = (None, 0);
        }
    }

    pub(crate) fn set_leased(&self) {
        self.leased.set(true);
    }

    pub(crate) fn has_room(&self, len: usize) -> Result<bool, Gone> {
        self.outbox.borrow_mut().has_room(len)
    }

    pub(crate) fn give_room_back(&self) -> usize {
        self.outbox.borrow_mut().give_room_back()
    }

    pub(crate) fn send(&self, chunk: Chunk) -> Result<(), Gone> {
        self.outbox.borrow_mut().send(chunk)
    }

    /// A whole answer: head, one piece of data, trailers. `h2` writes them together.
    pub(crate) fn reply(&self, chunk: Chunk) -> Result<(), Gone> {
        let mut outbox = self.outbox.borrow_mut();
        outbox.send(chunk)?;
        outbox.finish(&Status::OK);
        if outbox.outcome() == Some(Code::Ok) { Ok(()) } else { Err(Gone) }
    }

    pub(crate) fn finish(&self, status: &Status) {
        self.outbox.borrow_mut().finish(status);
    }

    pub(crate) fn reset(&self) {
        self.outbox.borrow_mut().reset(Reason::INTERNAL_ERROR, Code::Internal);
    }

    /// How the call ended, once it has.
    pub(super) fn outcome(&self) -> Option<Code> {
        self.outbox.borrow().outcome()
    }

    /// Wakes those inside of the call that do not wait with the call's own waker: `h2` knows one waker a stream.
    pub(super) fn wake_inner(&self, own: &Waker) {
        let waiters = [self.inbox.borrow_mut().reader.take(), self.outbox.borrow_mut().waiter.take()];
        waiters.into_iter().flatten().filter(|waker| !waker.will_wake(own)).for_each(Waker::wake);
    }

    pub(super) fn poll_reset(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.outbox.borrow_mut().poll_reset(cx)
    }

    /// Takes what the call left unread out of `h2`, and charges it to the connection.
    ///
    /// # Errors
    /// The status to end the call with, when the client has reset it or holds too much.
    pub(super) fn pull(&self, cx: &mut Context<'_>) -> Result<(), Status> {
        let mut inbox = self.inbox.borrow_mut();
        if inbox.ended() && inbox.available() == 0 {
            return Ok(());
        }
        let news = inbox.pull(&self.conn, cx)?;
        if news || inbox.available() > 0 {
            if !self.conn.charge_held() {
                return Err(Status::TOO_MANY_REQUESTS);
            }
            if news && let Some(reader) = inbox.reader.take() {
                drop(inbox);
                reader.wake();
            }
        }
        Ok(())
    }

    /// Makes `h2` look whether the stream's window is due.
    pub(super) fn reopen(&self) {
        self.inbox.borrow_mut().reopen();
    }

    /// Forgets what was not read.
    pub(super) fn clear(&self) {
        self.inbox.borrow_mut().clear(&self.conn);
    }
}

fn keep(slot: &mut Option<Waker>, waker: &Waker) {
    match slot {
        Some(old) => old.clone_from(waker),
        none => *none = Some(waker.clone()),
    }
}
