//! HTTP/1.1: one task for a connection, and for what its requests ask of upstreams.
//!
//! [`serve`] runs a connection over a [`Service`], which gets each request as an [`Exchange`]. Handlers that answer small
//! questions implement [`Handler`] instead and are made a service by [`Simple`].
//!
//! ```text
//!   idle: a socket, no buffers ──readable──► active: buffers under one lease ──1 s without a byte──► idle
//! ```

mod buffer;
mod downstream;
mod encode;
mod exchange;
mod framing;
mod head;
mod over_conn;
mod parse;
mod relay;
mod respond;
mod serve;
mod shared;
mod simple;
mod socket;
mod splice;
#[cfg(test)]
pub(crate) mod tests;
mod timer;
mod tunnel;

pub(crate) use buffer::{BUFFER_KEPT, BUFFER_MOST, Buffer};
pub(crate) use downstream::{Downstream, Streamed};
pub(crate) use encode::{hop_by_hop, put_date};
pub(crate) use exchange::{Held, Inner};
pub(crate) use framing::Decoder;
pub(crate) use head::{Scanned, Scanner};
pub(crate) use parse::{ResponseHead, response as parse_response};
pub(crate) use relay::{Framing, Relay, put_decimal};
pub(crate) use respond::UPSTREAM_PAUSE_MAX;
pub(crate) use timer::Timer;
pub(crate) use tunnel::{is_websocket, wants_websocket};
#[cfg(any(test, fuzzing))]
pub(crate) use {
    encode::{Announce, response as encode_response},
    parse::request as parse_request,
};

pub use exchange::Exchange;
pub use head::{HeadError, HeadLimits};
pub use over_conn::Http1Service;
pub use respond::Lost;
pub(crate) use serve::handle;
pub use serve::{Service, serve};
pub use shared::{Config, Drain, Shared, Stats};
pub use simple::{Handler, Request, Simple};
pub use socket::Socket;
