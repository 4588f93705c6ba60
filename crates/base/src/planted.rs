//! Faults that are planted on purpose, to prove that the tests find them.
//!
//! They exist in builds with `--cfg planted` only, which nothing but `cargo xtask planted` makes; in any other build
//! [`is_planted`] is the constant `false`, and the fault is not in the program.

/// Where a fault is planted; named after what goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    AcknowledgedBeforeFsync,
    VoteNotPersisted,
    AppliedIndexOutsideTheBatch,
    ChunkCursorForgotten,
    EventLostInCatchUp,
    EventRepeatedInCatchUp,
    CompactionIgnoresPins,
    DeletionDroppedOneRevisionEarly,
    DeletionKeptForEver,
    HeadTooNewIsRead,
    TornTailAcceptedInTheMiddle,
    LeaseAnsweredWithoutQuorum,
    HopByHopHeaderPassedOn,
    LastChunkLost,
    LengthBesideChunksAccepted,
    UnreadBodyTakenForARequest,
}

impl Fault {
    pub const ALL: [Self; 16] = [
        Self::AcknowledgedBeforeFsync,
        Self::VoteNotPersisted,
        Self::AppliedIndexOutsideTheBatch,
        Self::ChunkCursorForgotten,
        Self::EventLostInCatchUp,
        Self::EventRepeatedInCatchUp,
        Self::CompactionIgnoresPins,
        Self::DeletionDroppedOneRevisionEarly,
        Self::DeletionKeptForEver,
        Self::HeadTooNewIsRead,
        Self::TornTailAcceptedInTheMiddle,
        Self::LeaseAnsweredWithoutQuorum,
        Self::HopByHopHeaderPassedOn,
        Self::LastChunkLost,
        Self::LengthBesideChunksAccepted,
        Self::UnreadBodyTakenForARequest,
    ];

    /// Whether it is one of the gateway, which the store's tests do not run.
    pub const fn is_of_gateway(self) -> bool {
        matches!(
            self,
            Self::HopByHopHeaderPassedOn
                | Self::LastChunkLost
                | Self::LengthBesideChunksAccepted
                | Self::UnreadBodyTakenForARequest
        )
    }
}

/// Whether the fault is planted on this thread.
#[cfg(not(planted))]
#[inline(always)]
pub const fn is_planted(_fault: Fault) -> bool {
    false
}

#[cfg(planted)]
mod switch {
    use std::cell::Cell;

    use super::Fault;

    thread_local! {
        static PLANTED: Cell<Option<Fault>> = Cell::new(named());
    }

    /// The fault that `TIDEGATE_PLANT` names.
    fn named() -> Option<Fault> {
        let name = std::env::var("TIDEGATE_PLANT").ok()?;
        let fault = Fault::ALL.into_iter().find(|fault| format!("{fault:?}") == name);
        Some(fault.unwrap_or_else(|| panic!("there is no fault {name} to plant")))
    }

    /// Whether the fault is planted on this thread.
    pub fn is_planted(fault: Fault) -> bool {
        PLANTED.get() == Some(fault)
    }

    /// Plants `fault`, or none, on this thread while `body` runs.
    pub fn with<T>(fault: Option<Fault>, body: impl FnOnce() -> T) -> T {
        struct Restore(Option<Fault>);
        impl Drop for Restore {
            fn drop(&mut self) {
                PLANTED.set(self.0);
            }
        }
        let _restore = Restore(PLANTED.replace(fault));
        body()
    }
}

#[cfg(planted)]
pub use switch::{is_planted, with};

/// As in a build with planted faults, of which this one has none.
#[cfg(not(planted))]
pub fn with<T>(_fault: Option<Fault>, body: impl FnOnce() -> T) -> T {
    body()
}
