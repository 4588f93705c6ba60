//! What survives when the process or its disk fails: everything that was acknowledged, and no more trust than that.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod disk;
mod history;
mod rounds;
