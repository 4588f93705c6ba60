//! The store over a connection: the traits of `api`, and the other client services, as calls of gRPC over HTTP/2.
//!
//! Thin on `h2`: a call costs one task switch and no copy of an answer that came in one frame. Connections are made when
//! a call needs one and made anew when they broke; a call that only reads is repeated on another connection, a write
//! never, because nobody knows whether it happened. Every answer has a limit in bytes, and windows bound what a server
//! can send ahead of the reader.

mod address;
mod call;
mod client;
mod config;
mod connection;
mod frame;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod lease;
mod status;
#[cfg(test)]
mod tests;
mod watch;

pub use call::Stream;
pub use client::Client;
pub use config::{Config, ConfigError};
pub use lease::KeepAlive;
pub use watch::Watcher;
