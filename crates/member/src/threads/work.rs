//! The `work` threads: engine reads that miss the cache, and computing that would hold up an I/O thread.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use tokio::sync::oneshot;

/// Which queue a job waits in. Engine reads go first, and other jobs never take all threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    Read,
    Other,
}

/// The job panicked, or the threads are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a work thread failed")]
pub struct Failed;

type Job = Box<dyn FnOnce() + Send>;

struct Shared {
    state: Mutex<State>,
    arrived: Condvar,
}

struct State {
    reads: VecDeque<Job>,
    others: VecDeque<Job>,
    /// Threads that may take another job of [`Lane::Other`].
    others_free: usize,
    stopping: bool,
}

/// Handle to the threads. What waits here is bounded by the calls that wait for it, each of which holds a lease.
#[derive(Clone)]
pub struct Work(Arc<Shared>);

impl Work {
    /// Starts `threads` threads, at least two.
    pub fn start(threads: usize) -> (Self, Vec<JoinHandle<()>>) {
        let work = Self::idle(threads);
        let handles = work.begin(threads);
        (work, handles)
    }

    /// Takes work that [`Work::begin`] starts to do, with as many threads.
    pub(crate) fn idle(threads: usize) -> Self {
        let others_free = threads.max(2) - 1;
        let state = State { reads: VecDeque::new(), others: VecDeque::new(), others_free, stopping: false };
        Self(Arc::new(Shared { state: Mutex::new(state), arrived: Condvar::new() }))
    }

    pub(crate) fn begin(&self, threads: usize) -> Vec<JoinHandle<()>> {
        let shared = &self.0;
        let start = |n| {
            let shared = Arc::clone(shared);
            std::thread::Builder::new()
                .name(format!("work-{n}"))
                .spawn(move || shared.run())
                .expect("a thread can be started at start-up")
        };
        (0..threads.max(2)).map(start).collect()
    }

    /// Runs `job` on a work thread. Dropping the future does not stop a job that has begun.
    ///
    /// # Errors
    /// [`Failed`] when the job panics or the threads were stopped.
    pub async fn run<T: Send + 'static>(
        &self,
        lane: Lane,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failed> {
        let (sender, receiver) = oneshot::channel();
        self.push(
            lane,
            Box::new(move || {
                // A caller that went away does not need the result.
                drop(sender.send(job()));
            }),
        );
        receiver.await.map_err(|_| Failed)
    }

    fn push(&self, lane: Lane, job: Job) {
        let mut state = self.0.lock();
        if state.stopping {
            return; // dropping the job drops its sender
        }
        match lane {
            Lane::Read => state.reads.push_back(job),
            Lane::Other => state.others.push_back(job),
        }
        drop(state);
        self.0.arrived.notify_one();
    }

    /// Ends the threads after the job that each is in; what waits is dropped.
    pub fn stop(&self) {
        let mut state = self.0.lock();
        state.stopping = true;
        state.reads.clear();
        state.others.clear();
        drop(state);
        self.0.arrived.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.lock();
        loop {
            let (job, other) = if let Some(job) = state.reads.pop_front() {
                (job, false)
            } else if state.others_free > 0
                && let Some(job) = state.others.pop_front()
            {
                state.others_free -= 1;
                (job, true)
            } else if state.stopping {
                return;
            } else {
                state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("a job of a work thread panicked");
            }
            state = self.lock();
            if other {
                state.others_free += 1;
                if !state.others.is_empty() {
                    self.arrived.notify_one();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn a_panic_is_the_callers_error_and_the_thread_goes_on() {
        let (work, handles) = Work::start(2);
        for _ in 0..4 {
            assert_eq!(block_on(work.run(Lane::Read, || -> u32 { panic!("planted") })), Err(Failed));
        }
        assert_eq!(block_on(work.run(Lane::Other, || 7)), Ok(7));
        work.stop();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        assert_eq!(block_on(work.run(Lane::Read, || 1)), Err(Failed));
    }

    #[test]
    fn other_jobs_leave_a_thread_for_reads() {
        let (work, _handles) = Work::start(2);
        let (release, gate) = mpsc::sync_channel::<()>(0);
        let gate = Arc::new(Mutex::new(gate));
        let blocked: Vec<_> = (0..3)
            .map(|_| {
                let (work, gate) = (work.clone(), Arc::clone(&gate));
                std::thread::spawn(move || {
                    block_on(work.run(Lane::Other, move || gate.lock().unwrap().recv().unwrap()))
                })
            })
            .collect();
        assert_eq!(block_on(work.run(Lane::Read, || 9)), Ok(9), "a read is served beside three blocked jobs");
        (0..3).for_each(|_| release.send(()).unwrap());
        blocked.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
        work.stop();
    }
}
