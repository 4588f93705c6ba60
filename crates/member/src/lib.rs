//! One member of the store: its decisions, its threads, its services.
//!
//! [`Member::start`] opens the disk and starts the threads; [`Handle`] is what listeners, the gateway and the program reach it
//! by. The decisions are pure ([`core`]); everything else carries them out. [`Stepped`] is the same member without threads, for
//! simulations.

mod answer;
mod config;
pub mod core;
mod data_dir;
mod embed;
mod endpoints;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod ids;
mod local;
mod mailbox;
mod member;
mod memory;
mod metrics;
mod parts;
mod peers;
mod rpc;
mod shared;
mod sketch;
mod sorts;
mod stepped;
mod threads;
mod ticket;
mod version;
mod watches;

pub use config::Config;
pub use data_dir::{DataDir, DataDirError, Identity};
pub use endpoints::Endpoints;
pub use ids::{bootstrap_member_id, cluster_id};
pub use member::{Handle, Member, StartError};
pub use memory::{AllocatorStats, MemoryReport, ProcessMemory};
pub use parts::Boot;
pub use peers::{PeerMessage, pieces};
pub use sketch::CostlyKey;
pub use stepped::{Received, Receiving, Stepped};
pub use threads::{Failed, Fatal, Lane, Work};
pub use ticket::Reply;
pub use version::VERSION;
