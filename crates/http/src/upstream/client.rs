//! A small client for tools: one request, one connection, one whole answer.

use std::{future::poll_fn, io::IoSlice, task::ready, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{net::TcpStream, time};

use super::{
    endpoint::Endpoint,
    endpoint::EndpointError,
    send::{SendError, encode_whole},
};
use crate::{
    h1::{Decoder, HeadError, HeadLimits, Scanned, Scanner, Socket, parse_response},
    message::{BodyError, Headers, Method, RequestHead},
    tls::{self, TlsError, TlsStream},
};

/// Asks servers for small things. Names are looked up on the calling thread: it is not for I/O threads.
#[derive(Debug, Clone)]
pub struct Client {
    /// From connecting to the last byte.
    pub timeout: Duration,
    /// Most bytes of an answer's body.
    pub answer_bytes_max: usize,
    /// For servers of https, whom nobody is asked without it.
    pub tls: Option<tls::Client>,
}

impl Default for Client {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), answer_bytes_max: 64 << 20, tls: None }
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
    #[error("{0}")]
    Tls(#[from] TlsError),
    #[error("the server is one of https, and there are no settings for TLS")]
    NoTls,
    #[error("the answer is malformed: {0}")]
    Head(#[from] HeadError),
    #[error("the answer's body: {0}")]
    Body(#[from] BodyError),
    #[error("the server closed the connection without an answer")]
    NoAnswer,
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("the deadline has passed")]
    Deadline,
    #[error("no memory is free for the connection")]
    NoMemory,
    #[error(transparent)]
    Call(#[from] SendError),
}

pub(super) fn io(action: &'static str) -> impl FnOnce(std::io::Error) -> ClientError {
    move |source| ClientError::Io { action, source }
}

impl Client {
    /// `base` is `http://HOST[:PORT][/PATH]`, or the same with `https`; `target`, with a `/` in front, is added to it and may have a query.
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
        let (endpoint, head) = question(method, base, target, headers)?;
        let work = self.exchange(&endpoint, &head, body.into());
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

    async fn exchange(&self, endpoint: &Endpoint, head: &RequestHead, body: Bytes) -> Result<Answer, ClientError> {
        let (mut socket, tx) = self.dial(endpoint, head, &body).await?;
        talk(&mut socket, tx, body, head.method, Keep::All(self.answer_bytes_max)).await.map(|told| told.answer)
    }

    /// A connection for one question, and the bytes of its head.
    pub(super) async fn dial(
        &self,
        endpoint: &Endpoint,
        head: &RequestHead,
        body: &Bytes,
    ) -> Result<(Socket, BytesMut), ClientError> {
        let addresses = endpoint.addresses();
        let stream = TcpStream::connect(&addresses[..]).await.map_err(io("connect"))?;
        let socket = match endpoint.tls_name() {
            None => Socket::Tcp(stream),
            Some(name) => {
                let tls = self.tls.as_ref().ok_or(ClientError::NoTls)?;
                let mut stream = TlsStream::client(stream, tls, name.clone(), None)?;
                poll_fn(|cx| stream.poll_handshake(cx)).await?;
                Socket::Tls(stream)
            }
        };
        let mut tx = BytesMut::new();
        encode_whole(&mut tx, head, endpoint, body);
        // One connection a question: the server need not keep it. The option goes in front of the empty line.
        tx.truncate(tx.len() - 2);
        tx.extend_from_slice(b"Connection: close\r\n\r\n");
        Ok((socket, tx))
    }
}

/// Where a request goes, its name looked up, and what it says.
pub(super) fn question(
    method: Method,
    base: &str,
    target: &str,
    headers: &[(&str, &str)],
) -> Result<(Endpoint, RequestHead), ClientError> {
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
    Ok((endpoint, head))
}

/// What is kept of an answer's body.
#[derive(Debug, Clone, Copy)]
pub(super) enum Keep {
    /// All of it; more than this is an error.
    All(usize),
    /// This many bytes from its start; the rest, up to so many bytes in all, is read and dropped.
    Start(usize, u64),
}

/// An answer that was read to its end.
pub(super) struct Told {
    pub(super) answer: Answer,
    /// Whether the connection can be used again.
    pub(super) reusable: bool,
}

/// Sends head and body, and reads the answer.
pub(super) async fn talk(
    socket: &mut Socket,
    head: BytesMut,
    body: Bytes,
    method: Method,
    keep: Keep,
) -> Result<Told, ClientError> {
    // A server that refuses the request may answer and close before it has read all of it: what it says counts.
    let sent = write(socket, head, body).await;
    let (mut scanner, mut rx, mut headers) = (Scanner::default(), BytesMut::new(), Headers::new());
    let answer = loop {
        if let Scanned::Head { start, end } = scanner.scan(&rx, HeadLimits::default())? {
            let answer = parse_response(rx.get(start..end).unwrap_or_default(), method, &mut headers)?;
            rx.advance(end);
            if answer.status >= 200 {
                break Some(answer);
            }
            scanner = Scanner::default();
            continue;
        }
        match (read(socket, &mut rx).await, &sent) {
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
    let (status, keep_alive) = (answer.status, answer.keep_alive && sent.is_ok());
    let (body, whole) = read_body(socket, &mut rx, answer.decoder, keep).await?;
    let reusable = keep_alive && whole && rx.is_empty();
    Ok(Told { answer: Answer { status, headers, body }, reusable })
}

pub(super) async fn write(socket: &mut Socket, mut head: BytesMut, mut body: Bytes) -> std::io::Result<()> {
    poll_fn(|cx| {
        while !head.is_empty() || !body.is_empty() {
            let written = ready!(socket.poll_write(cx, &[IoSlice::new(&head), IoSlice::new(&body)]))?;
            let first = written.min(head.len());
            head.advance(first);
            body.advance(written - first);
        }
        socket.poll_flush(cx)
    })
    .await
}

pub(super) async fn read(socket: &mut Socket, rx: &mut BytesMut) -> Result<usize, ClientError> {
    rx.reserve(8 << 10);
    poll_fn(|cx| socket.poll_read(cx, rx)).await.map_err(io("read the answer"))
}

/// The body, and whether it ended before the connection did.
pub(super) async fn read_body(
    socket: &mut Socket,
    rx: &mut BytesMut,
    mut decoder: Decoder,
    keep: Keep,
) -> Result<(Bytes, bool), ClientError> {
    let (mut body, mut passed) = (BytesMut::new(), 0u64);
    loop {
        let piece = decoder.next(rx)?;
        rx.advance(piece.skip);
        passed += piece.data as u64;
        let kept = match keep {
            Keep::All(most) if body.len() + piece.data > most => return Err(BodyError::TooLarge.into()),
            Keep::All(_) => piece.data,
            Keep::Start(_, limit) if passed > limit => return Err(BodyError::TooLarge.into()),
            Keep::Start(most, _) => piece.data.min(most - body.len()),
        };
        body.extend_from_slice(rx.get(..kept).unwrap_or_default());
        rx.advance(piece.data);
        if piece.end {
            return Ok((body.freeze(), true));
        }
        if piece.data == 0 && read(socket, rx).await? == 0 {
            decoder.closed()?;
            return Ok((body.freeze(), false));
        }
    }
}
