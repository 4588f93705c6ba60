//! Running servers for tests and benches: ours and the reference, started, watched, measured and killed from outside.
//!
//! Ours is the binary that `TIDEGATE_BIN` names, else `tidegate` in the target directory. The reference, etcd and etcdctl
//! of one version, lies in `TIDEGATE_PEERS`, else where `cargo xtask peers` puts it.

pub mod diff;
mod log;
mod measure;
mod places;
pub mod raw;
mod server;
mod setting;
mod wait;

pub use log::Log;
pub use measure::{CpuTime, Memory, Peaks, Sampler, cpu_seconds, proportional_memory};
pub use places::{Peer, binary, peer, peers_dir, scratch};
pub use server::{Kind, Options, Server, free_ports};
pub use setting::{long, setting};
pub use wait::{pause, until};
