//! Custom data: records that users keep in the store, for filters that look something up there.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;

/// Where records begin in the store: a record's key is `/custom-data/KIND/ID`.
pub const CUSTOM_DATA_PREFIX: &str = "/custom-data/";

/// Why a record cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomDataError(pub String);

impl fmt::Display for CustomDataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CustomDataError {}

/// How much of what there is already a follower is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Every record, then every change.
    Records,
    /// Changes only: for who reads records one at a time and keeps some of them.
    Changes,
}

/// Records below [`CUSTOM_DATA_PREFIX`]. Keys and prefixes are told without it.
pub trait CustomData: Send + Sync + 'static {
    /// One record as the store has it now; `None`: there is none.
    fn get<'a>(&'a self, key: &'a str) -> LocalBoxFuture<'a, Result<Option<Bytes>, CustomDataError>>;

    /// Tells `follower` of the records whose keys begin with `prefix`, from a thread of its own, until the guard is dropped
    /// or nobody but this has the follower. Starts at once and never gives up: while the store does not answer, the follower is told nothing.
    fn follow(&self, prefix: &str, extent: Extent, follower: Arc<dyn Follower>) -> Following;
}

/// Who is told of records. Calls come one after another, in the order of the store; none may block for long.
///
/// ```text
///   reset ─► put* ─► synced ─► (put | delete)*  ─► reset … when the store could not tell all that happened meanwhile
/// ```
/// With [`Extent::Changes`] nothing is put between `reset` and `synced`.
pub trait Follower: Send + Sync + 'static {
    /// What was told may be wrong: all there is follows. What was used so far can be used until `synced`.
    fn reset(&self);
    fn put(&self, key: &str, value: Bytes);
    fn delete(&self, key: &str);
    /// All there is has been told.
    fn synced(&self);
}

/// Ends what it stands for when it is dropped.
pub struct Following(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Following {
    pub fn new(end: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(end)))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end();
        }
    }
}
