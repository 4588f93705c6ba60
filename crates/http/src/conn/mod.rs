//! Listeners, and connections until their protocol is known.
//!
//! ```text
//!   socket ─► acceptor (one task) ── the I/O thread with the least load ──► worker of this listener there
//!               │ a lease for the connection, or it is closed at once         │ first bytes
//!                                                                  HTTP/2 ◄───┴───► HTTP/1
//! ```
//! Why one acceptor and not a socket for each thread (SO_REUSEPORT): the kernel deals by a hash, and a few connections with
//! a thousand streams each would meet on one thread; besides, a second process could take the port unnoticed.

mod accept;
mod address;
mod capacity;
mod drain;
mod local;
mod net;
mod overdraft;
mod presence;
mod sniff;
mod stats;
mod stream;
mod times;
mod worker;

pub use address::{Address, Listener};
pub use capacity::{CONNECTION_BYTES, Capacity, STREAM_BYTES};
pub use drain::Drain;
pub use net::{Net, Served};
pub use presence::{Presence, Present};
pub use sniff::Http1;
pub use stats::Stats;
pub use stream::{Peer, Stream};
pub use times::{Times, keep_alive};

pub(crate) use local::Local;
pub(crate) use overdraft::Overdrawing;
