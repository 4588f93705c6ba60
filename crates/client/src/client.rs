//! The client and its unary calls.

use std::{sync::Arc, time::Duration};

use http::HeaderValue;
use tidegate_api::{
    BoxFuture, Code, Error, Kv, Message, Method,
    pb::{
        AlarmRequest, AlarmResponse, CompactionRequest, CompactionResponse, DefragmentRequest, DefragmentResponse,
        DeleteRangeRequest, DeleteRangeResponse, HashKvRequest, HashKvResponse, LeaseGrantRequest, LeaseGrantResponse,
        LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseTimeToLiveRequest,
        LeaseTimeToLiveResponse, MemberListRequest, MemberListResponse, PutRequest, PutResponse, RangeRequest,
        RangeResponse, StatusRequest, StatusResponse, TxnRequest, TxnResponse,
    },
    wire,
};

use crate::{
    Config, ConfigError, Stream,
    call::{self, Head},
    connection::Connections,
    frame,
};

/// A client of a store. Cheap to clone; the clones share its connections.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    connections: Connections,
    token: Option<HeaderValue>,
    call_timeout: Option<Duration>,
    message_max: usize,
}

impl Client {
    /// Connects when the first call needs it, inside a tokio runtime.
    ///
    /// # Errors
    /// When an endpoint or the token cannot be used.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        let token = config.token.as_deref().map(HeaderValue::from_str).transpose().map_err(|_| ConfigError::Token)?;
        Ok(Self(Arc::new(Inner {
            connections: Connections::new(config)?,
            token,
            call_timeout: config.call_timeout,
            message_max: config.message_bytes_max,
        })))
    }

    /// Calls any unary method. Repeated on another connection when the attempt certainly had no effect, or when the
    /// method only reads and the member is unavailable; at most once for each endpoint and one more.
    ///
    /// # Errors
    /// What the store answered; code Unavailable when no member could be reached; [`Error::ContextDeadlineExceeded`]
    /// after the timeout of a call.
    pub async fn unary<Q: Message, A: Message + Default>(&self, method: Method, request: &Q) -> Result<A, Error> {
        let message = frame::encode(request)?;
        let attempts = async {
            let mut left = self.0.connections.endpoints();
            loop {
                let connection = self.0.connections.ready().await?;
                let head = self.head(method, self.0.call_timeout);
                match call::unary(connection, head, message.clone(), self.0.message_max).await {
                    Ok(answer) => return wire::decode(answer),
                    Err(failed) if left > 0 && (failed.unseen || repeatable(method, &failed.error)) => left -= 1,
                    Err(failed) => return Err(failed.error),
                }
            }
        };
        match self.0.call_timeout {
            Some(timeout) => {
                tokio::time::timeout(timeout, attempts).await.unwrap_or(Err(Error::ContextDeadlineExceeded))
            }
            None => attempts.await,
        }
    }

    /// Calls a unary method once, and gives the code of an error as it came: it may be another than that of the row that
    /// the error's text has.
    ///
    /// # Errors
    /// As [`Client::unary`], but for the timeout, which is the server's to tell.
    pub async fn unary_once<Q: Message, A: Message + Default>(
        &self,
        method: Method,
        request: &Q,
    ) -> Result<A, (Code, Error)> {
        let coded = |error: Error| (error.code(), error);
        let message = frame::encode(request).map_err(coded)?;
        let connection = self.0.connections.ready().await.map_err(coded)?;
        let head = self.head(method, self.0.call_timeout);
        match call::unary(connection, head, message, self.0.message_max).await {
            Ok(answer) => wire::decode(answer).map_err(coded),
            Err(failed) => Err((failed.code, failed.error)),
        }
    }

    /// Opens a call with messages both ways, on one of the client's connections.
    ///
    /// # Errors
    /// As [`Client::unary`].
    pub async fn stream<Q: Message, A: Message + Default>(&self, method: Method) -> Result<Stream<Q, A>, Error> {
        let connection = self.0.connections.ready().await?;
        Stream::open(connection, &self.head(method, None), self.0.message_max).map_err(|failed| failed.error)
    }

    fn head(&self, method: Method, timeout: Option<Duration>) -> Head<'_> {
        Head { method, token: self.0.token.as_ref(), timeout }
    }
}

/// Whether a second attempt cannot do harm and may help.
fn repeatable(method: Method, error: &Error) -> bool {
    let reads = matches!(
        method,
        Method::Range
            | Method::MemberList
            | Method::LeaseTimeToLive
            | Method::LeaseLeases
            | Method::Status
            | Method::HashKv
    );
    reads && error.code() == Code::Unavailable
}

macro_rules! calls {
    ($($name:ident $method:ident $request:ident $response:ident;)*) => {
        /// The services beside keys and watches.
        impl Client {
            $(
                /// # Errors
                /// As [`Client::unary`].
                pub async fn $name(&self, request: $request) -> Result<$response, Error> {
                    self.unary(Method::$method, &request).await
                }
            )*
        }
    };
}

calls! {
    compact Compact CompactionRequest CompactionResponse;
    lease_grant LeaseGrant LeaseGrantRequest LeaseGrantResponse;
    lease_revoke LeaseRevoke LeaseRevokeRequest LeaseRevokeResponse;
    lease_time_to_live LeaseTimeToLive LeaseTimeToLiveRequest LeaseTimeToLiveResponse;
    lease_leases LeaseLeases LeaseLeasesRequest LeaseLeasesResponse;
    member_list MemberList MemberListRequest MemberListResponse;
    alarm Alarm AlarmRequest AlarmResponse;
    status Status StatusRequest StatusResponse;
    hash_kv HashKv HashKvRequest HashKvResponse;
    defragment Defragment DefragmentRequest DefragmentResponse;
}

impl Kv for Client {
    fn range(&self, request: RangeRequest) -> BoxFuture<'_, Result<RangeResponse, Error>> {
        Box::pin(async move { self.unary(Method::Range, &request).await })
    }

    fn put(&self, request: PutRequest) -> BoxFuture<'_, Result<PutResponse, Error>> {
        Box::pin(async move { self.unary(Method::Put, &request).await })
    }

    fn delete_range(&self, request: DeleteRangeRequest) -> BoxFuture<'_, Result<DeleteRangeResponse, Error>> {
        Box::pin(async move { self.unary(Method::DeleteRange, &request).await })
    }

    fn txn(&self, request: TxnRequest) -> BoxFuture<'_, Result<TxnResponse, Error>> {
        Box::pin(async move { self.unary(Method::Txn, &request).await })
    }
}
