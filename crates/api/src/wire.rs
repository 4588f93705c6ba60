//! Messages as bytes: what decoding them costs is known before they are decoded.
//!
//! A message of 2 MiB can hold a million empty operations, each of which becomes a structure of a hundred bytes and
//! more. [`decode_cost`] walks the wire format once, without allocating, and answers how many bytes the decoded message
//! takes beside its own; the caller leases them, then calls [`decode`].

mod scan;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use prost::Message;

use crate::Error;

pub use scan::{TXN_DEPTH_MAX, decode_cost};

/// Decodes a request of any method.
///
/// # Errors
/// [`Error::undecodable`] with the reason.
pub fn decode<M: Message + Default>(message: Bytes) -> Result<M, Error> {
    M::decode(message).map_err(Error::undecodable)
}
