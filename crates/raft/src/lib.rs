//! Consensus as inputs and commands, over the `raft` crate.
//!
//! [`Raft::step`] takes one [`Input`] and returns [`Command`]s in the order in which they must take effect. It reads no
//! clock, holds no socket and no file, and never sees a payload: entries are positions here, the bytes wait in the log's
//! tail cache. So it can be simulated by seed, and a core of our own can take the place of the wrapped one.
//!
//! What the wrapped core would do wrong is kept from it here: its inside is frozen.
//! - It panics on a heartbeat whose commit is above its last index, and on a conflict at or below its commit. Both are
//!   refused before it sees them ([`Refused`]).
//! - Its campaign asks the storage for all unapplied entries without a limit. [`LogView`] answers with stubs (position
//!   and nothing else) made from runs of terms, so an answer costs tens of bytes an entry whatever the payloads are.
//! - It keeps handed-over entries as unstable until told otherwise. Each input is followed by a full round of its ready
//!   protocol, so nothing is unstable when the next input comes.

mod core;
mod message;
mod view;

pub use crate::core::{Command, Config, HardState, Input, Raft, ReadId, Refused, Rejected, Role, StartError, Status};
pub use message::{Message, MessageKind};
pub use view::{LogView, TermRun};
