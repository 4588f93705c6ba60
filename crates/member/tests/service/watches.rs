//! Watches of callers in the process.

use std::time::Duration;

use tidegate_api::{Watch, pb::etcdserverpb::WatchCreateRequest};
use tidegate_member::Config;

use crate::node::{Node, PATIENCE};

/// A watch whose reader went away stayed until its next event, on a quiet key for ever.
#[test]
fn a_watch_ends_with_its_reader() {
    let node = Node::start(Config::PIN_MAX);
    let (before, _) = node.used("watches");
    node.runtime.block_on(async {
        let request = WatchCreateRequest { key: "quiet".into(), ..Default::default() };
        let watch = node.handle.watch(request).await.unwrap();
        assert!(node.used("watches").0 > before);
        drop(watch);
        let ended = async {
            while node.used("watches").0 > before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("the watch gives its bytes back");
    });
}
