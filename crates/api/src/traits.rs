//! How the gateway reaches a store: implemented in process by the member and over gRPC by the client.

use std::{future::Future, pin::Pin};

use crate::{
    Error,
    pb::{
        DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse, TxnRequest,
        TxnResponse, WatchCreateRequest, WatchResponse,
    },
};

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The key-value service. A dropped future leaves a write undecided: it may still take effect.
pub trait Kv: Send + Sync + 'static {
    fn range(&self, request: RangeRequest) -> BoxFuture<'_, Result<RangeResponse, Error>>;
    fn put(&self, request: PutRequest) -> BoxFuture<'_, Result<PutResponse, Error>>;
    fn delete_range(&self, request: DeleteRangeRequest) -> BoxFuture<'_, Result<DeleteRangeResponse, Error>>;
    fn txn(&self, request: TxnRequest) -> BoxFuture<'_, Result<TxnResponse, Error>>;
}

pub trait Watch: Send + Sync + 'static {
    /// Opens one watch on a stream of its own. Returns once the store has answered that the watch exists; that answer
    /// is consumed.
    ///
    /// # Errors
    /// What the store refused it with; [`Error::Compacted`] when it starts before the last compaction, if the store says
    /// so at once.
    fn watch(&self, request: WatchCreateRequest) -> BoxFuture<'_, Result<Box<dyn WatchStream>, Error>>;
}

/// The answers of one watch. Dropping it ends the watch.
pub trait WatchStream: Send {
    /// The next answer: events, progress, or the end of the watch with `canceled` set. `None` after the end; an error
    /// is the last item. Cancel safe.
    fn next(&mut self) -> BoxFuture<'_, Option<Result<WatchResponse, Error>>>;
}
