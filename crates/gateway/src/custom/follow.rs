//! Custom data in the store, for filters: records one at a time, and followers that are told of changes.
//!
//! ```text
//!   get      ──────────────────────────────► range of one key, linearizable
//!   follow   list in pages at one revision ─► reset, put…, synced ─► watch from the next revision ─► put, delete
//!                       ▲                                                   │ compacted        │ lost
//!                       └───────────────────────────────────────────────────┘     watch from where it stood
//! ```
//! Followers run on one thread, which only waits for the store and hands over; what they keep is their own to bound.

use std::{
    sync::{Arc, Weak},
    thread,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use tidegate_api::{
    Error, KeyRange, Kv, Watch,
    pb::{KeyValue, RangeRequest, WatchCreateRequest, event::EventType},
};
use tidegate_base::{Budget, Holder, Lease};
use tidegate_pipeline::{CUSTOM_DATA_PREFIX, CustomData, CustomDataError, Extent, Follower, Following};
use tokio::{runtime::Handle, sync::oneshot};

/// Pause after the store failed, doubled up to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Records in one page at most, and the bytes that a page aims at: the limit of a request counts pairs only, so it is halved
/// or doubled by what the last page was.
const PAGE_RECORDS_MAX: i64 = 64;
const PAGE_BYTES: usize = 256 << 10;

/// Records in a store. When it is dropped, nobody is told of anything any more.
pub struct StoreData {
    source: Arc<Source>,
    runtime: Handle,
    /// Ends the thread when it goes.
    _alive: oneshot::Sender<()>,
}

struct Source {
    kv: Arc<dyn Kv>,
    watch: Arc<dyn Watch>,
    budget: Budget,
}

impl Source {
    /// Pays for pairs while followers are told of them.
    fn pay<'a>(&self, pairs: impl Iterator<Item = &'a KeyValue>) -> Option<Lease> {
        let bytes = pairs.map(|pair| pair.key.len() + pair.value.len() + size_of::<KeyValue>()).sum::<usize>();
        self.budget.try_lease(Holder::Gateway, bytes as u64)
    }
}

impl StoreData {
    /// Starts the thread of followers.
    ///
    /// # Errors
    /// When the system has none.
    pub fn start(kv: Arc<dyn Kv>, watch: Arc<dyn Watch>, budget: Budget) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (alive, gone) = oneshot::channel();
        // Only ever ends by its sender's end.
        let run = move || drop(runtime.block_on(gone));
        thread::Builder::new().name("custom-data".to_owned()).spawn(run)?;
        Ok(Self { source: Arc::new(Source { kv, watch, budget }), runtime: handle, _alive: alive })
    }
}

impl StoreData {
    pub(crate) fn kv(&self) -> Arc<dyn Kv> {
        Arc::clone(&self.source.kv)
    }

    /// As [`CustomData::follow`], of what is below another prefix, for as long as there is a `follower`; keys are told without
    /// the prefix.
    pub(crate) fn follow_below(&self, root: &'static str, follower: &Arc<dyn Follower>) -> Following {
        let (source, follower) = (Arc::clone(&self.source), Arc::downgrade(follower));
        let extent = Extent::Records;
        self.start_following(Follows { source, prefix: root.to_owned(), root, extent, follower })
    }

    fn start_following(&self, follows: Follows) -> Following {
        let task = self.runtime.spawn(follows.for_ever());
        Following::new(move || task.abort())
    }
}

impl CustomData for StoreData {
    fn get<'a>(&'a self, key: &'a str) -> LocalBoxFuture<'a, Result<Option<Bytes>, CustomDataError>> {
        Box::pin(async move {
            let key = format!("{CUSTOM_DATA_PREFIX}{key}").into();
            let answer = self.source.kv.range(RangeRequest { key, ..RangeRequest::default() }).await;
            let answer = answer.map_err(|error| CustomDataError(error.to_string()))?;
            Ok(answer.kvs.into_iter().next().map(|pair| pair.value))
        })
    }

