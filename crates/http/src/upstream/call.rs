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
    h1::{BUFFER_MOST, Buffer, Decoder, Lost, Socket},
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
    /// [`Call::begin`] has seen something of the body, or its end.
    pub(crate) begun: bool,
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

    /// Looks, without waiting, at what of the body is here already. Until the head has gone out, what breaks off or is too large can
    /// still be answered with a status of its own.
    ///
    /// # Errors
    /// [`BodyError`] of the bytes that came, or of the connection.
    pub(crate) fn begin(&mut self, cx: &mut Context<'_>, mut lease: Option<&mut Lease>) -> Result<(), BodyError> {
        while !self.begun && !self.tunnel {
            let (mut decoder, mut read, mut data) = (self.decoder, 0, 0);
            loop {
                let piece = decoder.next(self.rx.bytes.get(read..).unwrap_or_default())?;
                read += piece.skip + piece.data;
                data += piece.data as u64;
                self.begun |= piece.end || piece.data > 0;
                if piece.end || piece.data == 0 {
                    break;
                }
            }
            if data > self.limit {
                return Err(BodyError::TooLarge);
            }
            if self.begun {
                break;
            }
            let framing = self.decoder;
            match self.poll_fill(cx, lease.as_deref_mut(), BUFFER_MOST) {
                Poll::Ready(Ok(true)) => {}
                // It stays one without a length: whether the end is here already must not change how the answer is framed.
                Poll::Ready(Ok(false)) => (self.decoder, self.begun) = (framing, true),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        Ok(())
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

    /// Counts bytes of the body against its limit.
    pub(crate) fn count(&mut self, bytes: usize) -> Result<(), Lost> {
        self.received += bytes as u64;
        if self.received <= self.limit { Ok(()) } else { Err(Lost) }
    }

    /// Keeps the connection if nothing is left on it, and gives the buffer back.
    pub(crate) fn finish(self) -> Buffer {
        let Self { socket, paid, rx, decoder, upload, keep_alive, pools, endpoint, .. } = self;
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
