//! An upstream's answer on its way.

use std::{
    rc::Rc,
    task::{Context, Poll, ready},
    time::Instant,
};

use tidegate_base::Lease;

use super::{
    pool::{Conn, Pools},
    upload::Upload,
};
use crate::{
    h1::{BUFFER_MOST, Buffer, Decoder, Lost, Relay, Socket},
    message::{BodyError, Length},
};

/// The body of an answer whose head has come, and the connection that brings it. Dropped before its end, it closes the
/// connection.
pub struct Call {
    pub(crate) socket: Socket,
    pub(crate) paid: Lease,
    pub(crate) rx: Buffer,
    pub(crate) decoder: Decoder,
    pub(crate) upload: Upload,
    /// Whether the connection may be kept once all has been sent and read.
    pub(crate) keep_alive: bool,
    /// It is a WebSocket: no answer follows, but bytes both ways.
    pub(crate) tunnel: bool,
    pub(crate) deadline: Option<Instant>,
    /// Most bytes of the body.
    pub(crate) limit: u64,
    pub(crate) received: u64,
    pub(crate) pools: Rc<Pools>,
    pub(crate) endpoint: usize,
}

impl Call {
    pub(crate) fn length(&self) -> Length {
        match self.decoder {
            Decoder::Done => Length::Known(0),
            Decoder::Length(bytes) => Length::Known(bytes),
            _ => Length::Unknown,
        }
    }

    /// Reads more: true; false at the end.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        lease: Option<&mut Lease>,
        most: usize,
    ) -> Poll<Result<bool, BodyError>> {
        if !self.rx.room_for(self.decoder.announced(), most, lease) {
            return Poll::Ready(Err(BodyError::NoMemory));
        }
        match ready!(self.rx.poll_read(cx, &mut self.socket)) {
            Ok(0) => {
                self.keep_alive = false;
                Poll::Ready(self.decoder.closed().map(|()| false))
            }
            Ok(_) => Poll::Ready(Ok(true)),
            Err(_) => Poll::Ready(Err(BodyError::Lost)),
        }
    }

    /// Brings more into `relay` or the buffer: true; false at the end.
    pub(crate) fn poll_more(
        &mut self,
        cx: &mut Context<'_>,
        relay: &mut Relay,
        lease: Option<&mut Lease>,
    ) -> Poll<Result<bool, BodyError>> {
        if relay.draws(&self.decoder, &self.rx.bytes, &self.socket) {
            match ready!(relay.poll_draw(cx, &mut self.decoder, &mut self.socket)) {
                Ok(Some(0)) => return Poll::Ready(Err(BodyError::Truncated)),
                Ok(Some(bytes)) => {
                    return Poll::Ready(self.count(bytes).map_or(Err(BodyError::TooLarge), |()| Ok(true)));
                }
                Ok(None) => {}
                Err(_) => return Poll::Ready(Err(BodyError::Lost)),
            }
        }
        self.poll_fill(cx, lease, BUFFER_MOST)
    }

    /// Reads on where what has come did not fit into a small buffer: fewer and larger writes. What stands in its way is met
    /// again when the rest is read.
    pub(crate) fn poll_ahead(&mut self, cx: &mut Context<'_>, lease: Option<&mut Lease>) {
        if self.rx.read_ahead(self.decoder.announced(), BUFFER_MOST, lease)
            && let Poll::Ready(Ok(0) | Err(_)) = self.rx.poll_read(cx, &mut self.socket)
        {
            self.keep_alive = false;
        }
    }

    /// Counts bytes of the body against its limit.
    pub(crate) fn count(&mut self, bytes: usize) -> Result<(), Lost> {
        self.received += bytes as u64;
        if self.received <= self.limit { Ok(()) } else { Err(Lost) }
    }

    /// Keeps the connection if nothing is left on it, and gives the buffer back.
    pub(crate) fn finish(self) -> Buffer {
        let Self { socket, paid, rx, decoder, upload, keep_alive, pools, endpoint, .. } = self;
        if let Socket::Shared(_) = socket {
            // Its connection stays whatever became of it.
            return rx;
        }
        if keep_alive && upload.is_complete() && decoder.is_done() {
            if rx.bytes.is_empty() {
                pools.put(endpoint, Conn { socket, paid });
                return rx;
            }
            tracing::debug!("an upstream sent more than its answer");
        }
        Buffer::default()
    }
}
