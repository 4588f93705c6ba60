//! The history of objects.

use std::sync::Arc;

use tidegate_testkit::MapStore;

use super::*;

fn author(action: &'static str) -> Author<'static> {
    Author { who: "ada", action, kind: "K" }
}

async fn put(store: &Store, name: &str, text: &str) -> Changed {
    let text = Bytes::copy_from_slice(text.as_bytes());
    store.change(name, author("update"), |_| Ok(Some(text.clone()))).await.unwrap()
}

fn total(map: &MapStore) -> u64 {
    let total = map.value("/config/history/total").unwrap();
    std::str::from_utf8(&total).unwrap().parse().unwrap()
}

/// Keys of the history, and what they should cost together.
async fn kept(store: &Store) -> (usize, usize, usize, u64) {
    let count = async |prefix: &str| store.kv().range(ops::prefix_range(prefix, 0)).await.unwrap().kvs;
    let (of, order) = (count("/config/history/of/").await, count("/config/history/order/").await);
    let texts = count("/config/history/text/").await;
    let bytes: usize = texts.iter().map(|pair| pair.value.len()).sum();
    (of.len(), order.len(), texts.len(), (bytes + 512 * order.len()) as u64)
}

#[tokio::test]
async fn the_last_ten_versions_are_kept_with_the_change_itself() {
    let map = MapStore::new();
    let store = Store::new(Arc::new(map.clone()));
    for n in 0..15 {
        let changed = put(&store, "a", &format!("text {n}")).await;
        assert_eq!((changed.version, changed.revision), (n + 1, map.revision()));
    }
    put(&store, "a2", "other").await;
    let versions = store.versions("a").await.unwrap();
    let numbers: Vec<u64> = versions.iter().map(|version| version.version).collect();
    assert_eq!(numbers, [15, 14, 13, 12, 11, 10, 9, 8, 7, 6]);
    let newest = &versions[0];
    assert_eq!((newest.who.as_str(), newest.kind.as_str(), newest.bytes), ("ada", "K", 7));
    assert_eq!(newest.revision, map.revision() - 1);
    assert!(newest.time.ends_with('Z'));
    assert_eq!(store.version("a", 6).await.unwrap().unwrap().1, "text 5");
    assert_eq!(store.version("a", 5).await.unwrap(), None);
    assert_eq!(store.version("a2", 15).await.unwrap(), None, "of another object");
    let (of, order, texts, cost) = kept(&store).await;
    assert_eq!((of, order, texts, cost), (11, 11, 11, total(&map)));
}

#[tokio::test]
async fn a_deleted_object_keeps_its_versions() {
    let map = MapStore::new();
    let store = Store::new(Arc::new(map.clone()));
    let first = put(&store, "a", "text").await;
    let gone = store.change("a", author("delete"), |_| Ok(None)).await.unwrap();
    assert_eq!((gone.before, gone.version), (first.revision, 2));
    let versions = store.versions("a").await.unwrap();
    let told: Vec<_> = versions.iter().map(|version| (version.action.as_str(), version.bytes)).collect();
    assert_eq!(told, [("delete", 0), ("update", 4)]);
    assert_eq!(store.version("a", 2).await.unwrap().unwrap().1, "");
    assert_eq!(store.version("a", 1).await.unwrap().unwrap().1, "text");
    store.delete_all().await.unwrap();
    assert_eq!(store.versions("a").await.unwrap().len(), 2);
}

#[tokio::test]
async fn the_oldest_of_all_go_when_there_is_too_much() {
    let map = MapStore::new();
    let store = Store::new(Arc::new(map.clone()));
    for n in 0..200 {
        put(&store, &format!("o{n:03}"), &"x".repeat(488)).await;
    }
    assert_eq!(total(&map), 200_000);
    store.trim(50_000).await.unwrap();
    let (of, order, texts, cost) = kept(&store).await;
    assert_eq!((of, order, texts, cost, total(&map)), (50, 50, 50, 50_000, 50_000));
    assert!(store.versions("o149").await.unwrap().is_empty());
    assert_eq!(store.versions("o150").await.unwrap().len(), 1);
    assert_eq!(map.value("/config/objects/o000").unwrap().len(), 488, "objects stay");
    // A total that somebody else has written is put right when nothing is left to drop.
    map.write("/config/history/total", "99999999999");
    store.trim(10).await.unwrap();
    assert_eq!((kept(&store).await.0, total(&map)), (0, 0));
}

#[tokio::test]
async fn more_than_the_limit_is_trimmed_by_the_change_that_passes_it() {
    let map = MapStore::new();
    let store = Store::new(Arc::new(map.clone()));
    put(&store, "old", "text").await;
    map.write("/config/history/total", &HISTORY_BYTES_MAX.0.to_string());
    put(&store, "new", "text").await;
    assert!(store.versions("old").await.unwrap().is_empty());
    assert_eq!(store.versions("new").await.unwrap().len(), 1);
    assert!(total(&map) <= HISTORY_BYTES_MAX.0);
}

#[tokio::test]
async fn a_deletion_of_all_spares_the_system() {
    let map = MapStore::new();
    let store = Store::new(Arc::new(map.clone()));
    let names =
        ["A", "RawConfigTrafficController", "ServiceRegistry", "ServiceRegistry2", "TrafficController", "z", "ö"];
    for name in names {
        put(&store, name, "text").await;
    }
    store.delete_all().await.unwrap();
    let left: Vec<&str> =
        names.into_iter().filter(|name| map.value(&format!("{OBJECTS_PREFIX}{name}")).is_some()).collect();
    assert_eq!(left, ["RawConfigTrafficController", "ServiceRegistry", "TrafficController"]);
    assert!(map.value("/config/version").is_some());
}
