//! The threads of a member, one loop each.
//!
//! ```text
//!   I/O threads ─► raft: the core ─► log: append, fdatasync ─► raft ─► apply: the engine's one writer ─► I/O threads
//!                                                                        └─► raft: applied, leases
//! ```
//! Each hands over batches: under load one wake-up serves many requests.

mod apply;
mod log;
mod raft;
mod work;

pub(crate) use self::{
    apply::{Applier, ApplyJob},
    log::{LogJob, Logger},
    raft::{Driver, Proposal, RaftInput, start_core},
};
pub use work::{Failed, Lane, Work};

/// Ends the process: the member cannot go on without breaking a promise. One line, and nothing is answered afterwards.
pub(crate) fn fail(what: &str, error: &dyn std::fmt::Display) -> ! {
    tracing::error!(error = %error, "{what}");
    last_words(&format!("{what}: {error}"));
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
