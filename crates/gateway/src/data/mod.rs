//! The data plane: what moves the traffic, and its replacement while traffic flows.
//!
//! ```text
//!   apply ──builds, off the I/O threads──► Pipeline, Router ──► Routes ──swap──► each thread's next request
//!     └─► opens and closes listeners: one socket for each I/O thread
//! ```
//! A request keeps the state it began with until it is answered; the last one to do so drops it.

mod access;
mod address;
mod apply;
mod background;
mod compile;
mod conditions;
mod generated;
mod global;
mod metadata;
mod metrics;
mod paths;
mod permits;
mod plane;
mod rewrite;
mod server;
mod service;
pub mod spec;
mod stats;
mod status;
#[cfg(test)]
pub(crate) mod tests;
mod tls;
mod trace;
mod variables;

pub(crate) use permits::Permit;
pub(crate) use server::Server;
pub(crate) use service::Worker;

pub use metrics::Metrics;
pub use plane::{Counters, DataPlane, Options};
