//! Watches of the store in memory: a cursor over its events.

use tidegate_api::{
    BoxFuture, Error, KeyRange, Watch, WatchStream,
    pb::{Event, WatchCreateRequest, WatchResponse},
};

use crate::MapStore;

struct Cursor {
    store: MapStore,
    range: KeyRange,
    prev_kv: bool,
    /// First revision not told yet.
    next: i64,
    generation: u64,
    ended: bool,
}

impl Watch for MapStore {
    fn watch(&self, request: WatchCreateRequest) -> BoxFuture<'_, Result<Box<dyn WatchStream>, Error>> {
        Box::pin(async move {
            let state = self.lock();
            state.check_up()?;
            let next = if request.start_revision > 0 { request.start_revision } else { state.revision() + 1 };
            let range = KeyRange::new(request.key, request.range_end);
            let (prev_kv, generation) = (request.prev_kv, state.generation);
            let cursor = Cursor { store: self.clone(), range, prev_kv, next, generation, ended: false };
            Ok(Box::new(cursor) as Box<dyn WatchStream>)
        })
    }
}

impl Cursor {
    /// What can be told now, or `None` when there is nothing new.
    fn poll(&mut self) -> Option<WatchResponse> {
        let state = self.store.lock();
        let header = state.header();
        if state.generation != self.generation {
            self.ended = true;
            return Some(WatchResponse { header, canceled: true, ..WatchResponse::default() });
        }
        if self.next < state.compacted {
            self.ended = true;
            let compact_revision = state.compacted;
            return Some(WatchResponse { header, canceled: true, compact_revision, ..WatchResponse::default() });
        }
        let told = |event: &&Event| {
            event.kv.as_ref().is_some_and(|kv| kv.mod_revision >= self.next && self.range.contains(&kv.key))
        };
        let mut events: Vec<_> = state.events.iter().filter(told).cloned().collect();
        if !self.prev_kv {
            events.iter_mut().for_each(|event| event.prev_kv = None);
        }
        self.next = self.next.max(state.revision() + 1);
        (!events.is_empty()).then(|| WatchResponse { header, events, ..WatchResponse::default() })
    }
}

impl WatchStream for Cursor {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<WatchResponse, Error>>> {
        Box::pin(async move {
            if self.ended {
                return None;
            }
            loop {
                let shared = std::sync::Arc::clone(&self.store.0);
                let changed = shared.changed.notified();
                tokio::pin!(changed);
                // Registered before the look, so that a change between the two is not missed.
                changed.as_mut().enable();
                if let Some(response) = self.poll() {
                    return Some(Ok(response));
                }
                changed.await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use tidegate_api::{
        Kv,
        pb::{
            Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
            compare::{CompareTarget, TargetUnion},
            request_op::Request,
        },
    };

    use super::*;

    async fn open(store: &MapStore, start_revision: i64) -> Box<dyn WatchStream> {
        let (key, range_end) = KeyRange::prefix("k").into_request();
        store.watch(WatchCreateRequest { key, range_end, start_revision, ..Default::default() }).await.unwrap()
    }

    fn keys(response: &WatchResponse) -> Vec<&str> {
        let keys = response.events.iter().filter_map(|event| event.kv.as_ref());
        keys.map(|kv| std::str::from_utf8(&kv.key).unwrap()).collect()
    }

    #[tokio::test]
    async fn a_watch_tells_the_past_and_then_the_present() {
        let store = MapStore::new();
        store.write("k1", "a");
        store.write("other", "b");
        store.write("k2", "c");
        let mut watch = open(&store, 3).await;
        assert_eq!(keys(&watch.next().await.unwrap().unwrap()), ["k2"]);
        let (told, ()) = tokio::join!(watch.next(), async { store.write("k3", "d") });
        assert_eq!(keys(&told.unwrap().unwrap()), ["k3"]);
        store.compact(5);
        store.cancel_watches();
        assert!(watch.next().await.unwrap().unwrap().canceled);
        assert!(watch.next().await.is_none());
        let mut late = open(&store, 2).await;
        assert_eq!(late.next().await.unwrap().unwrap().compact_revision, 5);
    }

    #[tokio::test]
    async fn transactions_share_a_revision_and_reads_see_the_past() {
        let store = MapStore::new();
        let put = |key: &'static str, value: &'static str| RequestOp {
            request: Some(Request::RequestPut(PutRequest {
                key: key.into(),
                value: value.into(),
                ..Default::default()
            })),
        };
        let absent = Compare {
            key: "k1".into(),
            target: CompareTarget::Mod.into(),
            target_union: Some(TargetUnion::ModRevision(0)),
            ..Default::default()
        };
        let request =
            TxnRequest { compare: vec![absent], success: vec![put("k1", "a"), put("k2", "b")], failure: Vec::new() };
        assert!(store.txn(request.clone()).await.unwrap().succeeded);
        assert_eq!(store.revision(), 2);
        assert!(!store.txn(request).await.unwrap().succeeded);
        assert_eq!(store.revision(), 2, "nothing was written");
        let gone = store.delete_range(DeleteRangeRequest { key: "k1".into(), ..Default::default() }).await.unwrap();
        assert_eq!((gone.deleted, store.revision()), (1, 3));
        let read = |revision| {
            let (key, range_end) = KeyRange::prefix("k").into_request();
            store.range(RangeRequest { key, range_end, revision, limit: 1, ..Default::default() })
        };
        let (now, past) = (read(0).await.unwrap(), read(2).await.unwrap());
        assert_eq!((now.count, now.more, past.count, past.more), (1, false, 2, true));
        assert_eq!(past.kvs[0].value, "a");
        store.compact(3);
        assert_eq!(read(2).await.unwrap_err(), Error::Compacted);
        assert_eq!(read(9).await.unwrap_err(), Error::FutureRev);
        store.set_down(Some(Error::NoLeader));
        assert_eq!(read(0).await.unwrap_err(), Error::NoLeader);
    }
}
