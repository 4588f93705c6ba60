//! What every other crate may use: sizes in bytes, the memory budget, time, and the numbers of the replicated log.
//!
//! Knows neither keys nor HTTP, starts no thread, holds no file.

mod budget;
mod calendar;
pub mod clock;
mod limits;
mod payload;
pub mod planted;
mod position;
mod size;
mod varint;

pub use budget::{Budget, Holder, HolderUsage, Lease};
pub use calendar::Moment;
pub use limits::{Limits, LimitsError, Profile};
pub use payload::Payload;
pub use position::{LogIndex, LogPosition, Term};
pub use size::{ByteSize, ParseByteSizeError};
pub use varint::{put_varint, varint_len};
