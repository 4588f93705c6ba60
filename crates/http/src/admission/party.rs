use std::{
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use tidegate_base::{Holder, Lease};

use super::queue::{Lane, Look, Shared};

/// What one connection holds. Counters only: the bytes themselves are in the budget.
pub(super) struct Share {
    pub(super) shared: Arc<Shared>,
    pub(super) id: u64,
    used: AtomicU64,
    /// A call of this connection has waited: from now on its returns look at the queue.
    waits: AtomicBool,
}

impl Share {
    pub(super) fn new(shared: Arc<Shared>, id: u64) -> Self {
        Self { shared, id, used: AtomicU64::new(0), waits: AtomicBool::new(false) }
    }

    pub(super) fn allows(&self, bytes: u64, share_max: u64) -> bool {
        let used = self.used.load(Ordering::SeqCst);
        used == 0 || used.saturating_add(bytes) <= share_max
    }

    pub(super) fn add(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::SeqCst);
    }

    fn give(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::SeqCst);
        if self.waits.load(Ordering::SeqCst) && self.shared.anybody_waits() {
            self.shared.returned(self.id);
        }
    }
}

/// Why there will be no lease, however long one waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes are more than the {holder} can ever hold")]
pub struct Refused {
    pub bytes: u64,
    pub holder: Holder,
}

/// One connection before one holder of the budget.
#[derive(Clone)]
pub struct Party(pub(super) Arc<Share>);

impl Party {
    /// Bytes at once, when there is room and nobody waits for it.
    pub fn try_take(&self, bytes: u64) -> Option<Admitted> {
        let share = &*self.0;
        if !share.allows(bytes, share.shared.share_max) {
            return None;
        }
        let lease = share.shared.lease_now(Lane::of(bytes), bytes)?;
        share.add(bytes);
        Some(Admitted { lease, charged: bytes, share: Arc::clone(&self.0) })
    }

    /// Bytes as soon as it is this connection's turn and they are there.
    ///
    /// # Errors
    /// [`Refused`] at once when that can never be.
    pub fn take(&self, bytes: u64) -> Result<Take, Refused> {
        if bytes > self.0.shared.call_max {
            return Err(Refused { bytes, holder: self.0.shared.holder });
        }
        Ok(Take { share: Arc::clone(&self.0), bytes, ticket: None, taken: false })
    }

    /// Bytes that this connection holds.
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }
}

/// Waits in the queue. Dropping it gives the place up.
#[must_use = "it enters the queue when it is polled"]
pub struct Take {
    share: Arc<Share>,
    bytes: u64,
    ticket: Option<u64>,
    taken: bool,
}

impl Future for Take {
    type Output = Admitted;

    /// # Panics
    /// When it is polled again after it gave its lease.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Admitted> {
        let this = &mut *self;
        assert!(!this.taken, "polled after its end");
        let lane = Lane::of(this.bytes);
        let admitted = |lease| Admitted { lease, charged: this.bytes, share: Arc::clone(&this.share) };
        let ticket = match this.ticket {
            Some(ticket) => ticket,
            None => {
                this.share.waits.store(true, Ordering::SeqCst);
                let ticket = this.share.shared.enter(lane, &this.share, this.bytes, cx.waker());
                this.ticket = Some(ticket);
                ticket
            }
        };
        match this.share.shared.look(lane, &this.share, ticket, cx.waker()) {
            Look::Granted(lease) => {
                this.taken = true;
                Poll::Ready(admitted(lease))
            }
            Look::Waits => Poll::Pending,
        }
    }
}

impl Drop for Take {
    fn drop(&mut self) {
        if let (Some(ticket), false) = (self.ticket, self.taken)
            && let Some(lease) = self.share.shared.leave(Lane::of(self.bytes), &self.share, ticket)
        {
            drop(lease); // granted between the last poll and now
            self.share.give(self.bytes);
        }
    }
}

/// A lease that also counts towards what its connection may hold. Drop it with the bytes it stands for.
#[must_use = "dropping it gives its bytes back at once"]
pub struct Admitted {
    lease: Lease,
    charged: u64,
    share: Arc<Share>,
}

impl Admitted {
    pub fn bytes(&self) -> u64 {
        self.lease.bytes()
    }

    /// Gives back what is above `bytes`.
    pub fn shrink_to(&mut self, bytes: u64) {
        if bytes < self.charged {
            let back = mem::replace(&mut self.charged, bytes) - bytes;
            self.lease.shrink_to(bytes);
            self.share.give(back);
        }
    }

    /// Takes `more` bytes without waiting; `false`, and no change, when there is no room.
    #[must_use]
    pub fn try_grow(&mut self, more: u64) -> bool {
        let grown = self.lease.try_grow(more);
        if grown {
            self.charged += more;
            self.share.add(more);
        }
        grown
    }

    /// All of it, leaving an empty one behind.
    pub fn take(&mut self) -> Self {
        let lease = self.lease.split(self.lease.bytes());
        Self { lease, charged: mem::take(&mut self.charged), share: Arc::clone(&self.share) }
    }

    /// Moves the bytes to another holder, where no connection's share is counted.
    ///
    /// # Errors
    /// Itself, unchanged, when that holder has no room.
    pub fn transfer(mut self, to: Holder) -> Result<Lease, Self> {
        let empty = self.lease.split(0);
        match mem::replace(&mut self.lease, empty).transfer(to) {
            Ok(lease) => Ok(lease),
            Err(lease) => {
                self.lease = lease;
                Err(self)
            }
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.lease.shrink_to(0); // before the share: who is woken by it finds the room
        self.share.give(self.charged);
    }
}

impl std::fmt::Debug for Admitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.lease.fmt(f)
    }
}
