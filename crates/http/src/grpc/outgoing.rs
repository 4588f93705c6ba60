use std::{
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use futures_util::FutureExt;
use tidegate_base::Lease;

use super::{CHUNK_MAX, Status};
use crate::{admission::Admitted, http2::Exchange};

/// The client has reset the stream or gone away: nobody reads an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client is gone")]
pub struct Gone;

/// What a chunk is charged to. Bytes that several streams share carry their lease inside (`Bytes::from_owner`).
#[derive(Debug)]
pub enum Charge {
    Shared,
    Lease(Lease),
    Admitted(Admitted),
}

impl From<Lease> for Charge {
    fn from(lease: Lease) -> Self {
        Charge::Lease(lease)
    }
}

impl From<Admitted> for Charge {
    fn from(lease: Admitted) -> Self {
        Charge::Admitted(lease)
    }
}

/// Bytes on their way out and what they are charged to; both are dropped when the socket has taken them.
#[derive(Debug)]
pub struct Chunk {
    bytes: Bytes,
    _charge: Charge,
}

impl Chunk {
    /// Bytes under a lease of their own.
    pub fn leased(bytes: Bytes, lease: impl Into<Charge>) -> Self {
        Self { bytes, _charge: lease.into() }
    }

    /// Bytes that somebody else accounts for.
    pub fn shared(bytes: Bytes) -> Self {
        Self { bytes, _charge: Charge::Shared }
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

/// An answer in pieces. What is sent is the messages with their prefixes ([`super::prefix`]), cut anywhere.
///
/// The order is: room, then a lease, then the bytes, so that a reader whose window is closed holds nothing. Dropped without
/// [`Outgoing::finish`], the stream is reset.
pub struct Outgoing {
    exchange: Rc<Exchange>,
}

impl Outgoing {
    pub(super) fn new(exchange: Rc<Exchange>) -> Self {
        Self { exchange }
    }

    /// Waits until the client and the send buffer take bytes, and gives how many: at least one, at most `want` and
    /// [`CHUNK_MAX`]. Sends the head of the answer. Cancel safe; await it in the call's own future.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn room(&mut self, want: usize) -> Result<usize, Gone> {
        poll_fn(|cx| self.poll_room(want, cx)).await
    }

    /// As [`Outgoing::room`].
    pub fn poll_room(&mut self, want: usize, cx: &mut Context<'_>) -> Poll<Result<usize, Gone>> {
        self.exchange.poll_room(want.clamp(1, CHUNK_MAX), cx)
    }

    /// Bytes of the answers' holder for the next chunk, when it is this connection's turn. Where it has to wait for them,
    /// the room is given back meanwhile and asked for again. Cancel safe.
    ///
    /// # Errors
    /// [`Gone`] when that many can never be had, or as [`Outgoing::room`].
    pub async fn lease(&mut self, bytes: u64) -> Result<Admitted, Gone> {
        let exchange = Rc::clone(&self.exchange);
        let answers = &exchange.conn().answers;
        exchange.set_leased();
        if let Some(lease) = answers.try_take(bytes) {
            return Ok(lease);
        }
        // Window that is assigned to a stream which waits for a lease is missing to answers that have theirs, and whose
        // leases it may be that it waits for.
        let mut room = exchange.give_room_back();
        loop {
            let lease = answers.take(bytes).map_err(|_| Gone)?.await;
            if room == 0 {
                return Ok(lease);
            }
            if let Some(again) = poll_fn(|cx| exchange.poll_room(room, cx)).now_or_never() {
                return again.map(|_| lease);
            }
            drop(lease);
            self.room(room).await?;
            // Now that there is room again the lease may be had at once. To hand the room on before looking would let those
            // who wait for both pass it around for ever.
            if let Some(lease) = answers.try_take(bytes) {
                return Ok(lease);
            }
            room = exchange.give_room_back();
        }
    }

    /// Whether other calls wait for bytes of the answers' holder.
    pub fn others_wait(&self) -> bool {
        self.exchange.conn().local.net.answers.waiting() > 0
    }

    /// Queues a chunk. Not longer than the room, else it waits in memory for the client's window.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn send(&mut self, chunk: Chunk) -> Result<(), Gone> {
        self.exchange.send(chunk)
    }

    /// Queues one whole message, given without its prefix, as room for it comes.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn send_message(&mut self, message: Bytes) -> Result<(), Gone> {
        let mut bytes = if message.len() + super::PREFIX_LEN <= CHUNK_MAX {
            super::framed(message.len(), |out| out.extend_from_slice(&message))
        } else {
            self.send(Chunk::shared(Bytes::copy_from_slice(&super::prefix(message.len()))))?;
            message
        };
        while !bytes.is_empty() {
            let room = self.room(bytes.len()).await?;
            let lease = self.lease(room as u64).await?;
            self.send(Chunk::leased(bytes.split_to(room), lease))?;
        }
        Ok(())
    }

    /// Sends the one answer of a call, framed, in pieces as the client opens its window.
    pub(super) async fn reply(mut self, mut bytes: Bytes, lease: Admitted) -> Result<(), Gone> {
        let mut lease = Some(lease);
        while !bytes.is_empty() {
            let room = self.room(bytes.len()).await?;
            let piece = bytes.split_to(room);
            // The last piece leaves last: it carries the lease of all.
            let chunk = match lease.take_if(|_| bytes.is_empty()) {
                Some(lease) => Chunk::leased(piece, lease),
                None => Chunk::shared(piece),
            };
            self.send(chunk)?;
        }
        self.finish(&Status::OK);
        Ok(())
    }

    /// Ends the answer. An error in the middle of a message resets the stream: the client must not take a part for the whole.
    pub fn finish(self, status: &Status) {
        self.exchange.finish(status);
    }

    /// Breaks the stream off.
    pub fn reset(self) {
        self.exchange.reset();
    }
}

/// A lease of the answers' holder for a call that has asked for no room.
pub(super) async fn lease(exchange: &Exchange, bytes: u64) -> Result<Admitted, Gone> {
    exchange.set_leased();
    let answers = &exchange.conn().answers;
    match answers.try_take(bytes) {
        Some(lease) => Ok(lease),
        None => Ok(answers.take(bytes).map_err(|_| Gone)?.await),
    }
}
