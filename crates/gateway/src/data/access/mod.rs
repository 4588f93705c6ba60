//! The access log: a line for each request that was answered.
//!
//! ```text
//!   I/O threads ──line──► a buffer with a limit ──swap──► writer thread ──► the sink
//!                          full: dropped and counted
//! ```
//! A request never waits for the disk: it appends to a buffer under a lock that is held for a copy only.

mod format;
mod writer;

use std::{net::IpAddr, sync::Arc, time::Duration};

use tidegate_base::{Budget, Holder, Lease, clock};
use tidegate_http::{h1::Exchange, message::Response};

pub(crate) use format::Format;
pub(crate) use writer::{BYTES, Writer};

use super::{address::real_ip, variables::uri};
use format::Values;

/// Longest address of a request that is logged whole. Source: the reference.
const URI_MAX: usize = 512;

/// Where the lines of a server go, and what they say.
pub(crate) struct Access {
    pub(crate) format: Arc<Format>,
    pub(crate) writer: Arc<Writer>,
}

/// The line of a request that is being served.
pub(crate) struct Entry<'a> {
    access: &'a Access,
    values: Values,
    /// Pays for the lists of headers.
    lease: Option<Lease>,
}

impl Access {
    /// To be called before anything changes the request. Lists of headers are left out where no memory is free for them.
    pub(crate) fn begin(&self, exchange: &Exchange, budget: &Budget) -> Box<Entry<'_>> {
        let lists = self.format.request_headers || self.format.response_headers;
        let lease = if lists { budget.try_lease(Holder::Gateway, format::LISTS_BYTES) } else { None };
        let head = exchange.head();
        let peer = exchange.peer();
        let mut address = uri(head);
        if address.len() > URI_MAX {
            address.truncate(URI_MAX);
            address.extend_from_slice(b"...");
        }
        let ip: Option<IpAddr> = peer.map(|peer| peer.ip().to_canonical());
        let values = Values {
            wall: clock::wall(),
            peer,
            client: real_ip(&head.headers, ip),
            method: head.method_text().to_vec(),
            uri: address,
            version: Some(head.version),
            request_headers: if self.format.request_headers && lease.is_some() {
                format::headers(&head.headers)
            } else {
                Vec::new()
            },
            ..Values::default()
        };
        Box::new(Entry { access: self, values, lease })
    }
}

impl Entry<'_> {
    /// Whether the line tells which filters ran.
    pub(crate) fn wants_tags(&self) -> bool {
        self.access.format.tags
    }

    pub(crate) fn set_tags(&mut self, tags: String) {
        self.values.tags = tags;
    }

    pub(crate) fn answered(&mut self, response: &Response) {
        self.values.status = response.status;
        if self.access.format.response_headers && self.lease.is_some() {
            self.values.response_headers = format::headers(&response.headers);
        }
    }

    /// Logs the request, whose answer is sent as far as it will be.
    pub(crate) fn finish(mut self, exchange: &Exchange, took: Duration) {
        self.values.duration = took;
        self.values.received = exchange.received_bytes();
        self.values.sent = exchange.sent_bytes();
        self.access.writer.write(&self.access.format.line(&self.values));
    }
}
