//! The replicated machine: keys with their history, leases, alarms and members, and which watcher gets what.
//!
//! [`Machine`] applies the entries of the log, alone and in order; [`Reader`] answers from any thread, each read at a
//! [`Bound`]. The layouts of the rows are in `docs/formats.md`.

mod answer;
mod envelope;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod machine;
mod reader;
mod rows;
mod version;
pub mod watch;

pub use answer::{
    Answer, DeleteAnswer, LeaseChange, OpAnswer, Outcome, PreviousPair, PutAnswer, RangeAnswer, Recipe, TxnAnswer,
};
pub use envelope::{Command, Envelope, EnvelopeError};
pub use machine::{Config, Fatal, Machine, OpenError, Step, Sweep, range_spec};
pub use reader::{
    CompareCursor, Found, HashAnswer, HashCursor, KeyEvent, Piece, Pin, RangeCursor, RangeMeasure, RangeSpec,
    ReadError, Reader, Revisions, Row, SliceLimit, SortField, Sorting, StoredEvent, pair_len, put_number_field,
    put_pair,
};
pub use rows::{BadRow, Info};
pub use version::{Bound, Version};
