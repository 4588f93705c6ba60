//! A thread for what takes longer than an I/O thread may stand still: reading and checking what clients send.

use std::{panic::AssertUnwindSafe, thread};

use tokio::sync::{mpsc, oneshot};

use super::error::AdminError;

/// Jobs that wait for the thread; more wait for room in the queue, in their requests.
const QUEUE: usize = 16;

type Job = Box<dyn FnOnce() + Send>;

/// Ends when it is dropped.
pub(super) struct Worker(mpsc::Sender<Job>);

impl Worker {
    /// When the system has no thread for it, its jobs fail.
    pub(super) fn start() -> Self {
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        let run = move || {
            while let Some(job) = queue.blocking_recv() {
                // The panic was logged, and who waits is told as the job's channel goes.
                std::panic::catch_unwind(AssertUnwindSafe(job)).ok();
            }
        };
        if let Err(error) = thread::Builder::new().name("admin".to_owned()).spawn(run) {
            tracing::error!(%error, "no thread for checks of the admin API");
        }
        Self(jobs)
    }

    /// Runs one job after those before it. One that nobody waits for any more is not begun. What a job holds must be paid for
    /// by leases of its own: it may outlive the request.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AdminError> {
        let (done, told) = oneshot::channel();
        let job = move || {
            if !done.is_closed() {
                done.send(job()).ok();
            }
        };
        self.0.send(Box::new(job)).await.map_err(|_| AdminError::Panicked)?;
        told.await.map_err(|_| AdminError::Panicked)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc::sync_channel};

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn jobs_run_on_a_thread_of_their_own_and_a_panic_ends_one_only() {
        let worker = Worker::start();
        let here = thread::current().id();
        assert_ne!(worker.run(|| thread::current().id()).await.unwrap(), here);
        let told = worker.run(|| panic!("asked for by the test")).await;
        assert!(matches!(told, Err::<(), _>(AdminError::Panicked)));
        assert_eq!(worker.run(|| 1).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_abandoned_jobs_are_not_begun() {
        let worker = Worker::start();
        let (go, wait) = sync_channel::<()>(1);
        let (begun, began) = sync_channel(1);
        let first = worker.run(move || {
            begun.send(()).unwrap();
            wait.recv().unwrap();
        });
        let mut first = Box::pin(first);
        assert!((&mut first).now_or_never().is_none());
        began.recv().unwrap();
        let count = Arc::new(());
        let job = || {
            let count = Arc::clone(&count);
            Box::pin(worker.run(move || drop(count)))
        };
        let mut queued: Vec<_> = (0..QUEUE + 3).map(|_| job()).collect();
        assert!(queued.iter_mut().all(|job| job.now_or_never().is_none()));
        assert_eq!(worker.0.capacity(), 0);
        drop(queued);
        let (last, ()) = tokio::join!(worker.run(|| 1), async {
            go.send(()).unwrap();
            first.await.unwrap();
        });
        assert_eq!((last.unwrap(), Arc::strong_count(&count)), (1, 1));
    }
}
