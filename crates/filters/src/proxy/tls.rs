//! TLS to servers.

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_base::{Holder, Lease};
use tidegate_http::tls::{Client, ClientSettings, Identity, PemError, Roots, text};
use tidegate_pipeline::{Deps, Problems};

/// What the sessions of one server take that are kept to be resumed: up to eight tickets, each with the server's certificate.
const SESSION_BYTES: u64 = 16 << 10;

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Mtls {
    /// Certificate of the gateway with its chain, PEM in base64, for servers that ask for one.
    cert_base64: String,
    /// Key of `certBase64`, PEM in base64.
    key_base64: String,
    /// Authorities of the servers, PEM in base64. Required unless `insecureSkipVerify`.
    root_cert_base64: String,
    /// Whether any certificate of a server is taken.
    insecure_skip_verify: bool,
}

impl Mtls {
    fn settings(&self, problems: &mut Problems) -> ClientSettings {
        let mut read = |field: &str, given: &str| {
            let found = (!given.is_empty()).then(|| text(given))?;
            found.map_err(|error| problems.add(format!("mtls.{field}"), error.to_string())).ok()
        };
        let cert = read("certBase64", &self.cert_base64);
        let key = read("keyBase64", &self.key_base64);
        let root = read("rootCertBase64", &self.root_cert_base64);
        let both = self.cert_base64.is_empty() == self.key_base64.is_empty();
        problems.require(both, "mtls.keyBase64", "must be given together with certBase64");
        let verified = self.insecure_skip_verify || !self.root_cert_base64.is_empty();
        problems.require(verified, "mtls.rootCertBase64", "is required unless insecureSkipVerify is true");
        let identity = cert.zip(key).and_then(|(cert, key)| {
            let made = Identity::from_pem(&cert, &key);
            made.map_err(|error| {
                let of_key = matches!(error, PemError::Key(_) | PemError::Mismatch);
                problems.add(if of_key { "mtls.keyBase64" } else { "mtls.certBase64" }, error.to_string());
            })
            .ok()
        });
        let roots = root.and_then(|pem| {
            let made = Roots::from_pem(&pem);
            made.map_err(|error| problems.add("mtls.rootCertBase64", error.to_string())).ok()
        });
        ClientSettings { roots: roots.filter(|_| !self.insecure_skip_verify), identity, sessions: 0 }
    }
}

/// What servers of https are asked with, and what pays for their sessions.
pub(super) struct Tls {
    pub(super) client: Client,
    _sessions: Lease,
}

impl Tls {
    /// For so many servers of https; `None` where there are none, or with problems. Without `mtls` nothing is verified.
    pub(super) fn new(mtls: Option<&Mtls>, servers: usize, deps: &Deps, problems: &mut Problems) -> Option<Self> {
        let before = problems.iter().count();
        let settings = mtls.map(|mtls| mtls.settings(problems)).unwrap_or_default();
        if servers == 0 || problems.iter().count() > before {
            return None;
        }
        let Some(lease) = deps.budget.try_lease(Holder::Gateway, SESSION_BYTES * servers as u64) else {
            problems.add("", "no memory is free for the sessions of its servers");
            return None;
        };
        match Client::new(ClientSettings { sessions: servers, ..settings }) {
            Ok(client) => Some(Self { client, _sessions: lease }),
            Err(error) => {
                problems.add("mtls", error.to_string());
                None
            }
        }
    }
}
