//! Certificates and keys out of texts.

use std::fmt;
use std::sync::Arc;

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    sign::{CertifiedKey, SigningKey},
};

use super::PROVIDER;

/// Where a system keeps the authorities it trusts, the first that exists. Source: Go, `crypto/x509/root_linux.go`.
const SYSTEM_ROOTS: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    #[error("is neither PEM nor PEM in base64")]
    NoText,
    #[error("has no certificate that can be read: {0}")]
    Certificate(String),
    #[error("has no private key that can be read: {0}")]
    Key(String),
    #[error("does not belong to its certificate")]
    Mismatch,
    #[error("no certificates of authorities were found on this system")]
    NoSystemRoots,
}

/// A certificate with its chain, and its key.
#[derive(Clone)]
pub struct Identity(pub(super) Arc<CertifiedKey>);

/// Authorities that are believed.
#[derive(Clone)]
pub struct Roots(pub(super) Arc<RootCertStore>);

impl Identity {
    /// Reads a certificate, with what stands behind it in its chain, and its key: RSA, ECDSA or Ed25519.
    ///
    /// # Errors
    /// [`PemError`]: of `cert`, or [`PemError::Key`] and [`PemError::Mismatch`] of `key`.
    pub fn from_pem(cert: &[u8], key: &[u8]) -> Result<Self, PemError> {
        let chain = certificates(cert)?;
        let leaf = chain.first().ok_or_else(|| PemError::Certificate("there is none".to_owned()))?;
        webpki::EndEntityCert::try_from(leaf).map_err(|error| PemError::Certificate(error.to_string()))?;
        let identity = CertifiedKey::new(chain, private_key(key)?);
        identity.keys_match().map_err(|_| PemError::Mismatch)?;
        Ok(Self(Arc::new(identity)))
    }

    /// As [`Identity::from_pem`], for a certificate with critical extensions that nobody here knows, such as those of ACME's
    /// challenges: whether it is one and belongs to its key is not checked.
    ///
    /// # Errors
    /// As there, but [`PemError::Mismatch`].
    pub fn unchecked(cert: &[u8], key: &[u8]) -> Result<Self, PemError> {
        let chain = certificates(cert)?;
        if chain.is_empty() {
            return Err(PemError::Certificate("there is none".to_owned()));
        }
        Ok(Self(Arc::new(CertifiedKey::new(chain, private_key(key)?))))
    }

    /// The certificate itself in DER, without its chain.
    pub fn leaf(&self) -> &[u8] {
        self.chain().first().map_or(&[], |leaf| leaf)
    }

    /// Whether clients that ask for this host take the certificate, as far as its names go.
    pub fn is_for(&self, host: &str) -> bool {
        let leaf = self.chain().first().and_then(|leaf| webpki::EndEntityCert::try_from(leaf).ok());
        let name = ServerName::try_from(host).ok();
        leaf.zip(name).is_some_and(|(leaf, name)| leaf.verify_is_valid_for_subject_name(&name).is_ok())
    }

    /// The certificate and its chain.
    pub(super) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.0.cert
    }
}

impl Roots {
    /// # Errors
    /// [`PemError::Certificate`] of any of them.
    pub fn from_pem(pem: &[u8]) -> Result<Self, PemError> {
        let mut store = RootCertStore::empty();
        let found = certificates(pem)?;
        if found.is_empty() {
            return Err(PemError::Certificate("there is none".to_owned()));
        }
        for certificate in found {
            store.add(certificate).map_err(|error| PemError::Certificate(error.to_string()))?;
        }
        Ok(Self(Arc::new(store)))
    }

    /// Those that this system trusts; certificates in them that cannot be read are passed over. Reads a file: not for an I/O
    /// thread.
    ///
    /// # Errors
    /// [`PemError::NoSystemRoots`].
    pub fn of_system() -> Result<Self, PemError> {
        let named = std::env::var_os("SSL_CERT_FILE").map(Into::into);
        let places = named.into_iter().chain(SYSTEM_ROOTS.map(std::path::PathBuf::from));
        let pem = places.filter_map(|place| std::fs::read(place).ok()).next().ok_or(PemError::NoSystemRoots)?;
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
        if store.is_empty() { Err(PemError::NoSystemRoots) } else { Ok(Self(Arc::new(store))) }
    }
}

impl PartialEq for Identity {
    /// The key belongs to its certificate: one certificate, one key.
    fn eq(&self, other: &Self) -> bool {
        self.chain() == other.chain()
    }
}

impl PartialEq for Roots {
    fn eq(&self, other: &Self) -> bool {
        self.0.roots == other.0.roots
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("chain", &self.chain().len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roots").field("authorities", &self.0.len()).finish()
    }
}

fn private_key(pem: &[u8]) -> Result<Arc<dyn SigningKey>, PemError> {
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| PemError::Key(error.to_string()))?;
    PROVIDER.key_provider.load_private_key(key).map_err(|error| PemError::Key(error.to_string()))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    read.map_err(|error| PemError::Certificate(error.to_string()))
}

/// PEM as a spec has it: as it is, or in base64.
///
/// # Errors
/// [`PemError::NoText`].
pub fn text(given: &str) -> Result<Vec<u8>, PemError> {
    if given.contains("-----BEGIN ") {
        return Ok(given.as_bytes().to_vec());
    }
    // Encoders break lines; Go's decoder passes over the breaks.
    let joined: String = given.chars().filter(|char| !char.is_ascii_whitespace()).collect();
    base64(&joined).filter(|pem| !pem.is_empty()).ok_or(PemError::NoText)
}

/// Standard alphabet, with padding. As Go's decoder does, it passes over what the last digit has beyond the last byte.
pub fn base64(text: &str) -> Option<Vec<u8>> {
    const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(&STANDARD, CONFIG).decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_or_refused() {
        for (text, expected) in [
            ("dXNlcjpwYXNz", Some("user:pass")),
            ("YTo=", Some("a:")),
            ("YQ==", Some("a")),
            ("", Some("")),
            ("YQ=", None),
            ("Y===", None),
            ("Y Q=", None),
            ("YR==", Some("a")),
            ("YQ", None),
            ("YQ==YQ==", None),
            ("YQ==\n", None),
        ] {
            assert_eq!(base64(text).as_deref(), expected.map(str::as_bytes), "{text}");
        }
    }
}
