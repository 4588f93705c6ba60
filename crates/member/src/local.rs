//! A member on one I/O thread: the calls that wait there, and the watches of its connections.

use std::{
    cell::RefCell,
    panic::AssertUnwindSafe,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use tidegate_api::{Code, Error};
use tidegate_base::clock;
use tidegate_engine::Engine;
use tidegate_http::admission::Admitted;
use tidegate_kv::{Command, Outcome};

use crate::{
    answer::Header,
    core::Millis,
    metrics::Handled,
    shared::Shared,
    threads::{Failed, Lane, Proposal, RaftInput, panicked},
    ticket::{Notice, Reply, Ticket},
    watches::Watches,
};

/// How long news may keep the thread from everything else.
const TURN: Duration = Duration::from_millis(1);

enum Slot {
    Free,
    Waiting(Option<Waker>),
    Ready(Reply),
    /// Nobody waits any more; the place is free once the answer came.
    Abandoned,
}

#[derive(Default)]
struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Slots {
    fn take(&mut self) -> u32 {
        match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Slot::Waiting(None);
                slot
            }
            None => {
                self.slots.push(Slot::Waiting(None));
                u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 calls wait")
            }
        }
    }

    fn release(&mut self, slot: u32) {
        self.slots[slot as usize] = Slot::Free;
        self.free.push(slot);
    }

    fn answer(&mut self, slot: u32, reply: Reply) {
        match std::mem::replace(&mut self.slots[slot as usize], Slot::Ready(reply)) {
            Slot::Waiting(waker) => {
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Slot::Abandoned => self.release(slot),
            Slot::Free | Slot::Ready(_) => unreachable!("an answer comes once"),
        }
    }
}

pub(crate) struct Local<E: Engine> {
    pub(crate) shared: Arc<Shared<E>>,
    pub(crate) thread: u32,
    slots: RefCell<Slots>,
    pub(crate) watches: Watches,
    /// Calls that ended here.
    pub(crate) handled: Arc<Handled>,
}

impl<E: Engine> Local<E> {
    pub(crate) fn new(shared: Arc<Shared<E>>, thread: u32) -> Rc<Self> {
        let watches = Watches::new(&shared);
        let handled = Arc::clone(&shared.counts.handled[thread as usize]);
        Rc::new(Self { shared, thread, slots: RefCell::default(), watches, handled })
    }

    /// Hands out what other threads send, for as long as the thread lives.
    pub(crate) async fn run(self: Rc<Self>) {
        let mut replies = Vec::new();
        loop {
            let mailbox = &self.shared.mailboxes[self.thread as usize];
            let mut next = std::future::poll_fn(|cx| mailbox.poll_take(cx, &mut replies)).await;
            let news = next.is_some();
            let until = news.then(|| clock::now() + TURN);
            loop {
                {
                    let mut slots = self.slots.borrow_mut();
                    replies.drain(..).for_each(|(ticket, reply)| slots.answer(ticket.slot, reply));
                }
                let Some(notice) = next else { break };
                self.tell(notice);
                if until.is_some_and(|until| clock::now() >= until) {
                    break;
                }
                next = mailbox.take(&mut replies);
            }
            if news {
                self.pump();
                // What is left waits for one round of everybody else on the thread.
                tokio::task::yield_now().await;
            }
        }
    }

    fn tell(&self, news: Notice) {
        match news {
            Notice::Events(events) => self.watches.publish(&events),
            Notice::Compacted(revision) => self.watches.compacted(revision),
            Notice::Term(term) => self.watches.set_term(term),
            Notice::WatchRoom => self.watches.room(),
            Notice::Reply(ticket, reply) => self.slots.borrow_mut().answer(ticket.slot, reply),
        }
    }

