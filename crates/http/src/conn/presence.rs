use std::sync::Arc;

use tokio::sync::watch;

/// Counts what is still at work, so that its end can be waited for from any thread. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Presence(Arc<watch::Sender<usize>>);

/// One that is counted until it is dropped.
#[derive(Debug)]
pub struct Present(Arc<watch::Sender<usize>>);

impl Default for Presence {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Presence {
    pub fn enter(&self) -> Present {
        self.0.send_modify(|count| *count += 1);
        Present(Arc::clone(&self.0))
    }

    pub fn count(&self) -> usize {
        *self.0.borrow()
    }

    /// Waits until nobody is there. Cancel safe.
    pub async fn gone(&self) {
        // The sender is ours, so the channel cannot close under us.
        self.0.subscribe().wait_for(|count| *count == 0).await.ok();
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
