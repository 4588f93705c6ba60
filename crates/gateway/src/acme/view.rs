//! One state of what this member knows: never changed once it is shown, replaced whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use tidegate_base::Lease;
use tidegate_http::tls::Identity;

use super::{
    Settings,
    rows::{PREFIX, Row},
    schedule::Life,
};

/// By name.
#[derive(Clone, Default)]
pub(super) struct View {
    pub(super) settings: Option<Arc<Settings>>,
    pub(super) certs: BTreeMap<String, Arc<Held>>,
    pub(super) challenges: BTreeMap<String, Arc<Held>>,
    /// By name, then by path.
    pub(super) tokens: BTreeMap<String, BTreeMap<String, Arc<Token>>>,
    pub(super) errors: BTreeMap<String, Arc<str>>,
}

pub(super) struct Held {
    pub(super) identity: Identity,
    pub(super) life: Life,
    pub(super) _lease: Lease,
}

pub(super) struct Token {
    pub(super) text: Bytes,
    pub(super) _lease: Lease,
}

impl View {
    pub(super) fn remove(&mut self, key: &str) {
        match Row::of(key) {
            Some(Row::Cert(domain)) => drop(self.certs.remove(domain)),
            Some(Row::Challenge(domain)) => drop(self.challenges.remove(domain)),
            Some(Row::Token { domain, path }) => {
                if let Some(tokens) = self.tokens.get_mut(domain) {
                    tokens.remove(path);
                }
            }
            Some(Row::Account(_)) | None => {}
        }
    }

    /// Keys of all there is, without the prefix.
    pub(super) fn keys(&self) -> BTreeSet<String> {
        let certs = self.certs.keys().map(|domain| Row::Cert(domain));
        let challenges = self.challenges.keys().map(|domain| Row::Challenge(domain));
        let tokens =
            self.tokens.iter().flat_map(|(domain, tokens)| tokens.keys().map(move |path| Row::Token { domain, path }));
        certs.chain(challenges).chain(tokens).map(|row| row.key().split_off(PREFIX.len())).collect()
    }
}
