//! What the connections of one listener on one thread have in common.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tidegate_base::{Budget, Holder};
use tokio::sync::Notify;

use super::{HeadLimits, exchange::Rescue};

/// Limits and times of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Who pays for buffers and bodies.
    pub holder: Holder,
    pub head: HeadLimits,
    /// From the first byte of a head to its last.
    pub head_timeout: Duration,
    /// Longest wait for the next request.
    pub idle_timeout: Duration,
    /// Longest pause in a body, and longest time in which a client takes nothing of an answer.
    pub stall_timeout: Duration,
    /// Bytes a second that a body must bring on average, after [`Config::stall_timeout`]. 0: no such rule.
    pub body_rate_min: u64,
    /// Whether connections are kept for more than one request.
    pub keep_alive: bool,
    /// Most bytes of a request's body, unless the service sets another limit.
    pub body_bytes_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            holder: Holder::Connections,
            head: HeadLimits::default(),
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            stall_timeout: Duration::from_secs(30),
            body_rate_min: 256,
            keep_alive: true,
            body_bytes_max: 4 << 20,
        }
    }
}

/// Counters, summed over threads by whoever reads them.
#[derive(Debug, Default)]
pub struct Stats {
    pub connections: AtomicU64,
    pub requests: AtomicU64,
    /// Heads refused as malformed or too large.
    pub bad_heads: AtomicU64,
    /// Requests and connections refused because no memory was free.
    pub no_memory: AtomicU64,
    pub timeouts: AtomicU64,
    /// Requests whose handler panicked.
    pub panics: AtomicU64,
}

impl Stats {
    /// Adds what others have counted that nobody writes any more; the same must hold for these.
    pub fn absorb(&self, other: &Self) {
        let own = [
            (&self.connections, &other.connections),
            (&self.requests, &other.requests),
            (&self.bad_heads, &other.bad_heads),
            (&self.no_memory, &other.no_memory),
            (&self.timeouts, &other.timeouts),
            (&self.panics, &other.panics),
        ];
        for (sum, more) in own {
            sum.fetch_add(more.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    pub(crate) fn add(counter: &AtomicU64) {
        // Each thread has counters of its own, so that a plain load and store is enough and no bus is locked.
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// Tells connections to end after the request they serve.
#[derive(Debug, Default)]
pub struct Drain {
    draining: Cell<bool>,
    notify: Notify,
}

impl Drain {
    pub fn start(&self) {
        self.draining.set(true);
        self.notify.notify_waiters();
    }

    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    pub(crate) async fn started(&self) {
        let mut notified = std::pin::pin!(self.notify.notified());
        notified.as_mut().enable();
        if !self.draining.get() {
            notified.await;
        }
    }
}

/// Config, budget, counters and drain of a listener's connections on one thread.
#[derive(Debug)]
pub struct Shared {
    pub(crate) config: Config,
    pub(crate) budget: Budget,
    pub(crate) stats: Arc<Stats>,
    pub(crate) drain: Drain,
    pub(crate) rescue: Rescue,
}

impl Shared {
    pub fn new(config: Config, budget: Budget) -> Rc<Self> {
        Rc::new(Self { config, budget, stats: Arc::default(), drain: Drain::default(), rescue: Rescue::default() })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// Idle connections close at once, the others after their request.
    pub fn drain(&self) {
        self.drain.start();
    }
}
