use std::{cell::Cell, sync::Arc, sync::atomic::Ordering};

use tokio::sync::Notify;

use super::{net::Shared, stats::ThreadStats};

/// What the connections of one listener on one thread share.
pub(crate) struct Local {
    pub(crate) net: Arc<Shared>,
    thread: usize,
    draining: Cell<bool>,
    drain: Notify,
}

impl Local {
    pub(super) fn new(net: Arc<Shared>, thread: usize) -> Self {
        Self { net, thread, draining: Cell::new(false), drain: Notify::new() }
    }

    pub(crate) fn stats(&self) -> &ThreadStats {
        &self.net.threads[self.thread].stats
    }

    /// Changes what the acceptors see of this thread.
    pub(crate) fn load(&self, change: i64) {
        self.net.threads[self.thread].load.fetch_add(change, Ordering::Relaxed);
    }

    /// Waits until the connections of this thread shall end.
    pub(crate) async fn drained(&self) {
        let told = self.drain.notified();
        if !self.draining.get() {
            told.await;
        }
    }

    pub(super) fn start_drain(&self) {
        self.draining.set(true);
        self.drain.notify_waiters();
    }
}
