//! Certificates that come by themselves: ACME (RFC 8555), for the names of the one AutoCertManager.
//!
//! ```text
//!   AutoCertManager ──► Manager (thread `auto-cert`) ── the leader's orders what is missing or soon expires ──► authority
//!                          │ certificates, tokens                                                                   │ asks back
//!                          ▼                                                                                        ▼
//!   store: autocert/... ──watch──► Book of each member ──► handshakes (SNI, acme-tls/1), /.well-known/acme-challenge/
//! ```
//! Whatever is shown comes out of the store, on the member that wrote it, too: so all members show the same, and a token is told
//! to the authority only once the watch has brought it back.
//!
//! - [`spec`], [`rows`], [`schedule`]: what users write, how it is kept, what is due. Pure.
//! - [`book`], [`view`]: what this member knows. [`order`], [`account`], [`challenge`], [`call`]: one certificate, from the account to its chain.
//! - [`manager`]: the thread that waits.

mod account;
mod book;
mod call;
mod challenge;
mod manager;
mod order;
mod rows;
mod schedule;
mod spec;
mod store;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;

pub(crate) use book::{Book, Lookups};
pub(crate) use manager::Manager;
pub(crate) use spec::{AUTO_CERT_MANAGER, Settings, stored};

use crate::StoreData;

/// Where the path of a challenge of HTTP-01 begins. Source: RFC 8555, 8.3.
pub(crate) const CHALLENGE_PATH: &str = "/.well-known/acme-challenge/";

/// What an AutoCertManager needs of its node.
#[derive(Clone)]
pub struct AutoCert {
    data: Arc<StoreData>,
    leads: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl AutoCert {
    /// Certificates are kept in the store behind `data`. `leads` says whether this node is the one that orders them; it is asked
    /// at least once a minute and must not wait.
    pub fn new(data: Arc<StoreData>, leads: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { data, leads: Arc::new(leads) }
    }
}
