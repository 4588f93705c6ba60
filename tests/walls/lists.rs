//! A list of 300 MB to a slow reader, and lists that are sorted by their values.

use bytes::Bytes;
use tidegate_api::{
    KeyRange, Kv, Message,
    pb::{
        RangeRequest, RangeResponse,
        range_request::{SortOrder, SortTarget},
    },
};
use tidegate_tests::{raw, setting};

use crate::store::{MIB, Store, put, value};

const VALUES: u64 = 300;

/// Bytes a second from `TIDEGATE_LIST_RATE_MIB`, else 4 MiB: more than a minute.
#[test]
fn a_list_of_300_mib_read_at_4_mib_a_second_stays_within_the_budget() {
    let rate = setting("TIDEGATE_LIST_RATE_MIB").unwrap_or(4) * MIB;
    let store = Store::start();
    store.runtime.block_on(async {
        let client = store.client();
        for number in 0..VALUES {
            put(&client, format!("list/{number:04}"), value(number, MIB)).await;
        }
        let message = read_slowly(&store.server.address(), rate).await;
        let answer = RangeResponse::decode(message).unwrap();
        assert_eq!(answer.count, 300);
        assert!(!answer.more);
        for (number, kv) in (0..VALUES).zip(&answer.kvs) {
            assert_eq!(kv.key, format!("list/{number:04}"));
            assert!(kv.value == value(number, MIB), "value {number} is another");
        }
        assert_eq!(answer.kvs.len(), 300);
    });
    store.check_peak("list of 300 MiB");
}

/// Values of a megabyte that agree but for their ends: they must be read to be compared. Six clients list them at once.
#[test]
fn lists_sorted_by_large_values_stay_within_the_budget() {
    const VALUES: u64 = 48;
    let store = Store::start();
    let (key, range_end) = KeyRange::prefix("sorted/").into_request();
    let request = RangeRequest {
        key,
        range_end,
        sort_order: SortOrder::Descend.into(),
        sort_target: SortTarget::Value.into(),
        ..Default::default()
    };
    store.runtime.block_on(async {
        let client = store.client();
        // Some of them equal: these come by key.
        let ending = |number: u64| number.wrapping_mul(7919) % 40;
        for number in 0..VALUES {
            let mut value = value(0, MIB).to_vec();
            value.extend_from_slice(&ending(number).to_be_bytes());
            put(&client, format!("sorted/{number:04}"), value.into()).await;
        }
        let mut wanted: Vec<u64> = (0..VALUES).collect();
        wanted.sort_by_key(|number| (std::cmp::Reverse(ending(*number)), *number));
        let lists: Vec<_> = (0..6)
            .map(|_| {
                let (client, request) = (store.client(), request.clone());
                tokio::spawn(async move { client.range(request).await.unwrap() })
            })
            .collect();
        for list in lists {
            let answer = list.await.unwrap();
            let keys: Vec<_> = answer.kvs.iter().map(|kv| kv.key.clone()).collect();
            let wanted: Vec<_> = wanted.iter().map(|number| Bytes::from(format!("sorted/{number:04}"))).collect();
            assert_eq!(keys, wanted);
            assert!(answer.kvs.iter().all(|kv| kv.value.len() == MIB + 8));
        }
    });
    store.check_peak("lists of 48 MiB, sorted by value");
}

/// Memory for sorting is there for two answers at a time. Those who have it and take nothing lose it to others, and go on
/// afterwards where they were.
#[test]
fn who_takes_nothing_does_not_keep_others_from_sorting() {
    let store = Store::start();
    let (key, range_end) = KeyRange::prefix("sorted/").into_request();
    let request = RangeRequest { key, range_end, sort_target: SortTarget::Value.into(), ..Default::default() };
    store.runtime.block_on(async {
        let client = store.client();
        for number in 0..500u64 {
            put(&client, format!("sorted/{number:04}"), value(number, 4 << 10)).await;
        }
        let mut idle = Vec::new();
        for _ in 0..3 {
            idle.push(send(&store.server.address(), &request).await);
        }
        let list = client.range(request).await.unwrap();
        assert!(list.kvs.is_sorted_by(|one, other| one.value < other.value));
        assert_eq!(list.kvs.len(), 500);
        for mut body in idle {
            let answer = RangeResponse::decode(raw::read(&mut body, usize::MAX).await.unwrap()).unwrap();
            assert!(answer.kvs == list.kvs);
        }
    });
    store.check_peak("sorted lists that nobody takes");
}

/// Lists everything over a connection of its own, and opens the windows at `rate` bytes a second.
async fn read_slowly(address: &str, rate: usize) -> Bytes {
    let (key, range_end) = KeyRange::prefix("list/").into_request();
    let mut body = send(address, &RangeRequest { key, range_end, ..Default::default() }).await;
    raw::read(&mut body, rate / 20).await.unwrap()
}

/// Asks over a connection of its own, and takes nothing yet.
async fn send(address: &str, request: &RangeRequest) -> h2::RecvStream {
    let mut requests = raw::connect(address, raw::WINDOW).await.unwrap();
    raw::ask(&mut requests, "/etcdserverpb.KV/Range", request).await.unwrap()
}
