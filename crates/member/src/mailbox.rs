//! Queues between threads.
//!
//! Both kinds hand a whole batch over under one lock and wake the reader once for it. What is in them is bounded by the
//! leases that travel with it: nothing is pushed that was not admitted before.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::task::AtomicWaker;

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

    pub(crate) fn extend(&self, items: impl IntoIterator<Item = T>) {
        let mut state = lock(&self.state);
        state.items.extend(items);
        if state.waiting && !state.items.is_empty() {
            state.waiting = false;
            drop(state);
            self.arrived.notify_one();
        }
    }

    /// Everything that arrived, moved into the empty `out`; waits for the first item, at most `patience`.
    pub(crate) fn take(&self, out: &mut Vec<T>, patience: Duration) {
        debug_assert!(out.is_empty(), "the last batch is done");
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
        std::mem::swap(&mut state.items, out);
    }
}

/// A queue read by a task of an I/O thread.
pub(crate) struct Mailbox<T> {
    items: Mutex<Vec<T>>,
    waker: AtomicWaker,
}

impl<T> Mailbox<T> {
    pub(crate) fn new() -> Self {
        Self { items: Mutex::new(Vec::new()), waker: AtomicWaker::new() }
    }

    /// Moves all of `items` over and wakes the reader once.
    pub(crate) fn append(&self, items: &mut Vec<T>) {
        if items.is_empty() {
            return;
        }
        let was_empty = {
            let mut queue = lock(&self.items);
            let was_empty = queue.is_empty();
            queue.append(items);
            was_empty
        };
        if was_empty {
            self.waker.wake();
        }
    }

    pub(crate) fn push(&self, item: T) {
        self.append(&mut vec![item]);
    }

    /// Everything that arrived, moved into the empty `out`.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>, out: &mut Vec<T>) -> Poll<()> {
        self.waker.register(cx.waker());
        let mut queue = lock(&self.items);
        if queue.is_empty() {
            return Poll::Pending;
        }
        std::mem::swap(&mut *queue, out);
        Poll::Ready(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these locks; the data is whole even if something did.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn mailbox_wakes_once_for_a_batch() {
        let mailbox = Mailbox::new();
        let mut out = Vec::new();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(mailbox.poll_take(&mut cx, &mut out).is_pending());
        mailbox.append(&mut vec![1, 2]);
        mailbox.push(3);
        assert!(mailbox.poll_take(&mut cx, &mut out).is_ready());
        assert_eq!(out, [1, 2, 3]);
    }
}
