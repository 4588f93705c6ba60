//! Stand-ins for tests. Nothing here runs in a server.

mod store;
mod watch;

pub use store::MapStore;
