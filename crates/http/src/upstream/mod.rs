//! Calls to upstreams, on the task of the request that asks for them.
//!
//! Connections are kept by the thread that made them ([`Pools`]): taking one costs no lock and wakes nobody. Whether a kept
//! one is still alive is asked of the reactor's memory, not of the system: an upstream that closed has made the socket
//! readable, and so has one that sent what nobody asked for.

mod aside;
mod call;
mod client;
mod endpoint;
mod follow;
mod pool;
mod received;
mod send;
mod shared;
#[cfg(test)]
pub(crate) mod tests;
mod upload;

pub use aside::{ASIDE_BYTES, ask};
pub use call::Call;
pub use client::{Answer, Client, ClientError};
pub use endpoint::{Addresses, Endpoint, EndpointError, Protocol};
pub use pool::{PoolLimits, Pools};
pub(crate) use received::Received;
pub use send::{Outgoing, SendError, send};
pub use shared::Stream;
