use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_base::{Holder, Limits};

/// What all connections together may hold above the budget's limit: an eighth of their floor.
///
/// Why: a connection that has half a frame cannot give it back, and one that was admitted must be able to call. Without this,
/// idle connections that fill the budget to the last byte would have the busy ones refused or closed.
pub(crate) struct Overdraft {
    used: AtomicU64,
    most: u64,
}

/// Who may take how much of it. Calls are refused before connections are closed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overdrawing {
    Nothing,
    /// Up to one half.
    Call,
    Connection,
}

impl Overdraft {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { used: AtomicU64::new(0), most: limits.floor(Holder::Connections) / 8 }
    }

    /// `false`, and no change, when it is used up.
    pub(crate) fn take(&self, bytes: u64, who: Overdrawing) -> bool {
        let most = match who {
            Overdrawing::Nothing => 0,
            Overdrawing::Call => self.most / 2,
            Overdrawing::Connection => self.most,
        };
        let fits = |used: u64| used.checked_add(bytes).filter(|after| *after <= most);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    pub(crate) fn give(&self, bytes: u64) {
        if bytes > 0 {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}
