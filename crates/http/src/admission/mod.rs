//! Who may take bytes next, when a holder of the budget has not enough for all.
//!
//! ```text
//!                    ┌ small ─ connection 7: ▪▪    ┐  served first; may use all room
//!   calls that wait ─┤         connection 9: ▪     ┘
//!                    └ large ─ connection 7: ██ █  ┐  one call a turn, connections in a ring;
//!                              connection 8: ███   ┘  an eighth of the floor stays free for small ones
//! ```
//! - While nobody waits, a small call costs one lease and one counter, and a large one an uncontended lock besides.
//! - The call whose turn it is keeps it until there is room: small calls never starve a large one, nor the reverse.
//! - One connection holds at most a quarter of the floor; a single call that is larger goes when its connection holds
//!   nothing else.
//!
//! Bytes come back on any thread. The budget's hook wakes one task, which grants what fits; so nothing polls, and no
//! thread that gives bytes back does more than one wake-up. Why not a semaphore of the runtime: it knows one queue, so one
//! client with a thousand calls would stand before everybody else.

mod party;
mod queue;
#[cfg(test)]
mod tests;

pub use party::{Admitted, Party, Refused, Take};
pub use queue::{Admission, SMALL_MAX};
