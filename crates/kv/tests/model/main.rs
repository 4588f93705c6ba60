//! The machine against a plain map of versions: random histories, applied by one machine in large batches and by another
//! whose batches hold one change each, that crashes, replays its log and sweeps at random.
//!
//! `TIDEGATE_SEEDS=n` tries n seeds; `TIDEGATE_SEED=s` only that one, which is what a failure prints.

#![expect(clippy::unwrap_used, reason = "what fails here is the finding")]

mod generate;
mod oracle;
mod replica;

use bytes::Bytes;
use generate::Proposal;
use oracle::{Expected, Oracle};
use prost::Message;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use replica::{Logged, Replica};
use tidegate_api::{
    Error,
    pb::{CompactionRequest, LeaseRevokeRequest},
};
use tidegate_kv::{Command, Envelope};

fn entry(command: Command, message: Vec<u8>) -> tidegate_base::Payload {
    Envelope::new(command, 7).seal(Bytes::from(message))
}

/// Gives a request to the oracle, and makes the entry for the machines.
fn propose(oracle: &mut Oracle, request: &Proposal) -> Logged {
    let (payload, expected) = match request {
        Proposal::Put(put) => {
            let expected = oracle.refuses(put).map_or_else(|| Ok(oracle.put(put)), Err);
            (entry(Command::Put, put.encode_to_vec()), expected)
        }
        Proposal::Delete(delete) => {
            let range = tidegate_api::KeyRange::new(delete.key.clone(), delete.range_end.clone());
            (entry(Command::DeleteRange, delete.encode_to_vec()), Ok(oracle.delete(&range, delete.prev_kv)))
        }
        Proposal::Txn(txn) => (entry(Command::Txn, txn.encode_to_vec()), oracle.txn(txn)),
        Proposal::Compact(revision) => {
            let expected = if *revision <= oracle.compacted {
                Err(Error::Compacted)
            } else if *revision > oracle.revision {
                Err(Error::FutureRev)
            } else {
                oracle.compacted = *revision;
                Ok(Expected::Other)
            };
            let message = CompactionRequest { revision: *revision, physical: false };
            (entry(Command::Compaction, message.encode_to_vec()), expected)
        }
        Proposal::Grant(id) => {
            let known = oracle.leases.contains_key(id);
            oracle.leases.entry(*id).or_insert(60);
            let expected = if known { Err(Error::LeaseExist) } else { Ok(Expected::Other) };
            (entry(Command::LeaseGrant { id: *id, ttl_seconds: 60 }, Vec::new()), expected)
        }
        Proposal::Revoke(id) => {
            let expected = if oracle.leases.contains_key(id) {
                oracle.revoke(*id);
                Ok(Expected::Other)
            } else {
                Err(Error::LeaseNotFound)
            };
            (entry(Command::LeaseRevoke, LeaseRevokeRequest { id: *id }.encode_to_vec()), expected)
        }
    };
    oracle.finish();
    Logged { payload, expected, revision: oracle.revision }
}

fn history(seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut oracle = Oracle::new();
    let mut log: Vec<Logged> = Vec::new();
    let mut large = Replica::new("large batches, heads from the engine", 4 << 20, 0);
    let mut small = Replica::new("one change a batch, heads in memory", 1, 40_000);
    for step in 0..60 {
        let request = generate::request(&mut rng, oracle.revision);
        log.push(propose(&mut oracle, &request));
        // The first commits when it likes, so that entries meet the open batch of others.
        large.catch_up(&log, &oracle);
        if rng.random_bool(0.3) {
            large.commit();
        }
        if rng.random_bool(0.15) {
            small.interrupt(&log, &mut rng);
        }
        small.catch_up(&log, &oracle);
        small.commit();
        small.disturb(&mut rng);
        if step % 10 == 9 {
            large.commit();
            for replica in [&large, &small] {
                replica.check(&oracle, &mut rng);
            }
        }
    }
    for replica in [&mut large, &mut small] {
        replica.commit();
        replica.check_swept(&oracle);
        replica.check(&oracle, &mut rng);
    }
}

#[test]
fn machines_agree_with_a_map_of_versions() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("TIDEGATE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TIDEGATE_SEEDS").unwrap_or(600),
    };
    for seed in seeds {
        let result = std::panic::catch_unwind(|| history(seed));
        assert!(result.is_ok(), "seed {seed}: replay with TIDEGATE_SEED={seed} cargo test -p tidegate-kv --test model");
    }
}

/// The pair that a put has just overwritten, which its answer may tell, took an iterator on another thread.
#[test]
fn memory_tells_the_pair_that_was_just_overwritten() {
    use tidegate_engine::{Lookup, MapEngine, Tier};
    let mut machine = tidegate_kv::Machine::open(MapEngine::new().into(), tidegate_kv::Config::default()).unwrap();
    for (index, value) in (1..).zip(["one", "two"]) {
        let put = tidegate_api::pb::PutRequest { key: "k".into(), value: value.into(), ..Default::default() };
        let position = tidegate_base::LogPosition::new(index, 1);
        machine.apply(position, &entry(Command::Put, put.encode_to_vec())).unwrap();
    }
    machine.commit().unwrap();
    let reader = machine.reader();
    let value = |revision| match reader.find(b"k", tidegate_kv::Bound::at(revision), Tier::Cached).unwrap() {
        Lookup::Found(found) => found.map(|found| found.value.unwrap()),
        other => panic!("{other:?}"),
    };
    assert_eq!([2, 3].map(value), [Some("one".into()), Some("two".into())]);
}
