//! Policies that pools name: circuit breakers and retries, as pure decisions.
//!
//! Time, randomness and outcomes are inputs, decisions are data: whoever sends the requests reads the clock, waits and
//! tells how calls ended. A policy is only settings; each pool that names a breaker has one of its own, which the node's
//! threads share.

mod breaker;
mod policies;
mod retry;
#[cfg(test)]
mod tests;
mod window;

pub use breaker::{Admission, Breaker, BreakerConfig, BreakerSettings, Phase, Ticket};
pub use policies::Policies;
pub use retry::{Retry, RetryConfig};
