//! Specs in the store: pages of them, and changes guarded by the version of the whole configuration.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tidegate_api::{
    Error, KeyRange, Kv,
    pb::{
        Compare, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, RangeResponse, RequestOp, TxnRequest,
        TxnResponse,
        compare::{CompareTarget, TargetUnion},
        request_op::Request,
        response_op::Response,
    },
};
use tidegate_base::clock;

pub const OBJECTS_PREFIX: &str = "/config/objects/";
/// Raised by every change, as decimal text.
pub const VERSION_KEY: &str = "/config/version";

/// Changes of one node that wait for their turn; each holds a lease for its text.
const WRITERS_MAX: usize = 1024;
/// And so long.
const TURN_MAX: Duration = Duration::from_secs(5);
/// Tries of one change while others win.
const TRIES_MAX: u32 = 16;
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

/// Changes of this node go one after another: all of them raise the same version, so that of two at a time one is in vain.
/// Other nodes are met by trying again.
#[derive(Default)]
struct Writers {
    turn: tokio::sync::Mutex<()>,
    waiting: AtomicUsize,
}

impl Store {
    pub fn new(kv: Arc<dyn Kv>) -> Self {
        Self(kv, Arc::default())
    }

    /// The object and the version of the configuration at one revision.
    ///
    /// # Errors
    /// What the store answered.
    pub async fn get(&self, name: &str) -> Result<(u64, Option<Stored>), Error> {
        let (version, object) = self.read(name).await?;
        Ok((version_of(version.as_ref()), object))
    }

    /// One page of the objects. All pages of a listing read at the revision of the first.
    ///
    /// # Errors
    /// What the store answered: `Compacted` when the listing took too long.
    pub async fn list(&self, page: Page) -> Result<Listed, Error> {
        let (start, end) = KeyRange::prefix(OBJECTS_PREFIX).into_request();
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
            (revision, Some(version_of(version.kvs.first())), objects)
        } else {
            (page.revision, None, self.0.range(range).await?)
        };
        let bytes: usize = answer.kvs.iter().map(|pair| pair.value.len()).sum();
        let limit = if bytes > PAGE_BYTES { limit / 2 } else { limit * 2 };
        let last = answer.kvs.last().map(|pair| Bytes::copy_from_slice(&pair.key));
        let next = last.filter(|_| answer.more).map(|last| Page { revision, after: Some(last), limit });
        let objects = answer.kvs.iter().filter_map(|pair| {
            let name = name_of(&pair.key)?;
            // A slice of the answer would keep all of it in memory.
            Some((name.to_owned(), Bytes::copy_from_slice(&pair.value)))
        });
        Ok(Listed { objects: objects.collect(), revision, version, next })
    }

    /// Puts or, with `None`, deletes the object `name` as `decide` says about what is stored, and returns the new version.
    /// `decide` runs again whenever somebody else was faster.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub async fn change(
        &self,
        name: &str,
        mut decide: impl FnMut(Option<&Stored>) -> Result<Option<Bytes>, Refusal> + Send,
    ) -> Result<u64, ChangeError> {
        let _turn = self.1.enter().await.ok_or(ChangeError::Contended)?;
        for tries in 0..TRIES_MAX {
            pause(tries).await;
            let (version, object) = self.read(name).await.map_err(ChangeError::Store)?;
            let decided = decide(object.as_ref()).map_err(ChangeError::Refused)?;
            let key = object_key(name);
            let guard = unchanged(key.clone(), object.map_or(0, |object| object.mod_revision));
            let op = match decided {
                Some(value) => Request::RequestPut(PutRequest { key, value, ..PutRequest::default() }),
                None => Request::RequestDeleteRange(DeleteRangeRequest { key, ..DeleteRangeRequest::default() }),
            };
            if let Some(version) = self.write(version, Some(guard), op).await? {
                return Ok(version);
            }
        }
        Err(ChangeError::Contended)
    }

    /// Deletes every object, and returns the new version and their number.
    ///
    /// # Errors
    /// As [`Store::change`].
    pub async fn delete_all(&self) -> Result<u64, ChangeError> {
        let (key, range_end) = KeyRange::prefix(OBJECTS_PREFIX).into_request();
        let _turn = self.1.enter().await.ok_or(ChangeError::Contended)?;
        for tries in 0..TRIES_MAX {
            pause(tries).await;
            let (version, _) = self.read("").await.map_err(ChangeError::Store)?;
            let delete = DeleteRangeRequest { key: key.clone(), range_end: range_end.clone(), prev_kv: false };
            if let Some(version) = self.write(version, None, Request::RequestDeleteRange(delete)).await? {
                return Ok(version);
            }
        }
        Err(ChangeError::Contended)
    }

    /// The pair of the version, and the object.
    async fn read(&self, name: &str) -> Result<(Option<KeyValue>, Option<Stored>), Error> {
        let object = RangeRequest { key: object_key(name), ..RangeRequest::default() };
        let txn = TxnRequest { success: vec![read_op(VERSION_KEY), range_op(object)], ..TxnRequest::default() };
        let [version, object] = ranges(self.0.txn(txn).await?)?;
        let object = object.kvs.into_iter().next();
        let object = object.map(|pair| Stored { text: pair.value, mod_revision: pair.mod_revision });
        Ok((version.kvs.into_iter().next(), object))
    }

    async fn write(
        &self,
        version: Option<KeyValue>,
        guard: Option<Compare>,
        op: Request,
    ) -> Result<Option<u64>, ChangeError> {
        let next = version_of(version.as_ref()).saturating_add(1);
        let same_version = unchanged(VERSION_KEY.into(), version.map_or(0, |pair| pair.mod_revision));
        let raise = PutRequest { key: VERSION_KEY.into(), value: next.to_string().into(), ..PutRequest::default() };
        let success = [op, Request::RequestPut(raise)].map(|request| RequestOp { request: Some(request) });
        let compare = guard.into_iter().chain([same_version]).collect();
        let txn = TxnRequest { compare, success: success.into(), failure: Vec::new() };
        let answer = self.0.txn(txn).await.map_err(ChangeError::Store)?;
        Ok(answer.succeeded.then_some(next))
    }
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

