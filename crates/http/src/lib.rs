//! The one HTTP stack: every listener of the store and of the gateway is served by what is in here.
//!
//! - [`io`]: the I/O threads, one single-threaded runtime each.
//! - [`conn`]: listeners, the dealing of connections to threads, HTTP/1 or HTTP/2 by the first bytes, draining, counters.
//! - [`grpc`]: calls over HTTP/2, each message under a lease that is taken before its bytes are pulled.
//! - [`h1`], [`message`], [`upstream`]: HTTP/1.1 on both sides of one task, and the messages between them.
//! - [`multiplex`]: the same service over HTTP/2.
//! - [`tls`]: both sides of TLS, and the certificates.
//! - [`admission`]: who may take bytes next when a holder of the budget is full.

pub mod admission;
pub mod conn;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod grpc;
pub mod h1;
mod http2;
pub mod io;
pub mod message;
pub mod multiplex;
pub mod tls;
pub mod upstream;
