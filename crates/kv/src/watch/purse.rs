//! The hub's own lease, grown and shrunk in steps: an entry in a queue costs an addition and not an atomic operation.

use tidegate_base::{Budget, Holder, Lease};

const STEP: u64 = 16 << 10;

#[derive(Debug)]
pub(super) struct Purse {
    lease: Lease,
    used: u64,
}

impl Purse {
    pub(super) fn new(budget: &Budget) -> Self {
        Self { lease: budget.empty(Holder::Watches), used: 0 }
    }

    /// Takes bytes; `false`, and no change, when the holder has no room.
    #[must_use]
    pub(super) fn take(&mut self, bytes: u64) -> bool {
        let after = self.used + bytes;
        if after > self.lease.bytes() {
            let needed = after - self.lease.bytes();
            if !self.lease.try_grow(needed + STEP) && !self.lease.try_grow(needed) {
                return false;
            }
        }
        self.used = after;
        true
    }

    /// Takes bytes that stand for what exists already, above the limits if need be.
    pub(super) fn take_forced(&mut self, budget: &Budget, bytes: u64) {
        if !self.take(bytes) {
            self.used += bytes;
            let missing = self.used - self.lease.bytes();
            self.lease.merge(budget.force_lease(Holder::Watches, missing));
        }
    }

    pub(super) fn give(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.used, "gave back {bytes} of {}", self.used);
        self.used -= bytes;
        if self.used == 0 || self.lease.bytes() > self.used + 3 * STEP {
            let keep = if self.used == 0 { 0 } else { self.used + STEP };
            self.lease.shrink_to(keep);
        }
    }

    /// Bytes leased and not taken.
    pub(super) fn slack(&self) -> u64 {
        self.lease.bytes() - self.used
    }

    pub(super) fn used(&self) -> u64 {
        self.used
    }
}
