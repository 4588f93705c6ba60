use std::{
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll},
};

use super::{Accept, Assembly, NextMessage, message::Progress};
use crate::http2::Exchange;

/// The messages of a client, in order, each under its own lease.
///
/// What the client sends is pulled whenever the call runs, whatever the call waits for, and counted to its connection until
/// it is read here: at most one window a stream and 2 MiB a connection, beyond which the call is refused.
pub struct Incoming {
    exchange: Rc<Exchange>,
    assembly: Assembly,
}

impl Incoming {
    pub(super) fn new(exchange: Rc<Exchange>, accept: Accept) -> Self {
        Self { exchange, assembly: Assembly::new(accept) }
    }

    /// The next message; `None` once the client has sent its last. Cancel safe.
    ///
    /// # Errors
    /// As [`super::Call::message`], and for ever after: the stream of messages cannot be followed any more.
    pub async fn next(&mut self) -> NextMessage {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`Incoming::next`].
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<NextMessage> {
        self.assembly.poll_next(&self.exchange, cx).map_ok(|progress| match progress {
            Progress::Message(message) => Some(message),
            Progress::End => None,
        })
    }
}
