//! Calls below a client: HTTP/2 by hand, for what no client does.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::{
    RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
};
use tidegate_api::Message;
use tokio::net::TcpStream;

/// Window of HTTP/2 when nobody says otherwise.
pub const WINDOW: u32 = 65_535;

/// A connection of its own, whose windows are `window` bytes.
///
/// # Errors
/// When the server cannot be reached.
pub async fn connect(address: &str, window: u32) -> Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(address).await?;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(window).initial_connection_window_size(window);
    let (requests, connection) = builder.handshake(stream).await?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(requests.ready().await?)
}

/// Head of a gRPC call; `path` begins with a slash.
///
/// # Errors
/// When `path` is none.
pub fn head(path: &str) -> Result<http::Request<()>> {
    let head = http::Request::post(format!("http://store{path}"));
    Ok(head.header("content-type", "application/grpc").header("te", "trailers").body(())?)
}

/// The five bytes before a message of `length` bytes.
pub fn prefix(length: u32) -> [u8; 5] {
    let mut prefix = [0; 5];
    prefix[1..].copy_from_slice(&length.to_be_bytes());
    prefix
}

/// The message with its prefix.
///
/// # Errors
/// When it has 4 GiB or more.
pub fn framed(message: &impl Message) -> Result<Bytes> {
    let mut body = BytesMut::new();
    body.put_slice(&prefix(u32::try_from(message.encoded_len())?));
    message.encode(&mut body)?;
    Ok(body.freeze())
}

/// Begins a call and says that a message of `length` bytes will come.
///
/// # Errors
/// When the connection is gone, or not ready.
pub fn announce(
    requests: &mut SendRequest<Bytes>,
    path: &str,
    length: u32,
) -> Result<(ResponseFuture, SendStream<Bytes>)> {
    let (answer, mut sender) = requests.send_request(head(path)?, false)?;
    sender.send_data(Bytes::copy_from_slice(&prefix(length)), false)?;
    Ok((answer, sender))
}

/// Makes a call, and takes nothing of its answer yet.
///
/// # Errors
/// When the connection is gone.
pub async fn ask(requests: &mut SendRequest<Bytes>, path: &str, message: &impl Message) -> Result<RecvStream> {
    let (answer, mut sender) = requests.send_request(head(path)?, false)?;
    sender.send_data(framed(message)?, true)?;
    Ok(answer.await?.into_body())
}

/// Takes an answer, `portion` bytes twenty times a second: its message, without the prefix.
///
/// # Errors
/// When it does not end with status 0, or is not one whole message.
pub async fn read(body: &mut RecvStream, portion: usize) -> Result<Bytes> {
    let mut message = BytesMut::new();
    // Twenty portions a second, whatever the machine does: a late one is made up for.
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    let (mut allowed, mut ended) = (0usize, false);
    while !ended {
        ticks.tick().await;
        allowed = allowed.saturating_add(portion);
        while message.len() < allowed {
            let Some(data) = body.data().await else {
                ended = true;
                break;
            };
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            message.extend_from_slice(&data);
        }
    }
    let trailers = body.trailers().await?.context("an answer without a status")?;
    ensure!(trailers.get("grpc-status").is_some_and(|status| status == "0"), "the call ended with {trailers:?}");
    let mut message = message.freeze();
    ensure!(message.len() >= 5 && message.get_u8() == 0, "an answer without a prefix");
    ensure!(message.get_u32() as usize == message.len(), "the answer is not as long as it says");
    Ok(message)
}
