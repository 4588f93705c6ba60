//! One call: its request, the messages of both sides, and how it ended.

use std::{future::poll_fn, marker::PhantomData, time::Duration};

use bytes::Bytes;
use h2::{RecvStream, SendStream, client::ResponseFuture};
use http::{HeaderValue, Method as Verb, Request, Response, StatusCode, Uri, Version, uri::Scheme};
use tidegate_api::{Code, Error, Message, Method};

use crate::{connection::Connection, frame, frame::Decoder, status};

/// What every request of a client carries.
pub(crate) struct Head<'a> {
    pub(crate) method: Method,
    pub(crate) token: Option<&'a HeaderValue>,
    pub(crate) timeout: Option<Duration>,
}

impl Head<'_> {
    fn request(&self, connection: &Connection) -> Result<Request<()>, Error> {
        let uri = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(connection.authority.clone())
            .path_and_query(self.method.path())
            .build();
        let mut request = Request::new(());
        *request.method_mut() = Verb::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = uri.map_err(|error| Error::other(Code::Internal, error.to_string()))?;
        let headers = request.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert("te", HeaderValue::from_static("trailers"));
        if let Some(token) = self.token {
            headers.insert("token", token.clone());
        }
        if let Some(timeout) = self.timeout {
            // At most eight digits: milliseconds reach a day, which is more than a call may take.
            let text = format!("{}m", timeout.as_millis().clamp(1, 99_999_999));
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert("grpc-timeout", value);
            }
        }
        Ok(request)
    }
}

/// How an attempt failed, and whether it certainly had no effect.
pub(crate) struct Failed {
    pub(crate) error: Error,
    /// The code as it came.
    pub(crate) code: Code,
    pub(crate) unseen: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { code: error.code(), error, unseen: false }
    }
}

impl From<(Code, Error)> for Failed {
    fn from((code, error): (Code, Error)) -> Self {
        Self { error, code, unseen: false }
    }
}

impl From<h2::Error> for Failed {
    fn from(error: h2::Error) -> Self {
        Self { unseen: status::refused(&error), ..Self::from(status::from_h2(&error)) }
    }
}

/// One request, one answer.
pub(crate) async fn unary(
    mut connection: Connection,
    head: Head<'_>,
    message: Bytes,
    message_max: usize,
) -> Result<Bytes, Failed> {
    let request = head.request(&connection)?;
    let (response, mut sender) = connection.requests.send_request(request, false)?;
    // The message exists anyway: the connection sends it as the server's window opens. A server may answer, and end the
    // stream, before it has the message: then this fails, and the answer tells why.
    drop(sender.send_data(message, true));
    let mut answers = Answers::new(response, message_max);
    let Some(first) = answers.next_whole().await? else {
        return Err(Error::other(Code::Internal, "the server answered without a message").into());
    };
    match answers.next_whole().await? {
        None => Ok(first),
        Some(_) => Err(Error::other(Code::Internal, "the server answered more than once").into()),
    }
}

/// The messages of the server, in order, then the status.
struct Answers {
    response: Option<ResponseFuture>,
    body: Option<RecvStream>,
    decoder: Decoder,
    ended: bool,
}

impl Answers {
    fn new(response: ResponseFuture, message_max: usize) -> Self {
        Self { response: Some(response), body: None, decoder: Decoder::new(message_max), ended: false }
    }

    /// The next message; `None` after a good end. Cancel safe: nothing is taken before it is stored.
    async fn next_whole(&mut self) -> Result<Option<Bytes>, Failed> {
        if self.ended {
            return Ok(None);
        }
        let outcome = self.advance().await;
        self.ended = !matches!(outcome, Ok(Some(_)));
        outcome
    }

    async fn advance(&mut self) -> Result<Option<Bytes>, Failed> {
        if let Some(response) = &mut self.response {
            let response = response.await;
            self.response = None;
            let response = response?;
            if let Some(end) = check(&response) {
                return end.map(|()| None).map_err(Failed::from);
            }
            self.body = Some(response.into_body());
        }
        let Some(body) = &mut self.body else { return Ok(None) };
        loop {
            if let Some(message) = self.decoder.message()? {
                return Ok(Some(message));
            }
            let Some(frame) = body.data().await else { break };
            let frame = frame?;
            // The window opens again as frames are taken; what is taken and not yet read is one message at most.
            body.flow_control().release_capacity(frame.len())?;
            self.decoder.feed(frame);
        }
        if self.decoder.inside() {
            return Err(Error::other(Code::Internal, "the answer ended inside a message").into());
        }
        match body.trailers().await?.as_ref().and_then(status::from_trailers) {
            Some(end) => end.map(|()| None).map_err(Failed::from),
            None => Err(Error::other(Code::Internal, "the server ended the call without a status").into()),
        }
    }
}

/// The end of a call that its headers already tell.
fn check(response: &Response<RecvStream>) -> Option<Result<(), (Code, Error)>> {
    if response.status() != StatusCode::OK {
        let error = status::from_http(response.status());
        return Some(Err((error.code(), error)));
    }
    status::from_trailers(response.headers())
}

/// A call with messages both ways. Dropping it cancels the call.
pub struct Stream<Q, A> {
    sender: SendStream<Bytes>,
    answers: Answers,
    messages: PhantomData<fn(Q) -> A>,
}

impl<Q: Message, A: Message + Default> Stream<Q, A> {
    pub(crate) fn open(mut connection: Connection, head: &Head<'_>, message_max: usize) -> Result<Self, Failed> {
        let request = head.request(&connection)?;
        let (response, sender) = connection.requests.send_request(request, false)?;
        Ok(Self { sender, answers: Answers::new(response, message_max), messages: PhantomData })
    }

    /// Sends one message, once the server's window has room for it: a server that does not read holds this up. Not
    /// cancel safe: a message may be cut off.
    ///
    /// # Errors
    /// When the call or its connection has ended; [`Stream::next`] tells how.
    pub async fn send(&mut self, message: &Q) -> Result<(), Error> {
        let mut bytes = frame::encode(message)?;
        while !bytes.is_empty() {
            self.sender.reserve_capacity(bytes.len());
            let mut room = self.sender.capacity();
            if room == 0 {
                room = match poll_fn(|cx| self.sender.poll_capacity(cx)).await {
                    Some(room) => room.map_err(|error| status::from_h2(&error))?,
                    None => return Err(Error::other(Code::Unavailable, "the call has ended")),
                };
            }
            if room == 0 {
                continue;
            }
            let piece = bytes.split_to(room.min(bytes.len()));
            self.sender.send_data(piece, false).map_err(|error| status::from_h2(&error))?;
        }
        Ok(())
    }

    /// Says that no more messages come. Answers may still.
    ///
    /// # Errors
    /// When the call has ended.
    pub fn finish(&mut self) -> Result<(), Error> {
        self.sender.send_data(Bytes::new(), true).map_err(|error| status::from_h2(&error))
    }

    /// The next message of the server; `None` after a good end. Cancel safe.
    ///
    /// # Errors
    /// The status of the call; afterwards `None`.
    pub async fn next(&mut self) -> Result<Option<A>, Error> {
        match self.answers.next_whole().await {
            Ok(Some(message)) => Ok(Some(tidegate_api::wire::decode(message)?)),
            Ok(None) => Ok(None),
            Err(failed) => Err(failed.error),
        }
    }
}
