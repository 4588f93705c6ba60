//! Bytes that no honest client sends: a clear error each, the process lives, and what was written before is read back.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bytes;
mod calls;
mod target;
