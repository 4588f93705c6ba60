//! A small client for tools: one request, one connection, one whole answer.

use std::{future::poll_fn, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{io::AsyncWriteExt, net::TcpStream, time};

use super::{endpoint::Endpoint, endpoint::EndpointError, send::encode_whole};
use crate::{
    h1::{Decoder, HeadError, HeadLimits, Scanned, Scanner, Socket, parse_response},
    message::{BodyError, Headers, Method, RequestHead},
};

/// Asks servers for small things. Names are looked up on the calling thread: it is not for I/O threads.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// From connecting to the last byte.
    pub timeout: Duration,
    /// Most bytes of an answer's body.
    pub answer_bytes_max: usize,
}

impl Default for Client {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), answer_bytes_max: 64 << 20 }
    }
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Headers,
    pub body: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Url(#[from] EndpointError),
    #[error("{action}: {source}")]
    Io { action: &'static str, source: std::io::Error },
    #[error("the answer is malformed: {0}")]
    Head(#[from] HeadError),
    #[error("the answer's body: {0}")]
    Body(#[from] BodyError),
    #[error("the server closed the connection without an answer")]
    NoAnswer,
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

fn io(action: &'static str) -> impl FnOnce(std::io::Error) -> ClientError {
    move |source| ClientError::Io { action, source }
}

impl Client {
    /// `base` is `http://HOST[:PORT][/PATH]`; `target`, with a `/` in front, is added to it and may have a query.
    ///
    /// # Errors
    /// [`ClientError`]. An answer with an error's status is an answer.
    pub async fn request(
        &self,
        method: Method,
        base: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, ClientError> {
        let endpoint = Endpoint::parse(base)?;
        endpoint.resolve().map_err(io("look the server's name up"))?;
        let mut head = RequestHead::default();
        head.method = method;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        head.set_path(path.as_bytes());
        head.set_query(query.as_bytes());
        for (name, value) in headers {
            head.headers.append(name, value.as_bytes());
        }
        let work = exchange(&endpoint, &head, body.into(), self.answer_bytes_max);
        time::timeout(self.timeout, work).await.map_err(|_| ClientError::Timeout(self.timeout))?
    }

    /// # Errors
    /// As [`Client::request`].
    pub async fn get(&self, base: &str, target: &str) -> Result<Answer, ClientError> {
        self.request(Method::Get, base, target, &[], Bytes::new()).await
    }

    /// # Errors
    /// As [`Client::request`].
    pub async fn post(
        &self,
        base: &str,
        target: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> Result<Answer, ClientError> {
        self.request(Method::Post, base, target, &[("Content-Type", content_type)], body).await
    }
}

async fn exchange(
    endpoint: &Endpoint,
    head: &RequestHead,
    body: Bytes,
    body_max: usize,
) -> Result<Answer, ClientError> {
    let addresses = endpoint.addresses();
    let mut stream = TcpStream::connect(&addresses[..]).await.map_err(io("connect"))?;
    let mut tx = BytesMut::new();
    encode_whole(&mut tx, head, endpoint, &body);
    // One connection a question: the server need not keep it. The option goes in front of the empty line.
    tx.truncate(tx.len() - 2);
    tx.extend_from_slice(b"Connection: close\r\n\r\n");
    // A server that refuses the request may answer and close before it has read all of it: what it says counts.
    let sent = async {
        stream.write_all(&tx).await?;
        stream.write_all(&body).await
    };
    let sent = sent.await;
    let mut socket = Socket::Tcp(stream);
    let (mut scanner, mut rx, mut headers) = (Scanner::default(), BytesMut::new(), Headers::new());
    let answer = loop {
        if let Scanned::Head { start, end } = scanner.scan(&rx, HeadLimits::default())? {
            let answer = parse_response(rx.get(start..end).unwrap_or_default(), head.method, &mut headers)?;
            rx.advance(end);
            if answer.status >= 200 {
                break Some(answer);
            }
            scanner = Scanner::default();
            continue;
        }
        match (read(&mut socket, &mut rx).await, &sent) {
            (Ok(1..), _) => {}
            (Ok(0), Ok(())) => return Err(ClientError::NoAnswer),
            (Err(error), Ok(())) => return Err(error),
            (_, Err(_)) => break None,
        }
    };
    let Some(answer) = answer else {
        sent.map_err(io("send the request"))?;
        return Err(ClientError::NoAnswer);
    };
    let body = read_body(&mut socket, &mut rx, answer.decoder, body_max).await?;
    Ok(Answer { status: answer.status, headers, body })
}

async fn read(socket: &mut Socket, rx: &mut BytesMut) -> Result<usize, ClientError> {
    rx.reserve(8 << 10);
    poll_fn(|cx| socket.poll_read(cx, rx)).await.map_err(io("read the answer"))
}

async fn read_body(
    socket: &mut Socket,
    rx: &mut BytesMut,
    mut decoder: Decoder,
    body_max: usize,
) -> Result<Bytes, ClientError> {
    let mut body = BytesMut::new();
    loop {
        let piece = decoder.next(rx)?;
        rx.advance(piece.skip);
        if body.len() + piece.data > body_max {
            return Err(BodyError::TooLarge.into());
        }
        body.extend_from_slice(rx.get(..piece.data).unwrap_or_default());
        rx.advance(piece.data);
        if piece.end {
            return Ok(body.freeze());
        }
        if piece.data == 0 && read(socket, rx).await? == 0 {
            decoder.closed()?;
            return Ok(body.freeze());
        }
    }
}
