//! One call on a shared connection, in the place of a socket.

use std::{
    fmt,
    io::{self, ErrorKind, IoSlice},
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream, client::ResponseFuture};

use super::{conn::Shared, head};
use crate::{
    h1::{HeadError, ResponseHead},
    message::{Headers, Length, Method},
    upstream::send::{INTERIM_MAX, SendError},
};

/// One piece: a frame of the usual size.
const PIECE_MAX: usize = 16 << 10;

/// A stream of an HTTP/2 connection to a server. Dropped before its end, it is reset.
pub struct Stream {
    response: ResponseFuture,
    /// `None` when all was given to `h2`.
    send: Option<SendStream<Bytes>>,
    /// Bytes that are still to be sent of a body of known length.
    left: Option<u64>,
    body: Option<RecvStream>,
    /// What came and was not read.
    front: Bytes,
    interim: usize,
    refused: bool,
    /// What stood behind the body, once that was read.
    trailers: Option<Box<http::HeaderMap>>,
    shared: Rc<Shared>,
}

impl Stream {
    pub(super) fn new(response: ResponseFuture, send: SendStream<Bytes>, length: Length, shared: Rc<Shared>) -> Self {
        let (send, left) = match length {
            Length::Known(0) => (None, None),
            Length::Known(bytes) => (Some(send), Some(bytes)),
            Length::Unknown => (Some(send), None),
        };
        Self {
            response,
            send,
            left,
            body: None,
            front: Bytes::new(),
            interim: 0,
            refused: false,
            trailers: None,
            shared,
        }
    }

    /// Whether the server has said that it did nothing for this call.
    pub(crate) fn was_refused(&self) -> bool {
        self.refused
    }

    /// The head of the answer to a request of `method`.
    pub(crate) fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        method: Method,
        headers: &mut Headers,
    ) -> Poll<Result<ResponseHead, SendError>> {
        while let Poll::Ready(Some(Ok(_))) = self.response.poll_informational(cx) {
            self.interim += 1;
            if self.interim > INTERIM_MAX {
                return Poll::Ready(Err(HeadError::Malformed("too many interim answers").into()));
            }
        }
        let answer = ready!(std::pin::Pin::new(&mut self.response).poll(cx)).map_err(|error| {
            tracing::debug!(%error, "a call over HTTP/2 has no answer");
            let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
            self.refused = error.is_remote() && (refused || error.is_go_away());
            SendError::NoAnswer
        })?;
        let (parts, body) = answer.into_parts();
        let head = head::response(&parts, body.is_end_stream(), method, headers)?;
        self.body = Some(body);
        Poll::Ready(Ok(head))
    }

    /// Reads into the free capacity of `buf`; 0 is the end of the body.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        let Some(body) = &mut self.body else { return Poll::Pending };
        while self.front.is_empty() {
            match ready!(body.poll_data(cx)) {
                Some(frame) => self.front = frame.map_err(io::Error::other)?,
                None => {
                    // They would stay in `h2` as long as the stream.
                    if let Poll::Ready(Ok(Some(trailers))) = body.poll_trailers(cx) {
                        self.trailers = Some(Box::new(trailers));
                    }
                    return Poll::Ready(Ok(0));
                }
            }
        }
        let count = self.front.len().min(buf.capacity() - buf.len());
        buf.extend_from_slice(self.front.get(..count).unwrap_or_default());
        self.front.advance(count);
        body.flow_control().release_capacity(count).map_err(io::Error::other)?;
        Poll::Ready(Ok(count))
    }

    /// Takes what the windows let out, at least a byte.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let Some(send) = &mut self.send else { return Poll::Ready(Err(ErrorKind::BrokenPipe.into())) };
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let wanted = total.min(PIECE_MAX);
        send.reserve_capacity(wanted);
        while send.capacity() == 0 {
            match ready!(send.poll_capacity(cx)) {
                Some(room) => room.map_err(io::Error::other)?,
                None => return Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
            };
        }
        let count = wanted.min(send.capacity());
        let mut bytes = BytesMut::with_capacity(count);
        for part in parts {
            bytes.put_slice(part.get(..part.len().min(count - bytes.len())).unwrap_or_default());
        }
        self.left = self.left.map(|left| left.saturating_sub(count as u64));
        let last = self.left == Some(0);
        let sent = send.send_data(bytes.freeze(), last).map(|()| count).map_err(io::Error::other);
        if last {
            self.send = None;
        }
        Poll::Ready(sent)
    }

    /// Adds what stood behind the body to the answer's headers.
    pub(crate) fn add_trailers(&mut self, headers: &mut Headers) {
        for (name, value) in self.trailers.take().into_iter().flat_map(|trailers| *trailers) {
            if let Some(name) = name {
                headers.append(name.as_str(), value.as_bytes());
            }
        }
    }

    /// The request is complete: its last frame says so, or an empty one.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        match self.send.take() {
            Some(mut send) => send.send_data(Bytes::new(), true).map_err(io::Error::other),
            None => Ok(()),
        }
    }

    /// Cuts the request.
    pub(crate) fn reset(&mut self) {
        if let Some(mut send) = self.send.take() {
            send.send_reset(Reason::CANCEL);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // What was not read is no longer held against the connection.
        if let Some(body) = &mut self.body
            && !self.front.is_empty()
            && let Err(error) = body.flow_control().release_capacity(self.front.len())
        {
            tracing::debug!(%error, "a window is not given back");
        }
        self.shared.ended();
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("left", &self.left).finish_non_exhaustive()
    }
}
