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
pub(crate) mod tests;

use std::{
    io,
    sync::{Arc, LazyLock},
};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use accept::accept;
pub use client::{Client, ClientSettings};
pub use pem::{Identity, PemError, Roots, base64, text};
pub use server::{Handle, Server, ServerSettings};
pub use stream::{TLS_BYTES, TlsInfo, TlsStream};

/// Until a handshake is done, on both sides. Source: `net/http` of Go, which Easegress runs on.
pub const HANDSHAKE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

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
