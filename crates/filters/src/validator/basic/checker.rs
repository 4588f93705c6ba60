//! The thread that checks passwords whose hashes take long, one after another, and reads files of users again.
//!
//! One thread for the process: a flood of wrong passwords takes one core at most, and waits in a line of its own.

use std::{
    sync::{
        Arc, OnceLock, Weak,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use tidegate_base::clock;
use tokio::sync::oneshot;

use super::{file::UserFile, users::Stored};

/// Longest password that is checked. Those that wait take 64 KiB together.
pub(super) const PASSWORD_BYTES_MAX: usize = 1 << 10;
const WAITING_MAX: usize = 64;
/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

enum Job {
    Check { stored: Arc<Stored>, password: Vec<u8>, answer: oneshot::Sender<bool> },
    Follow(Weak<UserFile>),
}

/// `None` where the system has no thread for it.
fn line() -> Option<&'static SyncSender<Job>> {
    static LINE: OnceLock<Option<SyncSender<Job>>> = OnceLock::new();
    let start = || {
        let (sender, receiver) = sync_channel(WAITING_MAX);
        let thread = thread::Builder::new().name("passwords".to_owned()).spawn(move || run(&receiver));
        thread.inspect_err(|error| tracing::error!(%error, "passwords cannot be checked")).ok().map(|_| sender)
    };
    LINE.get_or_init(start).as_ref()
}

/// Whether the password is good; `None` when too many wait already.
pub(super) async fn check(stored: Arc<Stored>, password: Vec<u8>) -> Option<bool> {
    let (answer, answered) = oneshot::channel();
    line()?.try_send(Job::Check { stored, password, answer }).ok()?;
    answered.await.ok()
}

/// Has the file read again whenever it changes, until it is dropped. Blocks while the line is full.
pub(super) fn follow(file: &Arc<UserFile>) {
    let sent = line().map(|line| line.send(Job::Follow(Arc::downgrade(file))));
    if !matches!(sent, Some(Ok(()))) {
        tracing::error!("a file of users is not followed");
    }
}

fn run(jobs: &Receiver<Job>) {
    let mut files: Vec<Weak<UserFile>> = Vec::new();
    let mut due = clock::now() + LOOK;
    loop {
        let job = if files.is_empty() {
            jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            jobs.recv_timeout(due.saturating_duration_since(clock::now()))
        };
        match job {
            // Who asked may have gone.
            Ok(Job::Check { answer, .. }) if answer.is_closed() => {}
            Ok(Job::Check { stored, password, answer }) => {
                // Who asked may have gone meanwhile.
                answer.send(stored.hash.fits(&password)).ok();
            }
            Ok(Job::Follow(file)) => files.push(file),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if clock::now() >= due {
            due = clock::now() + LOOK;
            files.retain(|file| file.upgrade().inspect(|file| file.refresh()).is_some());
        }
    }
}
