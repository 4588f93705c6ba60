//! Watchers that stop reading while large events pass.

use tidegate_api::pb::WatchCreateRequest;
use tidegate_client::{Client, Config};
use tokio::sync::watch;

use crate::store::{MIB, Store, put, value};

const WATCHERS: usize = 20;
const EVENTS: u64 = 400;

#[test]
fn twenty_watchers_half_of_them_stopped_see_400_events_of_1_mib_once_each() {
    let store = Store::start();
    store.runtime.block_on(async {
        let (all_written, written) = watch::channel(false);
        let mut readers = Vec::new();
        for number in 0..WATCHERS {
            // Small windows: a reader that stops is felt at once.
            let config = Config { stream_window: 65_535, connection_window: 65_535, ..Config::default() };
            let client = store.server.client_with(config);
            let stops = number % 2 == 1;
            readers.push(tokio::spawn(read(client, stops, written.clone())));
        }
        let writer = store.client();
        for number in 0..EVENTS {
            put(&writer, "big", value(number, MIB)).await;
        }
        all_written.send(true).unwrap();
        for reader in readers {
            reader.await.unwrap();
        }
    });
    store.check_peak("20 watchers of 400 events of 1 MiB");
}

/// Reads every event; a reader that stops does so after the tenth, until everything is written.
async fn read(client: Client, stops: bool, mut written: watch::Receiver<bool>) {
    let request = WatchCreateRequest { key: "big".into(), start_revision: 1, ..Default::default() };
    let mut watcher = client.watcher(request).await.unwrap();
    let mut seen = 0u64;
    while seen < EVENTS {
        if stops && seen >= 10 {
            written.wait_for(|all| *all).await.unwrap();
        }
        let answer = watcher.next().await.expect("the watch goes on").unwrap();
        assert!(!answer.canceled, "{answer:?}");
        for event in answer.events {
            let kv = event.kv.unwrap();
            // The first write is revision 2; each event follows the one before it.
            assert_eq!(kv.mod_revision, i64::try_from(seen).unwrap() + 2);
            assert!(kv.value == value(seen, MIB), "event {seen} has another value");
            seen += 1;
        }
    }
}
