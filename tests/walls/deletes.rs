//! One deletion of a million keys, with a kill in the middle.

use std::time::Duration;

use bytes::Bytes;
use tidegate_api::{
    KeyRange, Kv,
    pb::{DeleteRangeRequest, PutRequest, RequestOp, TxnRequest, request_op::Request},
};
use tidegate_client::Client;
use tidegate_tests::setting;

use crate::store::{Store, count, put};

const OPS: usize = 128;

/// Keys from `TIDEGATE_KEYS`, else a million.
#[test]
fn a_deletion_of_a_million_keys_happens_whole_or_not_at_all() {
    let keys: usize = setting("TIDEGATE_KEYS").unwrap_or(1_000_000);
    let mut store = Store::start();
    let mut keep = 0;
    store.runtime.block_on(async {
        load(&store.client(), keys).await;
        keep = put(&store.client(), "mass", Bytes::from_static(b"before the range")).await;
    });
    store.check_peak("load of a million keys");
    let (key, range_end) = KeyRange::prefix("mass/").into_request();
    let mut deleted = false;
    // Each kill later than the last, until the deletion was durable; what is applied by then, is in the middle of it.
    for delay in [5, 20, 50, 100, 200, 400, 800, 2_000, 30_000] {
        let client = store.client();
        let request = DeleteRangeRequest { key: key.clone(), range_end: range_end.clone(), prev_kv: false };
        let answered = store.runtime.block_on(async {
            tokio::time::timeout(Duration::from_millis(delay), client.delete_range(request)).await.is_ok()
        });
        store.check_peak("deletion of a million keys");
        store.crash();
        let client = store.client();
        let (left, revision) = store.runtime.block_on(count(&client, key.clone(), range_end.clone()));
        store.check_peak("restart in a deletion");
        eprintln!("killed after {delay} ms: {left} keys left at revision {revision}, answered: {answered}");
        let whole = i64::try_from(keys).unwrap();
        deleted = match left {
            0 => {
                assert_eq!(revision, keep + 1, "the deletion is one revision");
                true
            }
            _ => {
                assert_eq!((left, revision), (whole, keep), "a part of the deletion is visible");
                assert!(!answered, "an acknowledged deletion is gone");
                false
            }
        };
        if deleted {
            break;
        }
    }
    assert!(deleted, "the deletion never took effect");
    let client = store.client();
    let (left, _) = store.runtime.block_on(count(&client, Bytes::from_static(b"mass"), Bytes::from_static(b"mass0")));
    assert_eq!(left, 1, "the key beside the range is still there");
}

async fn load(client: &Client, keys: usize) {
    let mut waiting = tokio::task::JoinSet::new();
    for first in (0..keys).step_by(OPS) {
        let put = |number| {
            let request = PutRequest {
                key: format!("mass/{number:012}").into(),
                value: Bytes::from_static(b"a value of a few dozen bytes, as objects' states are"),
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
