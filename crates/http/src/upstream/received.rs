//! An upstream's body in pieces, for who changes it on its way to the client.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::{Buf, Bytes};
use futures_util::Stream;
use tidegate_base::{Budget, Holder, Lease, clock};

use super::Call;
use crate::{
    h1::{BUFFER_MOST, Timer, UPSTREAM_PAUSE_MAX},
    message::BodyError,
};

/// Reads while it is polled. Its lease pays for one piece and for what the receive buffer grows by. Dropped before its end, it
/// closes the connection.
pub(crate) struct Received {
    call: Option<Box<Call>>,
    lease: Lease,
    timer: Timer,
    /// Since when nothing has come.
    waits: Option<Instant>,
}

impl Received {
    /// Gives the call back where no memory is free, or its request has not left yet: that needs the client's connection.
    pub(crate) fn new(call: Box<Call>, budget: &Budget, holder: Holder) -> Result<Self, Box<Call>> {
        match budget.try_lease(holder, BUFFER_MOST as u64).filter(|_| call.upload.is_done()) {
            Some(lease) => Ok(Self { call: Some(call), lease, timer: Timer::new(), waits: None }),
            None => Err(call),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        let Some(call) = &mut self.call else { return Poll::Ready(Ok(None)) };
        loop {
            let piece = call.decoder.next(&call.rx.bytes)?;
            call.rx.bytes.advance(piece.skip);
            if piece.data > 0 {
                let data = Bytes::copy_from_slice(call.rx.bytes.get(..piece.data).unwrap_or_default());
                call.rx.bytes.advance(piece.data);
                call.count(piece.data).map_err(|_| BodyError::TooLarge)?;
                return Poll::Ready(Ok(Some(data)));
            }
            if piece.end {
                break;
            }
            match call.poll_fill(cx, Some(&mut self.lease), BUFFER_MOST) {
                Poll::Ready(Ok(true)) => self.waits = None,
                Poll::Ready(Ok(false)) => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    let pause = *self.waits.get_or_insert_with(clock::now) + UPSTREAM_PAUSE_MAX;
                    ready!(self.timer.poll(cx, call.deadline.map_or(pause, |deadline| deadline.min(pause))));
                    return Poll::Ready(Err(BodyError::TooSlow));
                }
            }
        }
        if let Some(call) = self.call.take() {
            drop(call.finish());
        }
        Poll::Ready(Ok(None))
    }
}

impl Stream for Received {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = ready!(self.poll(cx));
        if polled.is_err() {
            self.call = None;
        }
        Poll::Ready(polled.transpose())
    }
}