    fn follow(&self, prefix: &str, extent: Extent, follower: Arc<dyn Follower>) -> Following {
        let prefix = format!("{CUSTOM_DATA_PREFIX}{prefix}");
        // What the follower keeps goes with the filter, not when its task is next looked at.
        let follower = Arc::downgrade(&follower);
        let source = Arc::clone(&self.source);
        self.start_following(Follows { source, prefix, root: CUSTOM_DATA_PREFIX, extent, follower })
    }
}

/// Why a follower begins again.
enum Lost {
    /// The store does not know any more what has changed.
    Compacted,
    Other(String),
}

impl From<Error> for Lost {
    fn from(error: Error) -> Self {
        if error == Error::Compacted { Lost::Compacted } else { Lost::Other(error.to_string()) }
    }
}

struct Follows {
    source: Arc<Source>,
    prefix: String,
    /// What followers are not told of a key.
    root: &'static str,
    extent: Extent,
    follower: Weak<dyn Follower>,
}

impl Follows {
    async fn for_ever(self) {
        // The revision up to which the follower knows everything.
        let (mut known, mut pause) = (None, RETRY.0);
        loop {
            let before = known;
            match self.once(&mut known).await {
                Lost::Compacted => known = None,
                Lost::Other(error) => tracing::warn!(prefix = self.prefix, error, "what the store has is not followed"),
            }
            if known.is_some() && known != before {
                pause = RETRY.0;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY.1);
        }
    }

    /// Lists unless that was done, and follows until something is lost.
    async fn once(&self, known: &mut Option<i64>) -> Lost {
        let revision = match *known {
            Some(revision) => revision,
            None => match self.list().await {
                Ok(revision) => *known.insert(revision),
                Err(lost) => return lost,
            },
        };
        match self.watch(revision, known).await {
            Ok(()) => Lost::Other("the store closed the watch".to_owned()),
            Err(lost) => lost,
        }
    }

    /// Tells what there is, and at which revision.
    async fn list(&self) -> Result<i64, Lost> {
        let (mut key, range_end) = KeyRange::prefix(self.prefix.clone()).into_request();
        let (mut revision, mut limit) = (0, 1);
        let count_only = self.extent == Extent::Changes;
        self.tell(|follower| follower.reset());
        loop {
            let (from, range_end) = (key.clone(), range_end.clone());
            let range = RangeRequest { key: from, range_end, limit, revision, count_only, ..RangeRequest::default() };
            let answer = match self.source.kv.range(range).await {
                // Fewer of them may find room.
                Err(Error::TooManyRequests) if limit > 1 => {
                    limit /= 2;
                    continue;
                }
                answer => answer?,
            };
            let lease = self.source.pay(answer.kvs.iter());
            if lease.is_none() && limit > 1 {
                limit /= 2;
                continue;
            }
            let _lease = lease.ok_or(Error::TooManyRequests)?;
            if revision == 0 {
                revision = answer.header.as_ref().map_or(0, |header| header.revision);
            }
            let bytes: usize = answer.kvs.iter().map(|pair| pair.value.len()).sum();
            limit = if bytes > PAGE_BYTES { limit / 2 } else { limit * 2 }.clamp(1, PAGE_RECORDS_MAX);
            answer.kvs.iter().for_each(|pair| self.put(pair));
            match answer.kvs.last().filter(|_| answer.more) {
                Some(last) => key = [&last.key[..], &[0]].concat().into(),
                None => break,
            }
        }
        self.tell(|follower| follower.synced());
        Ok(revision)
    }

