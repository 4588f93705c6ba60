//! Bodies of responses.

use std::{fmt, pin::Pin, task::Context, task::Poll};

use bytes::Bytes;
use futures_util::Stream;
use tidegate_base::{Budget, Holder, Lease};

use crate::upstream::{Call, Received};

/// What is known of a body's length before it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    Known(u64),
    /// Sent in chunks, or until the connection closes to a client of HTTP/1.0.
    Unknown,
}

/// Why a body could not be read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body is larger than the limit")]
    TooLarge,
    /// The sender closed in the middle.
    #[error("the body ends before its announced end")]
    Truncated,
    #[error("the body's framing is malformed")]
    Malformed,
    #[error("the body came too slowly")]
    TooSlow,
    #[error("no memory is free for the body")]
    NoMemory,
    #[error("the connection is lost")]
    Lost,
}

impl BodyError {
    /// The status that answers a request whose body cannot be read.
    pub const fn status(self) -> u16 {
        match self {
            BodyError::TooLarge => 413,
            BodyError::Truncated | BodyError::Malformed | BodyError::Lost => 400,
            BodyError::TooSlow => 408,
            BodyError::NoMemory => 503,
        }
    }
}

/// A body in pieces. An error is the last of them.
pub type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>>>>;

/// The body of a response.
#[derive(Default)]
pub enum Body {
    #[default]
    Empty,
    Full(Bytes),
    /// Bytes that are counted: the lease goes when they have been sent.
    Leased(Bytes, Lease),
    /// Pieces that are asked for one at a time, the next when the last has gone out. An error closes the connection, so
    /// that the client sees a body cut short and not a complete one.
    Chunks(Pieces),
    /// What an upstream sends, relayed without a copy.
    Upstream(Box<Call>),
}

impl Body {
    /// A body of pieces; each piece is at most what the maker holds leased.
    pub fn chunks(stream: impl Stream<Item = Result<Bytes, BodyError>> + 'static) -> Self {
        Body::Chunks(Box::pin(stream))
    }

    pub fn length(&self) -> Length {
        match self {
            Body::Empty => Length::Known(0),
            Body::Full(bytes) | Body::Leased(bytes, _) => Length::Known(bytes.len() as u64),
            Body::Chunks(_) => Length::Unknown,
            Body::Upstream(call) => call.length(),
        }
    }

    /// The body in pieces, for who changes it on its way. Pieces of an upstream's are of at most 64 KiB, under a lease from
    /// `holder` that the stream has; others are what they are.
    ///
    /// # Errors
    /// The body as it was, where there is no room or the request is still being sent to the upstream that answers it.
    pub fn into_pieces(self, budget: &Budget, holder: Holder) -> Result<Pieces, Body> {
        match self {
            Body::Empty => Ok(Box::pin(Whole(None, None))),
            Body::Full(bytes) => Ok(Box::pin(Whole(Some(bytes), None))),
            Body::Leased(bytes, lease) => Ok(Box::pin(Whole(Some(bytes), Some(lease)))),
            Body::Chunks(pieces) => Ok(pieces),
            Body::Upstream(call) => match Received::new(call, budget, holder) {
                Ok(received) => Ok(Box::pin(received)),
                Err(call) => Err(Body::Upstream(call)),
            },
        }
    }

    pub(crate) fn poll_chunk(chunks: &mut Pieces, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        chunks.as_mut().poll_next(cx)
    }
}

/// One piece, and what pays for it until the stream is dropped.
struct Whole(Option<Bytes>, #[expect(dead_code, reason = "goes with the stream")] Option<Lease>);

impl Stream for Whole {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.take().map(Ok))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Empty => f.write_str("Empty"),
            Body::Full(bytes) | Body::Leased(bytes, _) => write!(f, "Full({} bytes)", bytes.len()),
            Body::Chunks(_) => f.write_str("Chunks"),
            Body::Upstream(_) => f.write_str("Upstream"),
        }
    }
}
