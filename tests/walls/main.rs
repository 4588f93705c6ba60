//! One smoke of each wall: a load that has no bound in a store that keeps things in memory. The kernel's high-water mark
//! of the process must stay within the budget, and nothing may be lost.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod deletes;
mod lists;
mod silent;
mod store;
mod watchers;