    async fn watch(&self, revision: i64, known: &mut Option<i64>) -> Result<(), Lost> {
        let (key, range_end) = KeyRange::prefix(self.prefix.clone()).into_request();
        let start_revision = revision + 1;
        let request = WatchCreateRequest { key, range_end, start_revision, ..WatchCreateRequest::default() };
        let mut stream = self.source.watch.watch(request).await?;
        while let Some(answer) = stream.next().await {
            let answer = answer?;
            let lease = self.source.pay(answer.events.iter().filter_map(|event| event.kv.as_ref()));
            // It is watched again from where it stood.
            let _lease = lease.ok_or(Error::TooManyRequests)?;
            for event in &answer.events {
                let Some(pair) = &event.kv else { continue };
                match event.r#type() {
                    EventType::Put => self.put(pair),
                    EventType::Delete => {
                        if let Some(key) = self.name_of(pair) {
                            self.tell(|follower| follower.delete(key));
                        }
                    }
                }
                *known = (*known).max(Some(pair.mod_revision));
            }
            if answer.compact_revision > 0 {
                return Err(Lost::Compacted);
            }
            if answer.canceled {
                return Err(Lost::Other(answer.cancel_reason));
            }
        }
        Ok(())
    }

    fn tell(&self, what: impl FnOnce(&dyn Follower)) {
        if let Some(follower) = self.follower.upgrade() {
            what(&*follower);
        }
    }

    fn put(&self, pair: &KeyValue) {
        if let Some(key) = self.name_of(pair) {
            // A slice of the answer would keep all of it in memory.
            self.tell(|follower| follower.put(key, Bytes::copy_from_slice(&pair.value)));
        }
    }

    /// The record's key as followers know it.
    fn name_of<'a>(&self, pair: &'a KeyValue) -> Option<&'a str> {
        std::str::from_utf8(pair.key.strip_prefix(self.root.as_bytes())?).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{
            Condvar, Mutex,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use tidegate_api::{
        BoxFuture,
        pb::{
            DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeResponse, TxnRequest, TxnResponse,
        },
    };
    use tidegate_base::{Limits, Profile};
    use tidegate_testkit::MapStore;

    use super::*;

    /// What it was told.
    #[derive(Default)]
    struct Told {
        state: Mutex<State>,
        changed: Condvar,
    }

    #[derive(Default)]
    struct State {
        records: BTreeMap<String, Bytes>,
        resets: usize,
        synced: bool,
    }

    impl Told {
        fn change(&self, change: impl FnOnce(&mut State)) {
            change(&mut self.state.lock().unwrap());
            self.changed.notify_all();
        }

        fn wait(&self, what: &str, good: impl Fn(&State) -> bool) {
            let state = self.state.lock().unwrap();
            let (state, out) =
                self.changed.wait_timeout_while(state, Duration::from_secs(30), |state| !good(state)).unwrap();
            assert!(!out.timed_out(), "{what}: {:?} after {} resets", state.records, state.resets);
        }

        fn has(&self, pairs: &[(&str, &str)]) {
            let pairs: BTreeMap<String, Bytes> = pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), Bytes::copy_from_slice(value.as_bytes())))
                .collect();
            self.wait(&format!("{pairs:?}"), |state| state.synced && state.records == pairs);
        }
    }

    impl Follower for Told {
        fn reset(&self) {
            self.change(|state| {
                *state = State { resets: state.resets + 1, ..State::default() };
            });
        }
        fn put(&self, key: &str, value: Bytes) {
            self.change(|state| drop(state.records.insert(key.to_owned(), value)));
        }
        fn delete(&self, key: &str) {
            self.change(|state| drop(state.records.remove(key)));
        }
        fn synced(&self) {
            self.change(|state| state.synced = true);
        }
    }

    fn budget() -> Budget {
        Budget::new(Limits::new(Limits::DEFAULT, Profile::Server).unwrap())
    }

    fn data(store: &MapStore) -> StoreData {
        StoreData::start(Arc::new(store.clone()), Arc::new(store.clone()), budget()).unwrap()
    }

    #[test]
    fn a_follower_knows_what_the_store_has_through_losses_and_compaction() {
        let store = MapStore::new();
        for number in 0..200 {
            store.write(&format!("/custom-data/kind/{number:03}"), "x");
        }
        store.write("/custom-data/other/a", "x");
        let (data, told) = (data(&store), Arc::new(Told::default()));
        let following = data.follow("kind/", Extent::Records, Arc::<Told>::clone(&told));
        told.wait("the listing", |state| state.synced && state.records.len() == 200);
        for number in 0..200 {
            store.remove(&format!("/custom-data/kind/{number:03}"));
        }
        store.write("/custom-data/kind/a", "1");
        told.has(&[("kind/a", "1")]);
        // A watch that was lost goes on where it stood.
        store.set_down(Some(Error::undecodable("asked for by the test")));
        store.set_down(None);
        store.write("/custom-data/kind/b", "2");
        told.has(&[("kind/a", "1"), ("kind/b", "2")]);
        assert_eq!(told.state.lock().unwrap().resets, 1);
        // One that is behind a compaction lists anew.
        store.set_down(Some(Error::undecodable("asked for by the test")));
        store.remove("/custom-data/kind/a");
        store.write("/custom-data/kind/c", "3");
        store.compact(store.revision());
        store.set_down(None);
        told.has(&[("kind/b", "2"), ("kind/c", "3")]);
        assert_eq!(told.state.lock().unwrap().resets, 2);
        drop(following);
        drop(data);
        // Its task is gone, sooner or later.
        while Arc::weak_count(&told) > 0 {
            thread::yield_now();
        }
    }

    #[test]
    fn who_wants_changes_is_told_of_nothing_else() {
        let store = MapStore::new();
        store.write("/custom-data/kind/a", "1");
        let (data, told) = (data(&store), Arc::new(Told::default()));
        let _following = data.follow("kind/", Extent::Changes, Arc::<Told>::clone(&told));
        told.has(&[]);
        store.write("/custom-data/kind/b", "2");
        told.has(&[("kind/b", "2")]);
        let got = |key: &'static str| futures_util::FutureExt::now_or_never(data.get(key)).unwrap();
        assert_eq!(got("kind/a"), Ok(Some(Bytes::from_static(b"1"))));
        assert_eq!(got("kind/c"), Ok(None));
        store.set_down(Some(Error::undecodable("asked for by the test")));
        assert!(got("kind/a").is_err());
    }

    /// A store that has room for `room` bytes of values in one answer.
    struct Narrow {
        store: MapStore,
        room: usize,
        largest: AtomicUsize,
    }

    impl Kv for Narrow {
        fn range(&self, request: RangeRequest) -> BoxFuture<'_, Result<RangeResponse, Error>> {
            Box::pin(async move {
                let answer = self.store.range(request).await?;
                let bytes = answer.kvs.iter().map(|pair| pair.value.len()).sum::<usize>();
                self.largest.fetch_max(answer.kvs.len(), Ordering::Relaxed);
                if bytes > self.room { Err(Error::TooManyRequests) } else { Ok(answer) }
            })
        }
        fn put(&self, request: PutRequest) -> BoxFuture<'_, Result<PutResponse, Error>> {
            self.store.put(request)
        }
        fn delete_range(&self, request: DeleteRangeRequest) -> BoxFuture<'_, Result<DeleteRangeResponse, Error>> {
            self.store.delete_range(request)
        }
        fn txn(&self, request: TxnRequest) -> BoxFuture<'_, Result<TxnResponse, Error>> {
            self.store.txn(request)
        }
    }

    #[test]
    fn pages_are_as_small_as_the_store_and_the_budget_have_room() {
        let store = MapStore::new();
        let large = "x".repeat(100 << 10);
        let records = |count: usize, text: &str| {
            for number in 0..count {
                store.write(&format!("/custom-data/kind/{number:03}"), text);
            }
        };
        let check = |room: usize, budget: Budget, count: usize| {
            let narrow = Arc::new(Narrow { store: store.clone(), room, largest: AtomicUsize::new(0) });
            let data = StoreData::start(narrow.clone(), Arc::new(store.clone()), budget.clone()).unwrap();
            let told = Arc::new(Told::default());
            let following = data.follow("kind/", Extent::Records, Arc::<Told>::clone(&told));
            told.wait("the listing", |state| state.synced && state.records.len() == count);
            assert_eq!(told.state.lock().unwrap().resets, 1, "it was listed at one go");
            drop(following);
            narrow.largest.load(Ordering::Relaxed)
        };
        records(40, &large);
        assert!(check(150 << 10, budget(), 40) <= 2, "the first page must not be a large one");
        let full = budget();
        let free = full.room(Holder::Gateway);
        let _rest = full.try_lease(Holder::Gateway, free - (150 << 10)).unwrap();
        assert!(check(usize::MAX, full, 40) <= 4);
        records(200, "x");
        assert!(check(usize::MAX, budget(), 200) > 16, "pages grow");
    }
}
