//! Memory of answers that are sorted by another field than the key.
//!
//! A heap is held from the first pair to the last, and meanwhile its answer waits for other bytes of the same holder. So only
//! few may have one at a time: the rest of the holder keeps moving, and nobody waits for ever.

use std::time::Duration;

use tidegate_base::{Budget, Holder, Lease};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Answers that sort at the same time.
const SORTS: usize = 2;
/// How often room for a heap is looked for.
const RETRY: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct Sorts(Semaphore);

impl Default for Sorts {
    fn default() -> Self {
        Self(Semaphore::new(SORTS))
    }
}

/// Bytes for one answer's heap, while it is its turn.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    lease: Lease,
    _permit: SemaphorePermit<'a>,
}

impl Sorts {
    /// Makes `turn` one of at least `bytes`; waits for it as long as it takes. Cancel safe.
    pub(crate) async fn hold<'a>(&'a self, budget: &Budget, turn: &mut Option<Turn<'a>>, bytes: u64) {
        if turn.is_none() {
            let permit = self.0.acquire().await.expect("it is never closed");
            *turn = Some(Turn { lease: budget.empty(Holder::Answers), _permit: permit });
        }
        let Some(Turn { lease, .. }) = turn else { return };
        while lease.bytes() < bytes && !lease.try_grow(bytes - lease.bytes()) {
            tokio::time::sleep(RETRY).await;
        }
    }
}
