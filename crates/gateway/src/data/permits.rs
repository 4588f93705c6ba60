//! How many connections a server may have: a limit that an edit moves while they live.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// Permits of one server, for all its threads. Why not a semaphore: its permits can be added, but of those that are out
/// none can be taken back, and a lowered limit must count connections that were there before.
#[derive(Debug)]
pub(crate) struct Permits {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    used: usize,
    limit: usize,
}

/// One connection's.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Permits>);

impl Permits {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { used: 0, limit }), freed: Notify::new() })
    }

    /// Moves the limit. Who waits looks again; who has a permit keeps it.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.state().limit = limit;
        self.freed.notify_waiters();
    }

    /// Waits for a permit. Cancel safe.
    pub(crate) async fn acquire(self: &Arc<Self>) -> Permit {
        loop {
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable(); // before the look: what is freed after it is heard
            if self.try_take() {
                return Permit(Arc::clone(self));
            }
            freed.await;
        }
    }

    fn try_take(&self) -> bool {
        let mut state = self.state();
        let free = state.used < state.limit;
        state.used += usize::from(free);
        free
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.state().used -= 1;
        self.0.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn the_limit_moves_while_permits_are_out() {
        let permits = Permits::new(1);
        let take = || permits.acquire().now_or_never();
        let first = take().expect("one is free");
        let mut waiting = Box::pin(permits.acquire());
        assert!((&mut waiting).now_or_never().is_none());
        permits.set_limit(2);
        let second = waiting.now_or_never().expect("a raised limit wakes who waits");
        permits.set_limit(1);
        drop(first);
        assert!(take().is_none(), "the one that is out counts");
        drop(second);
        assert!(take().is_some());
    }
}
