use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

/// The signal to stop, seen by listeners, connections and services alike. Cheap to clone.
///
/// Once it is given, listeners close; HTTP/2 connections tell their clients to go elsewhere and end with their last stream.
/// A service ends its long streams itself, with `Unavailable`. What is left after the grace is dropped.
#[derive(Debug, Clone)]
pub struct Drain(Arc<watch::Sender<Option<Duration>>>);

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

impl Drain {
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Gives the signal. Streams may go on for `grace`. Again with less: the shorter one counts, for who has not yet seen it.
    pub fn start(&self, grace: Duration) {
        self.0.send_modify(|old| *old = Some(old.map_or(grace, |old| old.min(grace))));
    }

    pub fn has_started(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Waits for the signal and gives the grace. Cancel safe.
    pub async fn started(&self) -> Duration {
        let mut signal = self.0.subscribe();
        // The sender is ours, so the channel cannot close under us.
        signal.wait_for(Option::is_some).await.ok().and_then(|grace| *grace).unwrap_or_default()
    }
}
