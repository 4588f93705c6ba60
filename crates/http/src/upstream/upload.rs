//! The request's way to an upstream.

use std::{
    io::IoSlice,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};

use crate::{
    h1::{Downstream, Relay, Socket, Streamed},
    message::BodyError,
};

/// What is still to be sent of a request.
#[derive(Debug)]
pub(crate) enum Upload {
    Done,
    /// It failed, or nobody wants the rest.
    GivenUp,
    /// Head and body are here.
    Whole {
        head: BytesMut,
        body: Bytes,
    },
    /// The head is in front of what comes from the client.
    Stream(Relay),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UploadError {
    /// The upstream takes no more.
    Upstream,
    /// The client's body cannot be read.
    Body(BodyError),
}

impl Upload {
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Upload::Done | Upload::GivenUp)
    }

    pub(crate) fn is_complete(&self) -> bool {
        matches!(self, Upload::Done)
    }

    pub(crate) fn give_up(&mut self) {
        *self = Upload::GivenUp;
    }

    /// Goes on as far as both sides let it. The head leaves together with the body bytes that are there already.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        down: &mut Downstream,
        socket: &mut Socket,
    ) -> Poll<Result<(), UploadError>> {
        match self {
            Upload::Done | Upload::GivenUp => return Poll::Ready(Ok(())),
            Upload::Whole { .. } => return self.poll_whole(cx, socket),
            Upload::Stream(relay) => loop {
                if relay.loadable() {
                    match down.poll_load(cx, relay) {
                        Poll::Ready(loaded) => {
                            loaded.map_err(UploadError::Body)?;
                        }
                        Poll::Pending if relay.pending() => {}
                        Poll::Pending => {
                            ready!(socket.poll_flush(cx)).map_err(|_| UploadError::Upstream)?;
                            return Poll::Pending;
                        }
                    }
                }
                ready!(relay.poll_write(cx, socket, &mut down.rx.bytes)).map_err(|_| UploadError::Upstream)?;
                if relay.ended() {
                    down.streamed = Streamed::Whole;
                    break;
                }
            },
        }
        socket.end_request().map_err(|_| UploadError::Upstream)?;
        *self = Upload::Done;
        Poll::Ready(Ok(()))
    }

    /// As [`Upload::poll`], of what needs nothing of a client.
    pub(super) fn poll_whole(&mut self, cx: &mut Context<'_>, socket: &mut Socket) -> Poll<Result<(), UploadError>> {
        let Upload::Whole { head, body } = self else { return Poll::Ready(Ok(())) };
        while !head.is_empty() || !body.is_empty() {
            let parts = [IoSlice::new(head), IoSlice::new(body)];
            let parts = match (head.is_empty(), body.is_empty()) {
                (true, _) => &parts[1..],
                (_, true) => &parts[..1],
                _ => &parts[..],
            };
            let written = ready!(socket.poll_write(cx, parts)).map_err(|_| UploadError::Upstream)?;
            let first = written.min(head.len());
            head.advance(first);
            body.advance(written - first);
        }
        ready!(socket.poll_flush(cx)).map_err(|_| UploadError::Upstream)?;
        socket.end_request().map_err(|_| UploadError::Upstream)?;
        *self = Upload::Done;
        Poll::Ready(Ok(()))
    }

    /// The buffer of the head, to be used again.
    pub(crate) fn into_buffer(self) -> BytesMut {
        match self {
            Upload::Whole { head, .. } => head,
            Upload::Stream(relay) => relay.pre,
            Upload::Done | Upload::GivenUp => BytesMut::new(),
        }
    }
}