    /// Runs `job` on a work thread, before all that is no read.
    ///
    /// # Errors
    /// What the client hears when it panicked, or when the member stops.
    pub(crate) async fn work<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        self.shared.work.run(Lane::Read, job).await.map_err(|Failed| failed(&self.shared))
    }

    pub(crate) fn header(&self, revision: i64) -> Header {
        Header {
            cluster_id: self.shared.config.cluster_id,
            member_id: self.shared.config.member_id,
            revision,
            term: self.shared.consensus.term(),
        }
    }

    /// How long a request may take. Source: etcd, five seconds and two election timeouts.
    fn patience(&self) -> Duration {
        let config = &self.shared.config;
        Duration::from_secs(5) + 2 * config.heartbeat * u32::try_from(config.election_ticks).unwrap_or(u32::MAX)
    }

    /// Proposes an entry and waits until it is applied. `admitted` is given back once the entry is in the log's account.
    ///
    /// A future that is dropped leaves the entry undecided: it may still take effect.
    pub(crate) async fn propose(
        self: &Rc<Self>,
        command: Command,
        message: Bytes,
        admitted: Option<Admitted>,
    ) -> Result<Box<Outcome>, Error> {
        let payload = self.shared.envelope(command).seal(message);
        if payload.len() as u64 > self.shared.config.request_bytes_max {
            return Err(Error::RequestTooLarge);
        }
        self.refuse_late()?;
        let waiting = self.wait();
        let origin = Some(waiting.ticket());
        self.shared.raft.push(RaftInput::Propose(Proposal { payload, admitted, origin }));
        match self.in_time(waiting).await? {
            Reply::Applied(outcome) => Ok(outcome),
            Reply::Rejected(error) => Err(error),
            other => unreachable!("a proposal was answered with {other:?}"),
        }
    }

    /// Waits until everything that was acknowledged before the call is applied here.
    pub(crate) async fn read_barrier(self: &Rc<Self>) -> Result<(), Error> {
        if self.shared.consensus.reads_alone() {
            return Ok(());
        }
        self.refuse_late()?;
        let waiting = self.wait();
        self.shared.raft.push(RaftInput::Read(waiting.ticket()));
        match self.in_time(waiting).await? {
            Reply::ReadReady => Ok(()),
            Reply::Rejected(error) => Err(error),
            other => unreachable!("a read was answered with {other:?}"),
        }
    }

    /// Seconds that the lease lives from now; `None` for an unknown one.
    pub(crate) async fn keep_alive(self: &Rc<Self>, lease: i64) -> Result<Option<u64>, Error> {
        if !self.shared.consensus.leads() {
            return Err(Error::NoLeader);
        }
        self.refuse_late()?;
        let waiting = self.wait();
        self.shared.raft.push(RaftInput::KeepAlive { lease, ticket: waiting.ticket() });
        match self.in_time(waiting).await? {
            Reply::Renewed(seconds) => Ok(seconds),
            Reply::Rejected(error) => Err(error),
            other => unreachable!("a keep-alive was answered with {other:?}"),
        }
    }

    /// Granted and remaining seconds; `None` for an unknown or expired lease.
    pub(crate) async fn time_to_live(self: &Rc<Self>, lease: i64) -> Result<Option<(u64, u64)>, Error> {
        self.refuse_late()?;
        let waiting = self.wait();
        self.shared.raft.push(RaftInput::TimeToLive { lease, ticket: waiting.ticket() });
        match self.in_time(waiting).await? {
            Reply::Remaining(seconds) => Ok(seconds),
            Reply::Rejected(error) => Err(error),
            other => unreachable!("a time to live was answered with {other:?}"),
        }
    }

    /// All leases with their deadlines, by id. The caller has leased room for them.
    pub(crate) async fn leases(self: &Rc<Self>) -> Result<Vec<(Millis, i64)>, Error> {
        self.refuse_late()?;
        let waiting = self.wait();
        self.shared.raft.push(RaftInput::Leases(waiting.ticket()));
        match self.in_time(waiting).await? {
            Reply::Leases(deadlines) => Ok(deadlines),
            other => unreachable!("a list of leases was answered with {other:?}"),
        }
    }

    /// Before something is asked of the member: what was asked is waited for, also while it stops, since it may take effect.
    fn refuse_late(&self) -> Result<(), Error> {
        if self.shared.is_stopping() { Err(Error::Stopped) } else { Ok(()) }
    }

    async fn in_time(&self, waiting: Waiting<E>) -> Result<Reply, Error> {
        tokio::time::timeout(self.patience(), waiting).await.map_err(|_| Error::Timeout)
    }

    fn wait(self: &Rc<Self>) -> Waiting<E> {
        let slot = self.slots.borrow_mut().take();
        Waiting { local: Rc::clone(self), slot, done: false }
    }
}

/// What a client hears when something ended without a result: the member stops, or it panicked. The first may be tried again.
pub(crate) fn failed<E: Engine>(shared: &Shared<E>) -> Error {
    if shared.is_stopping() { Error::Stopped } else { Error::other(Code::Internal, "internal error") }
}

/// A task that all calls of its thread depend on: its panic ends the process, as that of a member's own thread does.
pub(crate) async fn guarded(task: impl Future<Output = ()>) {
    if AssertUnwindSafe(task).catch_unwind().await.is_err() {
        panicked("a task of the member on an I/O thread");
    }
}

/// A call's wait for its answer. Cancel safe.
struct Waiting<E: Engine> {
    local: Rc<Local<E>>,
    slot: u32,
    done: bool,
}

impl<E: Engine> Waiting<E> {
    fn ticket(&self) -> Ticket {
        Ticket { thread: self.local.thread, slot: self.slot }
    }
}

impl<E: Engine> Future for Waiting<E> {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        let slot = self.slot;
        let taken = {
            let mut slots = self.local.slots.borrow_mut();
            match &mut slots.slots[slot as usize] {
                Slot::Waiting(waker) => {
                    *waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                ready => std::mem::replace(ready, Slot::Abandoned),
            }
        };
        let Slot::Ready(reply) = taken else { unreachable!("a place is waiting or ready") };
        self.local.slots.borrow_mut().release(slot);
        self.done = true;
        Poll::Ready(reply)
    }
}

impl<E: Engine> Drop for Waiting<E> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut slots = self.local.slots.borrow_mut();
        let abandoned = std::mem::replace(&mut slots.slots[self.slot as usize], Slot::Abandoned);
        if let Slot::Ready(_) = abandoned {
            slots.release(self.slot);
        }
    }
}
