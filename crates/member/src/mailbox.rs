//! Queues between threads.
//!
//! Both kinds hand a whole batch over under one lock and wake the reader once for it. What is in them is bounded by the
//! leases that travel with it, nothing is pushed that was not admitted before; and the events of a thread that is late by a
//! limit of their own.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use tidegate_kv::watch::RevisionEvents;

use crate::ticket::{Notice, Reply, Ticket};

/// Most bytes of events that wait for one thread. The threads share them, so this is no more than the bytes of one of them.
const EVENTS_BYTES_MAX: usize = 8 << 20;
/// Most revisions that wait for one thread: those of which only the number is told cost little else.
const EVENTS_MAX: usize = 8 << 10;

/// A queue read by a plain thread.
pub(crate) struct Inbox<T> {
    state: Mutex<InboxState<T>>,
    arrived: Condvar,
}

struct InboxState<T> {
    items: Vec<T>,
    waiting: bool,
}

impl<T> Inbox<T> {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(InboxState { items: Vec::new(), waiting: false }), arrived: Condvar::new() }
    }

    pub(crate) fn push(&self, item: T) {
        self.extend([item]);
    }

    /// Leaves an item for the reader's next turn, without waking it for that.
    pub(crate) fn leave(&self, item: T) {
        lock(&self.state).items.push(item);
    }

    pub(crate) fn extend(&self, items: impl IntoIterator<Item = T>) {
        let mut state = lock(&self.state);
        state.items.extend(items);
        if state.waiting && !state.items.is_empty() {
            state.waiting = false;
            drop(state);
            self.arrived.notify_one();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.state).items.is_empty()
    }

    /// Everything that arrived, moved into the empty `out`; waits for the first item, at most `patience`.
    pub(crate) fn take(&self, out: &mut Vec<T>, patience: Duration) {
        debug_assert!(out.is_empty(), "the last batch is done");
        std::mem::swap(&mut self.arrived(patience).items, out);
    }

    /// Waits until an item is there that was pushed, at most `patience`; takes nothing.
    pub(crate) fn wait(&self, patience: Duration) {
        drop(self.arrived(patience));
    }

    fn arrived(&self, patience: Duration) -> MutexGuard<'_, InboxState<T>> {
        let mut state = lock(&self.state);
        if state.items.is_empty() && !patience.is_zero() {
            state.waiting = true;
            state = self
                .arrived
                .wait_timeout_while(state, patience, |state| state.items.is_empty())
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            state.waiting = false;
        }
        state
    }
}

/// A queue read by a task of an I/O thread: replies, which go first since somebody waits for each, and news in their order.
///
/// A thread that is late with events is told the last revision in their place, which is a gap for its hub: the watches go on
/// from what is stored.
pub(crate) struct Mailbox {
    mail: Mutex<Mail>,
    waker: AtomicWaker,
}

#[derive(Default)]
struct Mail {
    replies: Vec<(Ticket, Reply)>,
    news: VecDeque<Notice>,
    /// Of the events among the news.
    events: usize,
    event_bytes: usize,
}

impl Mailbox {
    pub(crate) fn new() -> Self {
        Self { mail: Mutex::default(), waker: AtomicWaker::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.mail).is_empty()
    }

    /// Moves all of `notices` over and wakes the reader once.
    pub(crate) fn append(&self, notices: &mut Vec<Notice>) {
        if !notices.is_empty() {
            self.extend(notices.drain(..));
        }
    }

    pub(crate) fn push(&self, notice: Notice) {
        self.extend([notice]);
    }

    fn extend(&self, notices: impl IntoIterator<Item = Notice>) {
        // Dropped after the lock: a lease's return may tell of room, which comes in here.
        let mut forgotten = Vec::new();
        let was_empty = {
            let mut mail = lock(&self.mail);
            let was_empty = mail.is_empty();
            notices.into_iter().for_each(|notice| mail.push(notice, &mut forgotten));
            was_empty
        };
        if was_empty {
            self.waker.wake();
        }
    }

    /// All replies, moved into the empty `replies`, and the next of the news; waits until there is either.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>, replies: &mut Vec<(Ticket, Reply)>) -> Poll<Option<Notice>> {
        self.waker.register(cx.waker());
        let next = self.take(replies);
        if next.is_none() && replies.is_empty() { Poll::Pending } else { Poll::Ready(next) }
    }

    /// As [`Mailbox::poll_take`], without waiting.
    pub(crate) fn take(&self, replies: &mut Vec<(Ticket, Reply)>) -> Option<Notice> {
        debug_assert!(replies.is_empty(), "the last ones are handed out");
        let mut mail = lock(&self.mail);
        std::mem::swap(&mut mail.replies, replies);
        let next = mail.news.pop_front();
        if let Some(Notice::Events(events)) = &next {
            mail.events -= 1;
            mail.event_bytes -= events.bytes();
        }
        if mail.news.is_empty() {
            mail.news.shrink_to(64);
        }
        next
    }
}

impl Mail {
    fn is_empty(&self) -> bool {
        self.replies.is_empty() && self.news.is_empty()
    }

