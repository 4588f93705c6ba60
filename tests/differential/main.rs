//! Random requests against ours and the reference: `TIDEGATE_DIFF_REQUESTS` of them (5000), from `TIDEGATE_SEED`. More and
//! with other seeds: `cargo xtask diff`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use tidegate_tests::{Peer, diff, peer, setting};

#[test]
fn random_requests_are_answered_as_by_etcd() {
    if peer(Peer::Etcd).unwrap().is_none() {
        eprintln!("left out: TIDEGATE_WITHOUT_PEERS=1");
        return;
    }
    let options = diff::Options {
        seed: setting("TIDEGATE_SEED").unwrap_or(1),
        requests: setting("TIDEGATE_DIFF_REQUESTS").unwrap_or(5000),
        jobs: 2,
        steps: None,
    };
    let report = diff::run(&options).unwrap();
    assert!(report.differences.is_empty(), "{report}");
    println!("{report}");
}
