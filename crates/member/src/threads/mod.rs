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
    let line = format!("tidegate: fatal: {what}: {error}\n");
    drop(std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()));
    std::process::exit(70);
}
