//! The replicated log of one member: preallocated segment files, one writer, any number of readers, group commit.
//!
//! ```text
//!   append ─► Group ─► one pwritev ─► active segment ─► Map ─► LogReader
//!   sync   ─► one fdatasync                              ▲        │
//!   arrival of an entry ─► TailCache (leased) ◄──────────┼────────┘ first looks here
//!   open   ─► Scanner ─► Replay ─► judge: torn tail or damage
//! ```
//! Why our own: nothing here grows with the number of entries, bytes are written once, and a record can say what was durable before
//! it, so that after a crash damage is told from a torn tail. The format is described in `docs/formats.md`.
//!
//! Invariants, each held by `tests::crash`: what [`Log::sync`] acknowledged is there after any crash; what comes back is a prefix of
//! what was appended; a bad record that was durable once is reported and never passed over; a failed write or sync is final.

mod cache;
mod disk;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod group;
mod log;
mod map;
mod reader;
mod real;
mod record;
mod recover;
mod replay;
mod scan;
mod segment;
pub mod sim;
mod space;
#[cfg(test)]
mod tests;
mod types;

pub use cache::{TailCache, TailUsage};
pub use disk::{Disk, File, is_no_space};
pub use error::{LogError, OpenError, ReadError};
pub use log::Log;
pub use reader::LogReader;
pub use real::RealDisk;
pub use types::{Config, Cut, Entry, Expect, HardState, LogUsage, Recovered, TermRun};
