//! A member over an engine in memory, and what its clients see.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod endpoints;
mod metrics;
mod node;
mod watches;
