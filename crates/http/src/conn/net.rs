use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
};

use tidegate_base::{Budget, Holder};
use tokio::sync::mpsc;

use super::{
    Capacity, Drain, Http1, Listener, Local, Presence, Stats, Times,
    accept::{ACCEPTED_WAITING_MAX, accept},
    overdraft::Overdraft,
    stats::ThreadStats,
    worker::work,
};
use crate::{admission::Admission, grpc::Service, io};

/// What answers the connections of a listener on one thread. A protocol without an answer is closed.
#[derive(Clone, Default)]
pub struct Served {
    pub grpc: Option<Rc<dyn Service>>,
    pub http1: Option<Rc<dyn Http1>>,
}

/// What all listeners of the process share. Cheap to clone.
#[derive(Clone)]
pub struct Net(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) budget: Budget,
    pub(crate) capacity: Capacity,
    pub(crate) overdraft: Overdraft,
    pub(crate) requests: Admission,
    pub(crate) answers: Admission,
    pub(crate) threads: Box<[Thread]>,
    pub(crate) times: Times,
    pub(super) drain: Drain,
    /// Acceptors, and threads that serve a listener.
    at_work: Presence,
    pub(super) next_connection: AtomicU64,
    pub(super) refused: AtomicU64,
    io: io::Handle,
    next_acceptor: AtomicUsize,
}

#[derive(Default)]
pub(crate) struct Thread {
    pub(super) stats: ThreadStats,
    /// Connections and streams.
    pub(super) load: AtomicI64,
}

impl Net {
    /// Takes the hooks for room of the holders `Requests` and `Answers`.
    ///
    /// # Errors
    /// When the I/O threads have stopped.
    pub fn new(io: &io::Handle, budget: Budget, drain: Drain) -> Result<Self, io::SpawnError> {
        Self::with_times(io, budget, drain, Times::default())
    }

    /// As [`Net::new`], with other times.
    ///
    /// # Errors
    /// As there.
    pub fn with_times(io: &io::Handle, budget: Budget, drain: Drain, times: Times) -> Result<Self, io::SpawnError> {
        let shared = Arc::new(Shared {
            capacity: Capacity::new(budget.limits()),
            overdraft: Overdraft::new(budget.limits()),
            requests: Admission::new(budget.clone(), Holder::Requests),
            answers: Admission::new(budget.clone(), Holder::Answers),
            threads: (0..io.count()).map(|_| Thread::default()).collect(),
            times,
            drain,
            at_work: Presence::default(),
            next_connection: AtomicU64::new(1),
            refused: AtomicU64::new(0),
            io: io.clone(),
            next_acceptor: AtomicUsize::new(0),
            budget,
        });
        // Different threads where there are two: each wakes many others when its holder is contended.
        for (index, admission) in [&shared.requests, &shared.answers].into_iter().enumerate() {
            let admission = admission.clone();
            io.spawn(index % io.count(), move || async move { admission.run().await })?;
        }
        let Capacity { connections, connections_max, streams_per_connection } = shared.capacity;
        tracing::info!(connections, connections_max, streams_per_connection, "connections that the budget admits");
        Ok(Self(shared))
    }

    /// Serves what connects to `listener` until the drain. `served` is called once on each I/O thread.
    ///
    /// # Errors
    /// When the I/O threads have stopped or are flooded.
    pub fn listen<F>(&self, listener: Listener, served: F) -> Result<(), io::SpawnError>
    where
        F: Fn(usize) -> Served + Send + Sync + 'static,
    {
        let served = Arc::new(served);
        let mut workers = Vec::new();
        for thread in 0..self.0.io.count() {
            let (sender, accepted) = mpsc::channel(ACCEPTED_WAITING_MAX);
            let (shared, served) = (Arc::clone(&self.0), Arc::clone(&served));
            let present = self.0.at_work.enter();
            let start = move || async move {
                let local = Rc::new(Local::new(shared, thread));
                work(local, served(thread), accepted).await;
                drop(present);
            };
            self.0.io.spawn(thread, start)?;
            workers.push(sender);
        }
        let (shared, present) = (Arc::clone(&self.0), self.0.at_work.enter());
        let thread = self.0.next_acceptor.fetch_add(1, Ordering::Relaxed) % self.0.io.count();
        let start = move || async move {
            accept(shared, listener, workers).await;
            drop(present);
        };
        self.0.io.spawn(thread, start)
    }

    /// Waits until every listener is closed and the last of its connections is gone: after [`Drain::start`], and at the
    /// latest when its grace is over. From any thread; cancel safe, so that a second signal can cut the wait short.
    pub async fn finished(&self) {
        self.0.at_work.gone().await;
    }

    pub fn capacity(&self) -> Capacity {
        self.0.capacity
    }

    /// The queue before the holder of requests.
    pub fn requests(&self) -> &Admission {
        &self.0.requests
    }

    /// The queue before the holder of answers.
    pub fn answers(&self) -> &Admission {
        &self.0.answers
    }

    pub fn drain(&self) -> &Drain {
        &self.0.drain
    }

    /// Connections and streams that each I/O thread has now.
    pub fn loads(&self) -> Vec<i64> {
        self.0.threads.iter().map(|thread| thread.load.load(Ordering::Relaxed)).collect()
    }

    /// Counters of all listeners since the start.
    pub fn stats(&self) -> Stats {
        let mut sum = Stats { connections_refused: self.0.refused.load(Ordering::Relaxed), ..Stats::default() };
        self.0.threads.iter().for_each(|thread| thread.stats.add_to(&mut sum));
        sum
    }
}
