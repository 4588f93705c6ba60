//! TLS of an HTTPServer: from the keys of its spec to what its listener offers.

use std::collections::BTreeMap;

use tidegate_http::tls::{Identity, PemError, Roots, Server, ServerSettings, text};
use tidegate_pipeline::{Problems, Report};

use super::spec::HttpServerSpec;
use crate::acme::Lookups;

/// What a certificate with its key takes beside its text.
const IDENTITY_BYTES: u64 = 8 << 10;

/// Protocols that connections are offered, the preferred first.
fn alpn() -> Vec<Vec<u8>> {
    vec![b"h2".to_vec(), b"http/1.1".to_vec()]
}

/// What a listener offers, and what it was made of.
pub(super) struct Offer {
    settings: ServerSettings,
    pub(super) server: Server,
}

impl Offer {
    /// `None` where there is no https, or with problems.
    pub(super) fn new(spec: &HttpServerSpec, lookups: &Lookups, report: &mut Report) -> Option<Self> {
        if !spec.https {
            for (field, given) in [
                ("certBase64", named(&spec.cert_base64).is_some()),
                ("certs", !spec.certs.is_empty()),
                ("caCertBase64", named(&spec.ca_cert_base64).is_some()),
                ("autoCert", spec.auto_cert),
            ] {
                if given {
                    report.warn(field, "has no effect without https");
                }
            }
            return None;
        }
        let before = report.problems.iter().count();
        let identities = identities(spec, report);
        let problems = &mut report.problems;
        let client_roots = named(&spec.ca_cert_base64).and_then(|given| roots(given, "caCertBase64", problems));
        let good = problems.iter().count() == before;
        let some = !identities.is_empty() || spec.auto_cert;
        problems.require(!good || some, "https", "needs certBase64 and keyBase64, certs and keys, or autoCert");
        if problems.iter().count() > before {
            return None;
        }
        let found = spec.auto_cert.then(|| lookups.found.clone());
        let challenges = Some(lookups.challenges.clone());
        let settings = ServerSettings { identities, found, challenges, client_roots, alpn: alpn() };
        match Server::new(settings.clone()) {
            Ok(server) => Some(Self { settings, server }),
            Err(error) => {
                problems.add("https", error.to_string());
                None
            }
        }
    }

    /// Keeps the tickets of clients good where nothing about TLS has changed.
    pub(super) fn adopt(&mut self, before: &Self) {
        if self.settings == before.settings {
            self.server = before.server.clone();
        }
    }

    /// What it takes, beside what the spec's own size says.
    pub(super) const fn bytes(&self) -> u64 {
        self.settings.identities.len() as u64 * IDENTITY_BYTES
    }
}

fn named(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

fn identities(spec: &HttpServerSpec, report: &mut Report) -> Vec<Identity> {
    let mut found = Vec::new();
    let problems = &mut report.problems;
    match (named(&spec.cert_base64), named(&spec.key_base64)) {
        (Some(cert), Some(key)) => found.extend(identity((cert, "certBase64"), (key, "keyBase64"), problems)),
        (Some(_), None) => problems.add("keyBase64", "is required with certBase64"),
        (None, Some(_)) => problems.add("certBase64", "is required with keyBase64"),
        (None, None) => {}
    }
    for (name, cert) in &spec.certs {
        let (at_cert, at_key) = (format!("certs.{name}"), format!("keys.{name}"));
        match spec.keys.get(name) {
            Some(key) => found.extend(identity((cert, &at_cert), (key, &at_key), problems)),
            None => problems.add(at_cert, "has no key of its name in keys"),
        }
    }
    unused(&spec.keys, &spec.certs, report);
    found
}

fn unused(keys: &BTreeMap<String, String>, certs: &BTreeMap<String, String>, report: &mut Report) {
    for name in keys.keys().filter(|name| !certs.contains_key(*name)) {
        report.warn(&format!("keys.{name}"), "has no certificate of its name in certs");
    }
}

/// Reads a pair, each with its field.
fn identity(cert: (&str, &str), key: (&str, &str), problems: &mut Problems) -> Option<Identity> {
    let mut read = |(given, field): (&str, &str)| text(given).map_err(|error| problems.add(field, error.to_string()));
    let (pem, key_pem) = (read(cert), read(key));
    let made = Identity::from_pem(&pem.ok()?, &key_pem.ok()?);
    made.map_err(|error| {
        let field = if matches!(error, PemError::Key(_) | PemError::Mismatch) { key.1 } else { cert.1 };
        problems.add(field, error.to_string());
    })
    .ok()
}

fn roots(given: &str, field: &str, problems: &mut Problems) -> Option<Roots> {
    let read = text(given).and_then(|pem| Roots::from_pem(&pem));
    read.map_err(|error| problems.add(field, error.to_string())).ok()
}
