//! System calls in batches, on threads that serve many connections.

use tidegate_base::{Budget, Holder};
use tidegate_uring::{RING_BYTES, install, probe};
use tokio::sync::watch;

use super::{Handle, SpawnError};

/// While this lives, new TCP connections of HTTP/1.1, from clients and to servers, come to the ring of their thread; those
/// that are there already stay with it.
#[derive(Debug)]
pub struct Rings {
    _installed: watch::Sender<()>,
}

impl Rings {
    /// Gives each of the threads a ring, for which `holder` pays. A thread goes on with its reactor alone where the kernel lets it
    /// have none, or no memory is free.
    ///
    /// # Errors
    /// When a thread takes no task.
    pub fn install(threads: &Handle, budget: &Budget, holder: Holder) -> Result<Self, SpawnError> {
        let (installed, gone) = watch::channel(());
        if let Err(error) = probe() {
            tracing::info!(%error, "no io_uring: a system call goes for each read and write");
            return Ok(Self { _installed: installed });
        }
        for thread in 0..threads.count() {
            let Some(lease) = budget.try_lease(holder, RING_BYTES) else {
                tracing::warn!(thread, "no memory is free for a ring: a system call goes for each read and write");
                continue;
            };
            let mut gone = gone.clone();
            threads.spawn(thread, move || async move {
                let ring = match install(lease) {
                    Ok(ring) => ring,
                    Err(error) => {
                        return tracing::warn!(thread, %error, "no ring: a system call goes for each read and write");
                    }
                };
                tracing::debug!(thread, "reads and writes go to the kernel in batches, by io_uring");
                // Ends when its sender is dropped; nothing is ever sent.
                while gone.changed().await.is_ok() {}
                drop(ring);
            })?;
        }
        Ok(Self { _installed: installed })
    }
}
