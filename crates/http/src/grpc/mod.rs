//! gRPC as a service sees it: a [`Call`] comes in, its message arrives under a lease, an answer goes out.
//!
//! ```text
//!   client ─► h2 ─► prefix (5 bytes) ─► admission: one lease for the whole message ─► body pulled ─► Message
//!                        │                  while it waits: at most one stream window is held
//!                        └─ too large, compressed, cut short: a status, and the connection lives
//!   client ◄─ h2 ◄─ reply: one frame, coalesced                                       ◄─ Call::reply
//!                ◄─ stream: room ─► lease ─► produce ─► send, 32 KiB at a time         ◄─ Outgoing
//! ```
//! Why our own and not a framework: the lease must be there *before* the bytes, one event must reach a thousand streams by
//! reference, and a large answer must be produced as the client's window opens.
//!
//! A call is one future, made by [`Service::call`], which runs on its connection's thread. It is **dropped** when the client
//! resets the stream or goes away, and at the call's deadline, which is then answered for it: so whatever it awaits must be
//! cancel safe, and what must not be lost belongs elsewhere. A panic in it is that call's error only.

mod call;
mod incoming;
mod message;
mod metadata;
mod outgoing;
mod service;
mod status;
mod wire;

pub use call::{Call, NextMessage};
pub use incoming::Incoming;
pub use message::{Accept, Message};
pub use outgoing::{Charge, Chunk, Gone, Outgoing};
pub use service::Service;
pub use status::{Code, Status};
pub use wire::{CHUNK_MAX, PREFIX_LEN, framed, prefix};

pub(crate) use metadata::Metadata;

use message::Assembly;
pub(crate) use status::{refusal, trailers};
pub(crate) use wire::{Head, answer_head, check_head};
