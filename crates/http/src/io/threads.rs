use std::{cell::Cell, io, sync::Arc, thread::JoinHandle};

use futures_util::future::LocalBoxFuture;
use tokio::{
    runtime,
    sync::{mpsc, watch},
    task::LocalSet,
};

/// Tasks on their way to a thread. Each is a boxed closure; what carries bytes carries its own lease.
const SPAWNS_WAITING_MAX: usize = 1024;

type Start = Box<dyn FnOnce() -> LocalBoxFuture<'static, ()> + Send>;

thread_local! {
    static INDEX: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Number of the I/O thread that runs this, from 0; `None` on any other thread.
pub fn thread_index() -> Option<usize> {
    INDEX.get()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpawnError {
    #[error("the I/O thread has stopped")]
    Stopped,
    /// 1024 tasks wait to be started there.
    #[error("too many tasks wait for the I/O thread")]
    Full,
    #[error("there is no I/O thread of this number")]
    NoSuchThread,
}

/// Owns the threads. Cheap handles to them come from [`Threads::handle`].
pub struct Threads {
    handle: Handle,
    stop: watch::Sender<bool>,
    joins: Vec<JoinHandle<()>>,
}

/// Spawns on the I/O threads from anywhere. Cheap to clone.
#[derive(Clone)]
pub struct Handle(Arc<[mpsc::Sender<Start>]>);

impl Threads {
    /// Starts `count` threads, at least one, named `NAME-0`, `NAME-1` and so on.
    ///
    /// # Errors
    /// When the system refuses a thread or an epoll instance.
    pub fn start(count: usize, name: &str) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let (mut senders, mut joins) = (Vec::new(), Vec::new());
        for index in 0..count.max(1) {
            let (sender, tasks) = mpsc::channel(SPAWNS_WAITING_MAX);
            // Nothing may block here; the runtime insists on room for one thread that could.
            let runtime = runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build()?;
            let stopped = stopped.clone();
            let thread = std::thread::Builder::new().name(format!("{name}-{index}"));
            joins.push(thread.spawn(move || {
                INDEX.set(Some(index));
                let local = LocalSet::new();
                local.block_on(&runtime, run(tasks, stopped));
                // Futures that are left are dropped here, on the thread they live on, while its timers still exist.
                let context = runtime.enter();
                drop(local);
                drop(context);
            })?);
            senders.push(sender);
        }
        Ok(Self { handle: Handle(senders.into()), stop, joins })
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// As [`Handle::spawn`].
    ///
    /// # Errors
    /// As there.
    pub fn spawn<F, T>(&self, thread: usize, start: F) -> Result<(), SpawnError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Future<Output = ()> + 'static,
    {
        self.handle.spawn(thread, start)
    }

    /// Drops every task on its thread and waits until all threads have ended. Blocks: not to be called on one of them.
    pub fn stop(self) {
        self.stop.send_replace(true);
        for join in self.joins {
            if join.join().is_err() {
                tracing::error!("an I/O thread ended by a panic");
            }
        }
    }
}

impl Handle {
    /// Number of threads.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Runs `start` on thread number `thread` and then the future that it made, which never leaves that thread. A panic
    /// in either ends that task alone.
    ///
    /// # Errors
    /// [`SpawnError`]; `start` is dropped, not run.
    pub fn spawn<F, T>(&self, thread: usize, start: F) -> Result<(), SpawnError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Future<Output = ()> + 'static,
    {
        let sender = self.0.get(thread).ok_or(SpawnError::NoSuchThread)?;
        let start: Start = Box::new(move || Box::pin(start()));
        sender.try_send(start).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SpawnError::Full,
            mpsc::error::TrySendError::Closed(_) => SpawnError::Stopped,
        })
    }
}

async fn run(mut tasks: mpsc::Receiver<Start>, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            biased;
            _ = stopped.changed() => return, // also when the owner is gone
            Some(start) = tasks.recv() => {
                tokio::task::spawn_local(async move { start().await });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{rc::Rc, sync::mpsc::sync_channel};

    use super::*;

    #[test]
    fn a_future_that_is_not_send_runs_on_its_thread() {
        let threads = Threads::start(3, "io").unwrap();
        let (tell, told) = sync_channel(3);
        for index in [2, 0, 1] {
            let tell = tell.clone();
            let start = move || async move {
                let own = Rc::new(index);
                tokio::task::yield_now().await;
                tell.send((*own, thread_index(), std::thread::current().name().unwrap().to_owned())).unwrap();
            };
            threads.spawn(index, start).unwrap();
        }
        let mut seen: Vec<_> = (0..3).map(|_| told.recv().unwrap()).collect();
        seen.sort();
        let expected: Vec<_> = (0..3).map(|i| (i, Some(i), format!("io-{i}"))).collect();
        assert_eq!(seen, expected);
        assert_eq!(thread_index(), None);
        threads.stop();
    }

    #[test]
    fn stop_drops_what_still_runs() {
        struct Tell(std::sync::mpsc::SyncSender<Option<usize>>);
        impl Drop for Tell {
            fn drop(&mut self) {
                self.0.send(thread_index()).unwrap();
            }
        }
        let threads = Threads::start(1, "io").unwrap();
        let handle = threads.handle();
        let (tell, told) = sync_channel(2);
        let (started, start) = sync_channel(1);
        let task = move || async move {
            let _tell = Tell(tell);
            started.send(()).unwrap();
            std::future::pending::<()>().await;
        };
        threads.spawn(0, task).unwrap();
        start.recv().unwrap();
        threads.stop();
        assert_eq!(told.recv().unwrap(), Some(0));
        assert_eq!(handle.spawn(0, || async {}), Err(SpawnError::Stopped));
    }

    #[test]
    fn a_panic_ends_one_task_only() {
        let threads = Threads::start(1, "io").unwrap();
        let (tell, told) = sync_channel(1);
        threads.spawn(0, || async { panic!("on purpose") }).unwrap();
        threads.spawn(0, move || async move { tell.send(()).unwrap() }).unwrap();
        told.recv().unwrap();
        assert_eq!(threads.spawn(7, || async {}), Err(SpawnError::NoSuchThread));
        threads.stop();
    }
}
