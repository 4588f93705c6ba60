//! A certificate for `localhost` and its address, which some clients ask for by no name, and who vouches for it.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, pem::PemObject},
};
use tidegate_testkit::pki::{Authority, Pair};

/// ECDSA with P-256, in files below `dir`: `cert.pem`, `key.pem`, and `both.pem` for those who want one file.
pub(super) struct Certificate {
    authority: Authority,
    pub(super) pair: Pair,
}

impl Certificate {
    pub(super) fn new() -> Self {
        let authority = Authority::new();
        let pair = authority.pair(&["localhost", "127.0.0.1"]);
        Self { authority, pair }
    }

    /// Another certificate of the same authority for the same host.
    pub(super) fn another(&self) -> Pair {
        self.authority.pair(&["localhost", "127.0.0.1"])
    }

    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        let both = format!("{}{}", self.pair.cert, self.pair.key);
        for (name, text) in [("cert.pem", &self.pair.cert), ("key.pem", &self.pair.key), ("both.pem", &both)] {
            std::fs::write(dir.join(name), text).with_context(|| format!("write {name}"))?;
        }
        Ok(())
    }

    /// Of a client that checks the certificate and speaks `protocol`. X25519 only: the peers know no exchange that resists quantum computers,
    /// and ours would be charged for it.
    pub(super) fn client(&self, protocol: &[u8], resumption: Resumption) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.cert.as_bytes()).context("read the authority")?)?;
        let provider = CryptoProvider { kx_groups: vec![aws_lc_rs::kx_group::X25519], ..aws_lc_rs::default_provider() };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        config.resumption = resumption;
        Ok(Arc::new(config))
    }
}
