//! The engine on RocksDB.
//!
//! What is particular here, with the reasons in the modules:
//!
//! - One cache pays for blocks, index and filter blocks, rows and memtables ([`Settings`]).
//! - No write-ahead log: the replicated log is it. All families are flushed together, so that a crash leaves a prefix of
//!   the batches.
//! - Large values lie in files of their own, whose garbage is left to age away until it is more than half (`blobs`).
//! - Range deletions are never used: each one makes the next read rebuild the list of all that are in memory.

mod batch;
mod blobs;
mod cursor;
mod engine;
mod error;
mod options;
mod settings;
mod usage;

pub use batch::RocksBatch;
pub use cursor::RocksCursor;
pub use engine::{RocksEngine, RocksValue};
pub use settings::Settings;

#[cfg(test)]
mod tests;
