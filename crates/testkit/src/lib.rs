//! Stand-ins for tests. Nothing here runs in a server.

pub mod corpus;
#[cfg(feature = "pki")]
pub mod pki;
mod store;
mod watch;

pub use store::MapStore;
