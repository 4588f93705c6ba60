//! TLS 1.2 and 1.3 on both sides, over `rustls` and `aws-lc-rs`.
//!
//! - [`Identity`], [`Roots`]: certificates and keys out of PEM.
//! - [`Server`]: what listeners offer; [`Handle`] holds the one for new handshakes, to be swapped while connections live.
//! - [`Client`]: what connections to servers are made with.
//! - [`accept`]: the server's handshake; [`TlsStream`]: an encrypted connection.
//!
//! ```text
//!   socket ──► scratch of the thread: records ──decrypted──► the reader's buffer
//!                │ a part of a record, at the end of a turn ──► `held` of the connection, leased
//!   writer ──gathered, encrypted──► scratch of the thread ──► socket
//!                │ what the socket does not take ──► `out` of the connection, leased
//! ```
//! Why the unbuffered connections of `rustls`, driven here, and not `tokio-rustls`: buffers belong to the thread and not to
//! the connection, so that an idle one holds its keys and nothing else; a head and a small body leave as one record in one
//! call; and all that a slow peer makes a connection hold is leased.

mod accept;
mod client;
mod drive;
mod pem;
mod scratch;
mod server;
mod stream;
#[cfg(test)]
mod tests;
mod transfer;

use std::{
    io,
    sync::{Arc, LazyLock},
};

use rustls::{
    SupportedCipherSuite,
    crypto::{CryptoProvider, aws_lc_rs, hash::HashAlgorithm},
};

pub use accept::{accept, dismiss};
pub use client::{Client, ClientSettings};
pub use pem::{Identity, PemError, Roots, base64, text};
pub use server::{ACME_TLS, Handle, Lookup, Server, ServerSettings};
pub use stream::{TLS_BYTES, TlsDetails, TlsInfo, TlsStream};

/// Until a handshake is done, on both sides. Source: `net/http` of Go, which Easegress runs on.
pub const HANDSHAKE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// The suites of `rustls` with those of SHA-256 in front, as Go and browsers have them: processors have instructions for it and
/// not for SHA-384, whose key schedule was a tenth of a handshake's time.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let mut provider = aws_lc_rs::default_provider();
    let is_sha256 = |suite: &SupportedCipherSuite| match suite {
        SupportedCipherSuite::Tls12(suite) => suite.common.hash_provider.algorithm() == HashAlgorithm::SHA256,
        SupportedCipherSuite::Tls13(suite) => suite.common.hash_provider.algorithm() == HashAlgorithm::SHA256,
    };
    let is_aes = |suite: &SupportedCipherSuite| format!("{:?}", suite.suite()).contains("AES");
    provider.cipher_suites.sort_by_key(|suite| {
        let old = matches!(suite, SupportedCipherSuite::Tls12(_));
        (old, !(is_sha256(suite) && is_aes(suite)))
    });
    Arc::new(provider)
});

/// Why there is no encrypted connection, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("no memory is free for the connection")]
    NoMemory,
    #[error("the other side closed during the handshake")]
    Closed,
    /// It was told so.
    #[error("the client speaks HTTP without TLS")]
    PlainHttp,
    #[error("the handshake took too long")]
    Timeout,
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> Self {
        let kind = match error {
            TlsError::Io(error) => return error,
            TlsError::Tls(_) | TlsError::PlainHttp => io::ErrorKind::InvalidData,
            TlsError::NoMemory => io::ErrorKind::OutOfMemory,
            TlsError::Closed => io::ErrorKind::UnexpectedEof,
            TlsError::Timeout => io::ErrorKind::TimedOut,
        };
        io::Error::new(kind, error)
    }
}