/// Name of the object that is kept at `key`.
pub(super) fn name_of(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.strip_prefix(OBJECTS_PREFIX.as_bytes())?).ok()
}

/// What is no number counts as 0: the next change puts it right.
pub(super) fn version_of(pair: Option<&KeyValue>) -> u64 {
    pair.and_then(|pair| std::str::from_utf8(&pair.value).ok()?.trim().parse().ok()).unwrap_or(0)
}

fn object_key(name: &str) -> Bytes {
    format!("{OBJECTS_PREFIX}{name}").into()
}

fn read_op(key: &'static str) -> RequestOp {
    range_op(RangeRequest { key: key.into(), ..RangeRequest::default() })
}

fn range_op(range: RangeRequest) -> RequestOp {
    RequestOp { request: Some(Request::RequestRange(range)) }
}

fn unchanged(key: Bytes, mod_revision: i64) -> Compare {
    let target_union = Some(TargetUnion::ModRevision(mod_revision));
    Compare { key, target: CompareTarget::Mod.into(), target_union, ..Compare::default() }
}

/// The two ranges that a transaction of ours answers.
fn ranges(answer: TxnResponse) -> Result<[RangeResponse; 2], Error> {
    let ranges = answer.responses.into_iter().filter_map(|op| match op.response {
        Some(Response::ResponseRange(range)) => Some(range),
        _ => None,
    });
    let ranges: Vec<_> = ranges.collect();
    ranges.try_into().map_err(|_| Error::undecodable("a transaction of two ranges answered something else"))
}
