//! Specs in the store: pages of them, changes guarded by the version of the whole configuration, and the versions before.

mod change;
mod history;
pub(crate) mod ops;

use std::sync::Arc;

use bytes::Bytes;
use tidegate_api::{
    Error, KeyRange, Kv,
    pb::{RangeRequest, RangeResponse, TxnRequest},
};

use self::{
    change::Writers,
    ops::{number_of, range_op, ranges, read_op},
};

pub use change::{Author, Changed};
pub use history::{HISTORY_BYTES_MAX, VERSIONS_MAX, Version};

pub const OBJECTS_PREFIX: &str = "/config/objects/";
/// Raised by every change, as decimal text.
pub const VERSION_KEY: &str = "/config/version";

/// Objects in one page at most, and the bytes that a page aims at: the limit of a request counts pairs only, so it is
/// halved or doubled by what the last page was.
const PAGE_OBJECTS_MAX: i64 = 64;
const PAGE_BYTES: usize = 256 << 10;

/// An object as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub text: Bytes,
    mod_revision: i64,
}

/// Why a change does not happen, decided by whoever asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    Exists,
    NotFound,
    /// The change contradicts what is stored.
    Conflict(String),
    /// No memory is free to look at what is stored.
    NoRoom,
}

#[derive(Debug, PartialEq, Eq)]
pub enum ChangeError {
    Refused(Refusal),
    /// Others changed the configuration each time.
    Contended,
    /// The store did not answer, or not well. The change may have happened.
    Store(Error),
}

/// Where a listing stands.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// 0 before the first page.
    revision: i64,
    after: Option<Bytes>,
    limit: i64,
}

/// Objects of one page, in the order of their names.
#[derive(Debug, Default)]
pub struct Listed {
    pub objects: Vec<(String, Bytes)>,
    /// Revision at which the whole listing reads.
    pub revision: i64,
    /// Version of the configuration, on the first page.
    pub version: Option<u64>,
    /// How to go on; `None` after the last page.
    pub next: Option<Page>,
}

/// The configuration in a store. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<dyn Kv>, Arc<Writers>);

impl Store {
    pub fn new(kv: Arc<dyn Kv>) -> Self {
        Self(kv, Arc::default())
    }

    /// The object and the version of the configuration at one revision.
    ///
    /// # Errors
    /// What the store answered.
    pub async fn get(&self, name: &str) -> Result<(u64, Option<Stored>), Error> {
        let object = RangeRequest { key: object_key(name), ..RangeRequest::default() };
        let reads = vec![read_op(VERSION_KEY), range_op(object)];
        let [version, object] = ranges(self.0.txn(TxnRequest { success: reads, ..TxnRequest::default() }).await?)?;
        Ok((number_of(version.kvs.first()), stored(object)))
    }

    /// One page of the objects. All pages of a listing read at the revision of the first.
    ///
    /// # Errors
    /// What the store answered: `Compacted` when the listing took too long.
    pub async fn list(&self, page: Page) -> Result<Listed, Error> {
        self.list_below(OBJECTS_PREFIX, page).await
    }

    /// As [`Store::list`], of what is kept below another prefix.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub async fn list_below(&self, prefix: &str, page: Page) -> Result<Listed, Error> {
        let (start, end) = KeyRange::prefix(Bytes::copy_from_slice(prefix.as_bytes())).into_request();
        let key = page.after.map_or(start, |after| {
            let mut behind = after.to_vec();
            behind.push(0);
            behind.into()
        });
        let limit = page.limit.clamp(1, PAGE_OBJECTS_MAX);
        let range = RangeRequest { key, range_end: end, limit, revision: page.revision, ..RangeRequest::default() };
        let (revision, version, answer) = if page.revision == 0 {
            let txn = TxnRequest { success: vec![read_op(VERSION_KEY), range_op(range)], ..TxnRequest::default() };
            let answer = self.0.txn(txn).await?;
            let revision = answer.header.as_ref().map_or(0, |header| header.revision);
            let [version, objects] = ranges(answer)?;
            (revision, Some(number_of(version.kvs.first())), objects)
        } else {
            (page.revision, None, self.0.range(range).await?)
        };
        let bytes: usize = answer.kvs.iter().map(|pair| pair.value.len()).sum();
        let limit = if bytes > PAGE_BYTES { limit / 2 } else { limit * 2 };
        let last = answer.kvs.last().map(|pair| Bytes::copy_from_slice(&pair.key));
        let next = last.filter(|_| answer.more).map(|last| Page { revision, after: Some(last), limit });
        let objects = answer.kvs.iter().filter_map(|pair| {
            let name = std::str::from_utf8(pair.key.strip_prefix(prefix.as_bytes())?).ok()?;
            // A slice of the answer would keep all of it in memory.
            Some((name.to_owned(), Bytes::copy_from_slice(&pair.value)))
        });
        Ok(Listed { objects: objects.collect(), revision, version, next })
    }

    pub(crate) fn kv(&self) -> &dyn Kv {
        &*self.0
    }
}

/// Name of the object that is kept at `key`.
pub(super) fn name_of(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.strip_prefix(OBJECTS_PREFIX.as_bytes())?).ok()
}

fn stored(range: RangeResponse) -> Option<Stored> {
    let pair = range.kvs.into_iter().next();
    pair.map(|pair| Stored { text: pair.value, mod_revision: pair.mod_revision })
}

fn object_key(name: &str) -> Bytes {
    format!("{OBJECTS_PREFIX}{name}").into()
}

#[cfg(test)]
mod tests;
