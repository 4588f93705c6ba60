//! The thread beside the data plane: it looks names up and tries again to bind what could not be bound.

use std::{
    sync::{
        Arc, Weak,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use tidegate_base::clock;
use tidegate_pipeline::Resolver;

use super::plane::Inner;

/// Between two tries to bind, and to look up names that have no address.
const RETRY: Duration = Duration::from_secs(10);
/// Names with an address are looked up at each of these rounds.
const ROUNDS: u32 = 3;

/// Wakes the thread. It ends when this is dropped.
pub(super) struct Background(SyncSender<()>);

impl Background {
    pub(super) fn start(plane: Weak<Inner>, resolver: Arc<Resolver>) -> std::io::Result<Self> {
        let (wake, woken) = sync_channel(1);
        thread::Builder::new().name("gateway-names".to_owned()).spawn(move || run(&woken, &plane, &resolver))?;
        Ok(Self(wake))
    }

    /// Looks up new names now.
    pub(super) fn wake(&self) {
        if let Err(TrySendError::Disconnected(())) = self.0.try_send(()) {
            tracing::error!("the thread that looks names up is gone");
        }
    }
}

fn run(woken: &Receiver<()>, plane: &Weak<Inner>, resolver: &Resolver) {
    let mut round = 0u32;
    // Edits wake the thread for their new names; what is due goes by the clock, however often there are edits.
    let mut due = clock::now() + RETRY;
    loop {
        if let Err(RecvTimeoutError::Disconnected) = woken.recv_timeout(due.saturating_duration_since(clock::now())) {
            return;
        }
        let waited = clock::now() >= due;
        if waited {
            due = clock::now() + RETRY;
        }
        round = round.wrapping_add(u32::from(waited));
        for addresses in resolver.names(!(waited && round.is_multiple_of(ROUNDS))) {
            if let Err(error) = addresses.resolve() {
                tracing::warn!(server = %addresses, %error, "cannot look a server's name up");
            }
            resolver.looked_up();
        }
        if waited && let Some(plane) = plane.upgrade() {
            plane.retry();
        }
    }
}