    fn push(&mut self, notice: Notice, forgotten: &mut Vec<Notice>) {
        match notice {
            Notice::Reply(ticket, reply) => self.replies.push((ticket, reply)),
            Notice::Events(events) => {
                self.events += 1;
                self.event_bytes += events.bytes();
                let last = events.revision();
                self.news.push_back(Notice::Events(events));
                if self.events > EVENTS_MAX || self.event_bytes > EVENTS_BYTES_MAX {
                    self.forget_events(last, forgotten);
                }
            }
            // They say no more the second time.
            Notice::WatchRoom if matches!(self.news.back(), Some(Notice::WatchRoom)) => {}
            Notice::Compacted(_) | Notice::Term(_) | Notice::WatchRoom => self.news.push_back(notice),
        }
    }

    /// Leaves of the events only the last revision, where the first of them stood: before a compaction that followed it, so
    /// that watches which have seen all that it takes away hear first how far they are.
    fn forget_events(&mut self, last: i64, forgotten: &mut Vec<Notice>) {
        let is_events = |notice: &Notice| matches!(notice, Notice::Events(_));
        let first = self.news.iter().position(is_events).unwrap_or(0);
        for notice in std::mem::take(&mut self.news) {
            if is_events(&notice) { forgotten.push(notice) } else { self.news.push_back(notice) }
        }
        let unknown = Arc::new(RevisionEvents::unknown(last));
        (self.events, self.event_bytes) = (1, unknown.bytes());
        self.news.insert(first, Notice::Events(unknown));
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these locks; the data is whole even if something did.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tidegate_base::{Budget, ByteSize, Holder, Limits, Profile};
    use tidegate_kv::watch::RevisionBuilder;

    use super::*;

    #[test]
    fn inbox_hands_over_batches_in_order() {
        let inbox = Inbox::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..10_000u32 {
                    inbox.push(n);
                }
            });
            let mut next = 0;
            let mut batch = Vec::new();
            while next < 10_000 {
                inbox.take(&mut batch, Duration::from_secs(5));
                for n in batch.drain(..) {
                    assert_eq!(n, next);
                    next += 1;
                }
            }
        });
    }

    fn events(revision: i64) -> Notice {
        Notice::Events(Arc::new(RevisionEvents::unknown(revision)))
    }

    fn revision(notice: Option<Notice>) -> Option<i64> {
        match notice {
            Some(Notice::Events(events)) => Some(events.revision()),
            Some(Notice::Compacted(revision)) => Some(-revision),
            _ => None,
        }
    }

    #[test]
    fn replies_go_before_news_and_news_keep_their_order() {
        let mailbox = Mailbox::new();
        let mut replies = Vec::new();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(mailbox.poll_take(&mut cx, &mut replies).is_pending());
        let ticket = |slot| Ticket { thread: 0, slot };
        mailbox.append(&mut vec![
            events(7),
            Notice::Reply(ticket(1), Reply::ReadReady),
            Notice::Compacted(6),
            events(8),
            Notice::Reply(ticket(2), Reply::ReadReady),
        ]);
        let Poll::Ready(first) = mailbox.poll_take(&mut cx, &mut replies) else { panic!("there is mail") };
        assert_eq!(replies.drain(..).map(|(ticket, _)| ticket.slot).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(revision(first), Some(7));
        mailbox.push(Notice::Reply(ticket(3), Reply::ReadReady));
        assert_eq!(revision(mailbox.take(&mut replies)), Some(-6));
        assert_eq!(replies.drain(..).count(), 1, "a reply does not wait behind the news");
        assert_eq!(revision(mailbox.take(&mut replies)), Some(8));
        assert!(mailbox.poll_take(&mut cx, &mut replies).is_pending());
    }

    #[test]
    fn a_thread_that_is_late_is_told_the_last_revision() {
        let mailbox = Mailbox::new();
        let last = i64::try_from(EVENTS_MAX).unwrap() + 10;
        mailbox.push(Notice::Term(3));
        (1..=last).for_each(|revision| {
            mailbox.push(events(revision));
            if revision == 5 {
                mailbox.push(Notice::Compacted(5));
            }
        });
        assert!(lock(&mailbox.mail).news.len() < 16, "the queue is bounded whatever the thread does");
        let mut replies = Vec::new();
        assert!(matches!(mailbox.take(&mut replies), Some(Notice::Term(3))));
        assert_eq!(revision(mailbox.take(&mut replies)), Some(last - 9), "in place of all that came before");
        assert_eq!(revision(mailbox.take(&mut replies)), Some(-5), "a compaction is not forgotten");
        let mut told = Vec::new();
        while let Some(notice) = mailbox.take(&mut replies) {
            told.extend(revision(Some(notice)));
        }
        assert_eq!(told, (last - 8..=last).collect::<Vec<_>>(), "what came afterwards is whole");
        let mail = lock(&mailbox.mail);
        assert_eq!((mail.events, mail.event_bytes), (0, 0));
    }

    #[test]
    fn events_that_are_forgotten_may_make_room_for_who_waits_for_it() {
        let budget = Budget::new(Limits::new(ByteSize::mib(256), Profile::Store).unwrap());
        let mailbox = Arc::new(Mailbox::new());
        let hook = Arc::clone(&mailbox);
        budget.on_room(Holder::Watches, move || hook.push(Notice::WatchRoom));
        for revision in 1..=i64::try_from(EVENTS_MAX).unwrap() + 1 {
            budget.want_room(Holder::Watches);
            let events = RevisionBuilder::new(revision, 1 << 10).publish(&budget);
            mailbox.push(Notice::Events(events));
        }
        let mut replies = Vec::new();
        assert!(matches!(mailbox.take(&mut replies), Some(Notice::Events(_))));
        assert!(matches!(mailbox.take(&mut replies), Some(Notice::WatchRoom)));
    }
}
