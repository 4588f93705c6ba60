//! Keeping leases alive.

use tidegate_api::{
    Code, Error, Method,
    pb::{LeaseKeepAliveRequest, LeaseKeepAliveResponse},
};

use crate::{Client, Stream};

/// One stream on which leases are kept alive: the server answers each request, in order.
pub struct KeepAlive(Stream<LeaseKeepAliveRequest, LeaseKeepAliveResponse>);

impl Client {
    /// # Errors
    /// As [`Client::stream`].
    pub async fn keep_alive(&self) -> Result<KeepAlive, Error> {
        self.stream(Method::LeaseKeepAlive).await.map(KeepAlive)
    }
}

impl KeepAlive {
    /// Renews a lease. The answer's TTL is 0 when the lease is gone. Not cancel safe: the next answer would be this
    /// request's.
    ///
    /// # Errors
    /// When the stream has ended, which is how a server without a leader answers.
    pub async fn renew(&mut self, lease: i64) -> Result<LeaseKeepAliveResponse, Error> {
        let sent = self.0.send(&LeaseKeepAliveRequest { id: lease }).await;
        match self.0.next().await? {
            Some(answer) => Ok(answer),
            None => Err(sent.err().unwrap_or_else(|| Error::other(Code::Unavailable, "the stream has ended"))),
        }
    }
}
