//! Rounds of kill -9 under load, then restart.

use rand::{Rng, SeedableRng, rngs::SmallRng};
use tidegate_api::{
    Kv,
    pb::{CompactionRequest, RangeRequest},
};
use tidegate_client::{Client, Config};
use tidegate_tests::{Kind, Options, Server, long, scratch, setting};

use crate::history::{Follower, History, write_until_failure};

const WRITERS: usize = 8;

async fn revision(client: &Client) -> i64 {
    let request = RangeRequest { key: "x".into(), ..Default::default() };
    client.range(request).await.unwrap().header.unwrap_or_default().revision
}

/// Rounds from `TIDEGATE_ROUNDS`, else 5, in a long run 50; how much is written before each kill, from
/// `TIDEGATE_SEED`.
#[test]
fn acknowledged_writes_and_watches_survive_kill_9() {
    let rounds: usize = setting("TIDEGATE_ROUNDS").unwrap_or(if long() { 50 } else { 5 });
    let seed: u64 = setting("TIDEGATE_SEED").unwrap_or(1);
    eprintln!("TIDEGATE_ROUNDS={rounds} TIDEGATE_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let dir = scratch().unwrap();
    let mut server = Server::start(&Options::new(Kind::Tidegate, dir.path().join("data"))).unwrap();
    let history = History::default();
    let mut follower = Follower::from_start();
    let mut compacted = 0;
    for round in 0..rounds {
        // The watch has seen everything up to here, so compaction up to it never cuts it off.
        let watched = follower.next_revision - 1;
        let target = history.len() + random.random_range(50..1500);
        let followed = runtime.block_on(async {
            let client = || server.client_with(Config { connections: 1, ..Config::default() });
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| tokio::spawn(write_until_failure(client(), writer, round * 1000, history.clone())))
                .collect();
            let watching = client();
            let following = tokio::spawn(async move {
                let outcome = follower.follow(&watching, None).await;
                (follower, outcome)
            });
            // A little of history goes each round, behind what watch and checks need.
            if round % 3 == 2 {
                let at = watched;
                client().compact(CompactionRequest { revision: at, physical: false }).await.unwrap();
                compacted = at;
            }
            while history.len() < target {
                assert!(writers.iter().all(|writer| !writer.is_finished()), "a writer failed before the kill");
                tokio::task::yield_now().await;
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            server.kill().unwrap();
            for writer in writers {
                writer.await.unwrap();
            }
            following.await.unwrap()
        });
        follower = followed.0;
        let broken = followed.1.expect_err("the watch of a killed server ends with an error");
        server = server.start_again().unwrap();
        runtime.block_on(async {
            let client = server.client();
            let now = revision(&client).await;
            assert!(
                now >= follower.next_revision - 1,
                "revision {now} after {} was watched",
                follower.next_revision - 1
            );
            history.check(&client, compacted).await;
            // Compacted below what the watch has seen: it can always go on.
            follower.follow(&client, Some(now)).await.unwrap();
            follower.check(&history);
        });
        eprintln!("round {round}: {} acknowledged, watch broke with \"{broken}\"", history.len());
    }
    let status = server.stop(std::time::Duration::from_secs(10)).unwrap();
    assert!(status.success(), "SIGTERM ended in {status}");
}
