//! Changes: one transaction each, of the object, the version and the history.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::Bytes;
use tidegate_api::{
    Error,
    pb::{KeyValue, TxnRequest},
};
use tidegate_base::clock;

use super::{
    ChangeError, OBJECTS_PREFIX, Refusal, Store, Stored, VERSION_KEY,
    history::{self, HISTORY_BYTES_MAX, Version},
    object_key,
    ops::{delete_op, delete_span, number_of, put_op, ranges, read_op, same, unchanged},
    stored,
};
use crate::objects::SYSTEM_KINDS;

/// Changes of one node that wait for their turn; each holds a lease for its text.
const WRITERS_MAX: usize = 1024;
/// And so long.
const TURN_MAX: Duration = Duration::from_secs(5);
/// Tries of one change while others win.
const TRIES_MAX: u32 = 16;
/// Who changes an object, how, and of which kind it is: what its history tells.
#[derive(Debug, Clone, Copy)]
pub struct Author<'a> {
    pub who: &'a str,
    pub action: &'static str,
    pub kind: &'a str,
}

/// A change that has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// Version of the configuration that it made.
    pub version: u64,
    /// Revision of the object before; 0 when there was none.
    pub before: i64,
    pub revision: i64,
}

/// Changes of this node go one after another: all of them raise the same version, so that of two at a time one is in vain.
/// Other nodes are met by trying again.
#[derive(Default)]
pub(super) struct Writers {
    turn: tokio::sync::Mutex<()>,
    waiting: AtomicUsize,
}

/// What a change starts from.
struct Read {
    version: Option<KeyValue>,
    object: Option<Stored>,
    versions: Vec<KeyValue>,
    total: Option<KeyValue>,
}

impl Store {
    /// Puts or, with `None`, deletes the object `name` as `decide` says about what is stored. `decide` runs again whenever
    /// somebody else was faster.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub async fn change(
        &self,
        name: &str,
        author: Author<'_>,
        mut decide: impl FnMut(Option<&Stored>) -> Result<Option<Bytes>, Refusal> + Send,
    ) -> Result<Changed, ChangeError> {
        let _turn = self.1.enter().await.ok_or(ChangeError::Contended)?;
        for tries in 0..TRIES_MAX {
            pause(tries).await;
            let read = self.read(name).await.map_err(ChangeError::Store)?;
            let text = decide(read.object.as_ref()).map_err(ChangeError::Refused)?;
            let version = number_of(read.version.as_ref()).saturating_add(1);
            let before = read.object.map_or(0, |object| object.mod_revision);
            let key = object_key(name);
            let compare = vec![
                unchanged(key.clone(), before),
                same(VERSION_KEY, read.version.as_ref()),
                same(history::TOTAL, read.total.as_ref()),
            ];
            let new = Version::new(version, &author, text.as_ref());
            let total = number_of(read.total.as_ref());
            let (mut success, total) = history::write_ops(name, &new, text.as_ref(), &read.versions, total);
            success.push(put_op(VERSION_KEY, version.to_string()));
            success.push(text.map_or_else(|| delete_op(key.clone()), |text| put_op(key.clone(), text)));
            let txn = TxnRequest { compare, success, failure: Vec::new() };
            let answer = self.kv().txn(txn).await.map_err(ChangeError::Store)?;
            if answer.succeeded {
                // The change stands: old versions that stay a little longer are no reason to call it failed.
                if total > HISTORY_BYTES_MAX.0
                    && let Err(error) = self.trim(HISTORY_BYTES_MAX.0).await
                {
                    tracing::warn!(%error, "old versions of objects are dropped later");
                }
                let revision = answer.header.map_or(0, |header| header.revision);
                return Ok(Changed { version, before, revision });
            }
        }
        Err(ChangeError::Contended)
    }

    /// Deletes every object but those of the system, at once, and returns the new version. Their versions stay.
    ///
    /// # Errors
    /// As [`Store::change`].
    pub async fn delete_all(&self) -> Result<Changed, ChangeError> {
        let _turn = self.1.enter().await.ok_or(ChangeError::Contended)?;
        for tries in 0..TRIES_MAX {
            pause(tries).await;
            let read = TxnRequest { success: vec![read_op(VERSION_KEY)], ..TxnRequest::default() };
            let answer = self.kv().txn(read).await.map_err(ChangeError::Store)?;
            let [found] = ranges(answer).map_err(ChangeError::Store)?;
            let version = number_of(found.kvs.first()).saturating_add(1);
            let mut success = vec![put_op(VERSION_KEY, version.to_string())];
            success.extend(spans_between(&SYSTEM_KINDS).map(|(from, to)| delete_span(from, to)));
            let compare = vec![same(VERSION_KEY, found.kvs.first())];
            let txn = TxnRequest { compare, success, failure: Vec::new() };
            let answer = self.kv().txn(txn).await.map_err(ChangeError::Store)?;
            if answer.succeeded {
                let revision = answer.header.map_or(0, |header| header.revision);
                return Ok(Changed { version, before: 0, revision });
            }
        }
        Err(ChangeError::Contended)
    }

    async fn read(&self, name: &str) -> Result<Read, Error> {
        let [versions, total] = history::read_ops(name);
        let success = vec![read_op(VERSION_KEY), read_op(object_key(name)), versions, total];
        let answer = self.kv().txn(TxnRequest { success, ..TxnRequest::default() }).await?;
        let [version, object, versions, total] = ranges(answer)?;
        Ok(Read {
            version: version.kvs.into_iter().next(),
            object: stored(object),
            versions: versions.kvs,
            total: total.kvs.into_iter().next(),
        })
    }
}

/// The keys of objects around those with the given names, which are sorted.
fn spans_between<'a>(names: &'a [&str]) -> impl Iterator<Item = (Bytes, Bytes)> + 'a {
    let key = |name: &str, behind: &str| Bytes::from(format!("{OBJECTS_PREFIX}{name}{behind}"));
    // The slash at the end of the prefix, raised by one.
    let end = Bytes::from(format!("{}0", OBJECTS_PREFIX.trim_end_matches('/')));
    let froms = std::iter::once(key("", "")).chain(names.iter().map(move |name| key(name, "\0")));
    let tos = names.iter().map(move |name| key(name, "")).chain([end]);
    froms.zip(tos)
}

impl Writers {
    /// Waits for its turn; `None` when too many wait already, or the store lets those before it wait.
    async fn enter(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        struct Waits<'a>(&'a AtomicUsize);
        impl Drop for Waits<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waits = Waits(&self.waiting);
        if before >= WRITERS_MAX {
            return None;
        }
        tokio::time::timeout(TURN_MAX, self.turn.lock()).await.ok()
    }
}

/// Lets other nodes finish, for a time that differs from theirs: the clocks of two nodes never stand at the same nanosecond.
async fn pause(tries: u32) {
    if tries > 0 {
        let longest = 1u64 << tries.min(6);
        let jitter = u64::from(clock::wall().subsec_nanos()) % (longest * 1000);
        tokio::time::sleep(Duration::from_micros(longest * 500 + jitter)).await;
    }
}
