//! The threads of a member, one loop each.
//!
//! ```text
//!   I/O threads ─► raft: the core ─► log: append, fdatasync ─► raft ─► apply: the engine's one writer ─► I/O threads
//!                                                                        └─► raft: applied, leases
//! ```
//! Each hands over batches: under load one wake-up serves many requests. A loop only waits; what it does with what came is a
//! turn, which takes the time as an input and can be made from anywhere, so that a simulation makes the turns of many members
//! in any order.

use std::{fmt::Display, time::Instant};

use tidegate_base::clock;

use crate::core::Millis;

mod apply;
mod log;
mod raft;
mod work;

pub(crate) use self::{
    apply::{Applier, ApplyJob},
    log::{LogJob, Logger},
    raft::{Driver, Proposal, RaftInput},
};
pub use work::{Failed, Lane, Work};

/// Why a member cannot go on without breaking a promise.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {error}")]
pub struct Fatal {
    what: String,
    error: String,
}

impl Fatal {
    /// To map an error with: `what` could not be done.
    pub(crate) fn of<E: Display>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        move |error| Self { what: what.into(), error: error.to_string() }
    }
}

/// Whether a loop goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    GoOn,
    Stopped,
}

/// The member's clock: milliseconds since `epoch`.
pub(crate) fn millis_since(epoch: Instant) -> Millis {
    u64::try_from(clock::now().saturating_duration_since(epoch).as_millis()).unwrap_or(u64::MAX)
}

/// Ends the process: one line, and nothing is answered afterwards.
pub(crate) fn fail(fatal: &Fatal) -> ! {
    tracing::error!(error = %fatal.error, "{}", fatal.what);
    last_words(&fatal.to_string());
    end(70)
}

/// Aborts the process: `who`, which all of it depends on, panicked.
pub(crate) fn panicked(who: &str) -> ! {
    last_words(&format!("{who} panicked"));
    std::process::abort();
}

fn last_words(what: &str) {
    let line = format!("tidegate: fatal: {what}\n");
    drop(std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()));
}

/// Ends the process at once. Not `std::process::exit`: that runs the destructors of the engine, which wait for its flushes and
/// compactions, on a disk that fails for as long as it likes, while other threads go on serving.
#[expect(unsafe_code, reason = "no safe function ends a process without running what waits")]
fn end(code: i32) -> ! {
    // SAFETY: takes a number and does not return.
    unsafe { libc::_exit(code) }
}
