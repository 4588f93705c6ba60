//! Messages of the client services, generated from `proto/`. Byte fields are [`bytes::Bytes`]: slices of the buffer that
//! was decoded, which they keep alive. What outlives a request copies.

#[allow(clippy::all, reason = "generated")]
pub mod mvccpb {
    include!(concat!(env!("OUT_DIR"), "/mvccpb.rs"));
}

#[allow(clippy::all, reason = "generated")]
pub mod authpb {
    include!(concat!(env!("OUT_DIR"), "/authpb.rs"));
}

#[allow(clippy::all, reason = "generated")]
pub mod etcdserverpb {
    include!(concat!(env!("OUT_DIR"), "/etcdserverpb.rs"));
}

#[allow(clippy::all, reason = "generated")]
pub mod v3lockpb {
    include!(concat!(env!("OUT_DIR"), "/v3lockpb.rs"));
}

#[allow(clippy::all, reason = "generated")]
pub mod v3electionpb {
    include!(concat!(env!("OUT_DIR"), "/v3electionpb.rs"));
}

#[allow(clippy::all, reason = "generated")]
pub mod health {
    include!(concat!(env!("OUT_DIR"), "/grpc.health.v1.rs"));
}

pub use etcdserverpb::*;
pub use mvccpb::{Event, KeyValue, event};
