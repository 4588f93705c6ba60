//! The only place that reads the machine's clocks.
//!
//! Pure parts (raft, kv, the member's core, resilience, routing) take time as an input and never call this.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Monotonic time, for deadlines and durations.
#[expect(clippy::disallowed_methods, reason = "the one reader of the monotonic clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Time since 1970 by the wall clock: for logs, ids and certificates, never for deadlines.
#[expect(clippy::disallowed_methods, reason = "the one reader of the wall clock")]
pub fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
