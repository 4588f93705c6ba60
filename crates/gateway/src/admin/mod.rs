//! The admin API: Easegress's routes over the objects in the store.
//!
//! [`Admin::handle`] takes a request and returns an answer, both plain values: which socket they came by is not its
//! business. Reads and writes go to the store, so every node takes both and a client reads what it wrote; only status is
//! the asked node's own.
//!
//! ```text
//!   request ──► origin, credential (access) ──► route ──► read and check the body (checked) ──► one Txn ──► audit line
//! ```
//! Chosen otherwise than the reference: there is no CORS for everyone. A browser sends an `Origin`, and a page of
//! another site must not be able to change the gateway of whoever looks at it: such requests are refused, unless the
//! configuration names the origin.

mod access;
mod answer;
mod audit;
mod checked;
mod custom;
mod error;
mod http1;
mod list;
mod members;
mod metrics;
mod objects;
mod request;
mod route;
mod service;
mod status;
mod versions;
mod worker;

pub use access::{Access, AccessError, Credentials};
pub use answer::{AdminResponse, Body, Chunk, Chunks};
pub use http1::AdminHandler;
pub use members::{ClusterOptions, Node, Options};
pub use request::{AdminRequest, BODY_BYTES_MAX};
pub use service::{Admin, Reports};

#[cfg(test)]
mod tests;
