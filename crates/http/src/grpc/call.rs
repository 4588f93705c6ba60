use std::{
    future::poll_fn,
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use tidegate_base::{Lease, clock};

use super::{Accept, Chunk, Gone, Incoming, Message, Metadata, Outgoing, Status, framed, message::Progress};
use crate::{conn::Peer, http2::Exchange};

/// Result of waiting for a message that need not come.
pub type NextMessage = Result<Option<Message>, Status>;

/// One call, before it is answered. Dropped unanswered, the client gets `Internal`.
pub struct Call {
    exchange: Rc<Exchange>,
    metadata: Metadata,
    /// Of a long token.
    _lease: Option<Lease>,
}

impl Call {
    pub(crate) fn new(exchange: Rc<Exchange>, metadata: Metadata, lease: Option<Lease>) -> Self {
        Self { exchange, metadata, _lease: lease }
    }

    /// `/package.Service/Method`: both names are there and not empty.
    pub fn path(&self) -> &str {
        &self.metadata.path
    }

    /// The name of the service and the name of the method.
    pub fn names(&self) -> (&str, &str) {
        let names = self.path().strip_prefix('/').and_then(|path| path.rsplit_once('/'));
        names.unwrap_or_default()
    }

    /// The token of authentication: header `token`, else `authorization`. Source: etcd, `auth`
    /// (`rpctypes.TokenFieldNameGRPC`).
    pub fn token(&self) -> Option<&str> {
        self.metadata.token.as_deref()
    }

    /// The client wants an error when there is no leader: header `hasleader`. Source: etcd,
    /// `rpctypes.MetadataRequireLeaderKey`.
    pub fn requires_leader(&self) -> bool {
        self.metadata.requires_leader
    }

    /// Header `client-api-version`.
    pub fn client_api_version(&self) -> Option<&str> {
        self.metadata.client_api_version.as_deref()
    }

    /// When the client gives up. The call is answered `DeadlineExceeded` then, and its future dropped.
    pub fn deadline(&self) -> Option<Instant> {
        self.exchange.deadline()
    }

    /// Time until the deadline; `otherwise` when the client gave none.
    pub fn time_left(&self, otherwise: Duration) -> Duration {
        self.deadline().map_or(otherwise, |deadline| deadline.saturating_duration_since(clock::now()))
    }

    pub fn peer(&self) -> &Peer {
        &self.exchange.conn().peer
    }

    /// Number of the connection, unique in the life of the process.
    pub fn connection(&self) -> u64 {
        self.exchange.conn().id
    }

    /// The one message of a unary call, or the first of a client that may send more. Waits for its lease, at most 5 s,
    /// then for its bytes, at most 2 s for each frame. Cancel safe only together with the call.
    ///
    /// # Errors
    /// What to answer: too large, compressed, malformed, cut short or missing, too many requests.
    pub async fn message(&mut self, accept: Accept) -> Result<Message, Status> {
        let mut assembly = super::Assembly::new(accept);
        match poll_fn(|cx| assembly.poll_next(&self.exchange, cx)).await? {
            Progress::Message(message) => Ok(message),
            Progress::End => Err(Status::CUT_SHORT),
        }
    }

    /// Answers with one message, given without its prefix. For small ones: above [`super::CHUNK_MAX`] produce it in pieces
    /// through [`Call::stream`]. Waits for a lease of the answers; at once while there is room.
    ///
    /// # Errors
    /// [`Gone`] when the client went away.
    pub async fn reply(self, message: Bytes) -> Result<(), Gone> {
        self.reply_with(message.len(), |out| out.extend_from_slice(&message)).await
    }

    /// As [`Call::reply`], encoding in place: `encode` appends exactly `len` bytes.
    ///
    /// # Errors
    /// As there.
    pub async fn reply_with(self, len: usize, encode: impl FnOnce(&mut BytesMut)) -> Result<(), Gone> {
        let total = super::PREFIX_LEN + len;
        let lease = super::outgoing::lease(&self.exchange, total as u64).await?;
        let bytes = framed(len, encode);
        if self.exchange.has_room(total)? {
            return self.exchange.reply(Chunk::leased(bytes, lease));
        }
        // Queued in `h2` it would wait for the client's window without anybody who looks after it.
        self.stream().reply(bytes, lease).await
    }

    /// Ends the call with a status and no answer.
    pub fn fail(self, status: &Status) {
        self.exchange.finish(status);
    }

    /// For an answer of several messages, or of one large one, to a call whose message was read.
    pub fn stream(self) -> Outgoing {
        Outgoing::new(self.exchange)
    }

    /// For calls in which both sides go on sending.
    pub fn split(self, accept: Accept) -> (Incoming, Outgoing) {
        (Incoming::new(Rc::clone(&self.exchange), accept), Outgoing::new(self.exchange))
    }
}
