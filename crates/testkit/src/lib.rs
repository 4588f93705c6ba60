//! Stand-ins for tests. Nothing here runs in a server.

pub mod corpus;
mod store;
mod watch;

pub use store::MapStore;
