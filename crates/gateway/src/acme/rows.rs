//! How certificates and tokens are kept in the store: under the keys and in the form of Easegress 2.11.
//!
//! ```text
//!   autocert/cert/DOMAIN         key and chain in PEM, the key first
//!   autocert/http/DOMAIN/PATH    key authorization of HTTP-01; PATH has its slash
//!   autocert/tlsalpn/DOMAIN      as cert: the certificate of TLS-ALPN-01
//!   autocert/account/DIRECTORY   ours: the account with the authority of this directory, as JSON
//! ```

use std::time::Duration;

use super::schedule::Life;
use tidegate_http::tls::{Identity, PemError};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer, time::ASN1Time};

pub(super) const PREFIX: &str = "autocert/";
/// Longest text of a key with its chain. The longest chains in use have some 10 KiB.
pub(super) const CERT_BYTES_MAX: usize = 64 << 10;
/// Longest key authorization: a token and 43 characters. Source: RFC 8555, 8.1; authorities have tokens of 43.
pub(super) const TOKEN_BYTES_MAX: usize = 1 << 10;
/// Longest path of a token.
pub(super) const PATH_BYTES_MAX: usize = 1 << 10;

/// What a key of the store stands for, without [`PREFIX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Row<'a> {
    Cert(&'a str),
    Token { domain: &'a str, path: &'a str },
    Challenge(&'a str),
    Account(&'a str),
}

impl<'a> Row<'a> {
    pub(super) fn of(key: &'a str) -> Option<Self> {
        let (what, rest) = key.split_once('/')?;
        match what {
            "cert" => Some(Self::Cert(rest)),
            "http" => rest.split_once('/').map(|(domain, path)| Self::Token { domain, path }),
            "tlsalpn" => Some(Self::Challenge(rest)),
            "account" => Some(Self::Account(rest)),
            _ => None,
        }
    }

    /// The whole key.
    pub(super) fn key(self) -> String {
        match self {
            Self::Cert(domain) => format!("{PREFIX}cert/{domain}"),
            Self::Token { domain, path } => format!("{PREFIX}http/{domain}/{path}"),
            Self::Challenge(domain) => format!("{PREFIX}tlsalpn/{domain}"),
            Self::Account(directory) => format!("{PREFIX}account/{directory}"),
        }
    }
}

/// Why a row is no certificate for its name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RowError {
    #[error("it has {0} bytes, more than {CERT_BYTES_MAX}")]
    TooLong(usize),
    #[error("its certificate or key {0}")]
    Pem(#[from] PemError),
    #[error("its certificate cannot be read")]
    Unread,
    #[error("it is for other names")]
    OtherName,
}

/// A certificate as it is kept.
pub(super) struct Certificate {
    pub(super) identity: Identity,
    pub(super) life: Life,
}

impl Certificate {
    /// Reads what stands in the row of `domain`. A certificate that has expired is one, too.
    pub(super) fn read(domain: &str, text: &[u8]) -> Result<Self, RowError> {
        let identity = Identity::from_pem(bounded(text)?, text)?;
        if !identity.is_for(domain) {
            return Err(RowError::OtherName);
        }
        let life = life(&parsed(&identity)?).ok_or(RowError::Unread)?;
        Ok(Self { identity, life })
    }
}

/// Reads the certificate of a challenge.
pub(super) fn challenge(domain: &str, text: &[u8]) -> Result<Certificate, RowError> {
    let identity = Identity::unchecked(bounded(text)?, text)?;
    let certificate = parsed(&identity)?;
    let names = certificate.subject_alternative_name().map_err(|_| RowError::Unread)?;
    let is_own =
        |name: &GeneralName<'_>| matches!(name, GeneralName::DNSName(name) if name.eq_ignore_ascii_case(domain));
    if !names.is_some_and(|names| names.value.general_names.iter().any(is_own)) {
        return Err(RowError::OtherName);
    }
    let life = life(&certificate).ok_or(RowError::Unread)?;
    Ok(Certificate { identity, life })
}

fn bounded(text: &[u8]) -> Result<&[u8], RowError> {
    if text.len() > CERT_BYTES_MAX { Err(RowError::TooLong(text.len())) } else { Ok(text) }
}

fn parsed(identity: &Identity) -> Result<X509Certificate<'_>, RowError> {
    X509Certificate::from_der(identity.leaf()).map(|(_, certificate)| certificate).map_err(|_| RowError::Unread)
}

/// The text of a row.
pub(super) fn text(key: &str, chain: &str) -> String {
    let end = if key.ends_with('\n') { "" } else { "\n" };
    format!("{key}{end}{chain}")
}

fn life(certificate: &X509Certificate<'_>) -> Option<Life> {
    let validity = certificate.validity();
    let since = |time: ASN1Time| u64::try_from(time.timestamp()).ok().map(Duration::from_secs);
    Some(Life { from: since(validity.not_before)?, until: since(validity.not_after)? })
}

#[cfg(test)]
mod tests {
    use tidegate_testkit::pki::Authority;

    use super::*;

    #[test]
    fn keys_are_read_as_they_are_made() {
        let check = |key: &str, row: Option<Row<'_>>| {
            assert_eq!(Row::of(key.strip_prefix(PREFIX).unwrap_or(key)), row, "{key}");
            if let Some(row) = row {
                assert_eq!(row.key(), key);
            }
        };
        check("autocert/cert/a.b", Some(Row::Cert("a.b")));
        let path = "/.well-known/acme-challenge/x";
        check(&format!("autocert/http/a.b/{path}"), Some(Row::Token { domain: "a.b", path }));
        check("autocert/tlsalpn/a.b", Some(Row::Challenge("a.b")));
        check("autocert/account/https://a/dir", Some(Row::Account("https://a/dir")));
        for other in ["cert", "http/a.b", "else/a", ""] {
            check(other, None);
        }
    }

    #[test]
    fn a_certificate_is_what_was_written() {
        let pair = Authority::new().pair(&["a.test"]);
        let text = text(pair.key.trim_end(), &pair.cert);
        assert!(text.starts_with("-----BEGIN PRIVATE KEY-----\n"), "the key is first: the reference reads it so");
        let read = Certificate::read("a.test", text.as_bytes()).unwrap();
        assert_eq!(Some(read.identity), Identity::from_pem(pair.cert.as_bytes(), pair.key.as_bytes()).ok());
        assert!(read.life.from < read.life.until);
    }

    #[test]
    fn what_is_no_certificate_of_its_name_says_so() {
        let authority = Authority::new();
        let (one, two) = (authority.pair(&["a.test"]), authority.pair(&["b.test"]));
        let check = |text: &str, expected: &str| {
            let error = Certificate::read("a.test", text.as_bytes()).map(drop).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(challenge("a.test", text.as_bytes()).is_err() || expected.contains("belong"), "{expected}");
        };
        check("", "no certificate");
        check("\0\u{ff}nothing", "no certificate");
        check(&one.key, "no certificate");
        check(&one.cert, "no private key");
        check(&text(&two.key, &one.cert), "does not belong");
        check(&text(&two.key, &two.cert), "other names");
        check(&"x".repeat(CERT_BYTES_MAX + 1), "more than");
        let good = text(&one.key, &one.cert);
        // Cut anywhere, or with a letter changed: refused or read, never a panic.
        for at in (0..good.len()).step_by(7) {
            drop(Certificate::read("a.test", &good.as_bytes()[..at]));
            let mut changed = good.clone().into_bytes();
            changed[at] = changed[at].wrapping_add(1);
            drop((Certificate::read("a.test", &changed), challenge("a.test", &changed)));
        }
    }
}
