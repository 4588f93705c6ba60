//! A million keys that go in one revision, by a deletion or with their lease, with kills in the middle and a watcher.

use std::time::Duration;

use bytes::Bytes;
use tidegate_api::{
    KeyRange, Kv,
    pb::{
        DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest, RequestOp, TxnRequest,
        WatchCreateRequest, request_op::Request,
    },
};
use tidegate_client::Client;
use tidegate_tests::{long, setting};
use tokio::task::JoinHandle;

use crate::store::{Store, count, put};

const OPS: usize = 128;
const LEASE: i64 = 77;

/// What takes the keys away.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Deletion,
    Revocation,
}

/// Keys from `TIDEGATE_KEYS`, else a million.
#[test]
fn a_deletion_of_a_million_keys_happens_whole_or_not_at_all() {
    goes_whole(End::Deletion, setting("TIDEGATE_KEYS").unwrap_or(1_000_000));
}

/// Keys from `TIDEGATE_LEASE_KEYS`, else a fifth of a million; all of it with `TIDEGATE_LONG`.
#[test]
fn a_revocation_of_a_lease_with_many_keys_happens_whole_or_not_at_all() {
    let keys = if long() { 1_000_000 } else { 200_000 };
    goes_whole(End::Revocation, setting("TIDEGATE_LEASE_KEYS").unwrap_or(keys));
}

fn goes_whole(end: End, keys: usize) {
    let mut store = Store::start();
    let mut keep = 0;
    store.runtime.block_on(async {
        let client = store.client();
        let lease = if end == End::Revocation { LEASE } else { 0 };
        if lease != 0 {
            client.lease_grant(LeaseGrantRequest { ttl: 86_400, id: lease }).await.unwrap();
        }
        load(&client, keys, lease).await;
        keep = put(&client, "mass", Bytes::from_static(b"before the range")).await;
    });
    store.check_peak("load of the keys");
    let (key, range_end) = KeyRange::prefix("mass/").into_request();
    let mut gone = false;
    // Each kill later than the last, until it was durable; what is applied by then, is in the middle of it.
    for delay in [5, 20, 50, 100, 200, 400, 800, 2_000, 30_000] {
        let client = store.client();
        let watcher = store.runtime.block_on(watch(store.client(), keep + 1, keys));
        let answered = store.runtime.block_on(async {
            let go = async {
                match end {
                    End::Deletion => {
                        let (key, range_end) = (key.clone(), range_end.clone());
                        client.delete_range(DeleteRangeRequest { key, range_end, prev_kv: false }).await.is_ok()
                    }
                    End::Revocation => client.lease_revoke(LeaseRevokeRequest { id: LEASE }).await.is_ok(),
                }
            };
            tokio::time::timeout(Duration::from_millis(delay), go).await == Ok(true)
        });
        if answered {
            // Told while it happened: every event once.
            store.runtime.block_on(watcher).unwrap().expect("the watch is served");
        }
        store.check_peak("the keys go");
        store.crash();
        let client = store.client();
        let (left, revision) = store.runtime.block_on(count(&client, key.clone(), range_end.clone()));
        store.check_peak("restart while keys go");
        eprintln!("killed after {delay} ms: {left} keys left at revision {revision}, answered: {answered}");
        let whole = i64::try_from(keys).unwrap();
        gone = match left {
            0 => {
                assert_eq!(revision, keep + 1, "it is one revision");
                true
            }
            _ => {
                assert_eq!((left, revision), (whole, keep), "a part of it is visible");
                assert!(!answered, "what was acknowledged is undone");
                false
            }
        };
        if gone {
            break;
        }
    }
    assert!(gone, "it never took effect");
    store.runtime.block_on(async {
        // Read from the past: every event once, too.
        watch(store.client(), keep + 1, keys).await.await.unwrap().expect("the watch is served");
        let client = store.client();
        let (left, _) = count(&client, Bytes::from_static(b"mass"), Bytes::from_static(b"mass0")).await;
        assert_eq!(left, 1, "the key beside the range is still there");
    });
    store.check_peak("a watcher of all that went");
}

/// Watches the keys from `revision` on, until each of them was deleted in it. An error is the server's end.
async fn watch(client: Client, revision: i64, keys: usize) -> JoinHandle<Result<(), tidegate_api::Error>> {
    let (key, range_end) = KeyRange::prefix("mass/").into_request();
    let request = WatchCreateRequest { key, range_end, start_revision: revision, ..Default::default() };
    let mut watcher = client.watcher(request).await.unwrap();
    tokio::spawn(async move {
        let mut seen = 0;
        while seen < keys {
            let Some(answer) = watcher.next().await else { return Err(tidegate_api::Error::Stopped) };
            for event in answer?.events {
                let kv = event.kv.unwrap();
                assert_eq!(kv.mod_revision, revision);
                assert_eq!(kv.key, format!("mass/{seen:012}"), "each key once, in order");
                seen += 1;
            }
        }
        Ok(())
    })
}

async fn load(client: &Client, keys: usize, lease: i64) {
    let mut waiting = tokio::task::JoinSet::new();
    for first in (0..keys).step_by(OPS) {
        let put = |number| {
            let request = PutRequest {
                key: format!("mass/{number:012}").into(),
                value: Bytes::from_static(b"a value of a few dozen bytes, as objects' states are"),
                lease,
                ..Default::default()
            };
            RequestOp { request: Some(Request::RequestPut(request)) }
        };
        let success = (first..keys.min(first + OPS)).map(put).collect();
        let client = client.clone();
        waiting.spawn(async move { client.txn(TxnRequest { success, ..Default::default() }).await.unwrap() });
        if waiting.len() >= 16 {
            waiting.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(done) = waiting.join_next().await {
        done.unwrap();
    }
}
