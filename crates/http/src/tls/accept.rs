//! The server's handshake.

use std::{future::poll_fn, time::Duration};

use tidegate_base::{Budget, Holder, clock};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout_at,
};

use super::{HANDSHAKE_TIMEOUT, Server, TlsError, TlsStream};

/// What a client gets that speaks HTTP without TLS. Tools look for the text, to try again with TLS. Source: Go, `net/http`.
const PLAIN: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
/// Until a client that was refused has read why, and closed.
const LINGER: Duration = Duration::from_secs(2);
/// What is read and dropped meanwhile.
const LINGER_BYTES: usize = 64 << 10;

/// Makes an encrypted connection of `stream`, within [`HANDSHAKE_TIMEOUT`]. It holds [`TLS_BYTES`](super::TLS_BYTES) and what
/// its buffers take, and while it lasts the handshake 8 KiB more. Cancel safe: the connection then closes.
///
/// # Errors
/// [`TlsError`]: the client was told why where that could be.
pub async fn accept(
    stream: TcpStream,
    server: &Server,
    budget: &Budget,
    holder: Holder,
) -> Result<Box<TlsStream>, TlsError> {
    let mut tls = TlsStream::server(stream, server, budget, holder)?;
    let until = clock::now() + HANDSHAKE_TIMEOUT;
    let done = timeout_at(until.into(), poll_fn(|cx| tls.poll_handshake(cx))).await.unwrap_or(Err(TlsError::Timeout));
    match done {
        Ok(()) => Ok(tls),
        Err(error) => {
            // Paid for until it is closed.
            let (mut stream, _lease) = tls.into_socket();
            let told = match error {
                TlsError::PlainHttp => PLAIN,
                TlsError::Tls(_) => b"", // its alert is on its way
                _ => return Err(error),
            };
            // To close a socket with unread bytes resets it, and the client may then lose what it was told.
            let linger = async {
                stream.write_all(told).await?;
                stream.shutdown().await?;
                let (mut dropped, mut piece) = (0, [0; 1024]);
                while dropped < LINGER_BYTES {
                    match stream.read(&mut piece).await? {
                        0 => break,
                        read => dropped += read,
                    }
                }
                std::io::Result::Ok(())
            };
            // A client that is gone needs no answer, and one that stays has had its time.
            if let Ok(Err(told)) = timeout_at((clock::now() + LINGER).into(), linger).await {
                tracing::debug!(error = %told, "a client was gone before it was refused");
            }
            Err(error)
        }
    }
}

/// Closes a connection whose handshake was all that its client wanted, at the latest after 2 s.
pub async fn dismiss(mut stream: Box<TlsStream>) {
    let closing = timeout_at((clock::now() + LINGER).into(), stream.shutdown());
    if let Ok(Err(error)) = closing.await {
        tracing::debug!(%error, "a client was gone before it was told so");
    }
}
