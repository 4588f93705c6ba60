//! Random requests. Each follows from a seed, its number, and what is known of the stores: so a few of a long run can be
//! repeated alone.

use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::SmallRng, seq::IndexedRandom};
use tidegate_api::pb::{
    CompactionRequest, Compare, DeleteRangeRequest, HashKvRequest, LeaseGrantRequest, LeaseRevokeRequest,
    LeaseTimeToLiveRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest, compare::TargetUnion,
    request_op::Request,
};

use super::{
    material::{self, Known},
    step::{Call, Step},
};

/// Streams of watches beside each other.
pub(super) const STREAMS: usize = 3;
/// Seconds that no lease outlives within a run.
const TTLS: [i64; 4] = [600, 3600, 86_400, 9_000_000_000];

/// Every eighth round has large values.
pub(super) fn fat(seed: u64) -> bool {
    seed % 8 == 7
}

/// The step with this number.
pub(super) fn step(seed: u64, number: usize, known: Known) -> Step {
    let mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (number as u64).wrapping_mul(0xd1b5_4a32_d192_ed03);
    let rng = &mut SmallRng::seed_from_u64(mixed);
    match rng.random_range(0..1000) {
        0 => {
            // Too large for the store, and too large for the message that it takes.
            let len = if rng.random() { 300_000 } else { 900_000 };
            Step::Call(Call::Put(PutRequest { value: vec![b'x'; len].into(), ..put(rng, known) }))
        }
        1..=259 => Step::Call(Call::Put(put(rng, known))),
        260..=519 => Step::Call(Call::Range(range(rng, known))),
        520..=589 => Step::Call(Call::DeleteRange(delete(rng))),
        590..=819 => Step::Call(Call::Txn(txn(rng, known, 3))),
        820..=829 => Step::Call(Call::Compact(compact(rng, known))),
        830..=869 => Step::Call(Call::LeaseGrant(grant(rng))),
        870..=879 => Step::ShortLease(short(rng)),
        880..=894 => Step::Call(Call::LeaseRevoke(LeaseRevokeRequest { id: material::any_lease(rng, known) })),
        895..=914 => Step::Call(Call::LeaseTimeToLive(LeaseTimeToLiveRequest {
            id: material::any_lease(rng, known),
            keys: rng.random_bool(0.7),
        })),
        915..=929 => Step::Call(Call::LeaseKeepAlive(material::any_lease(rng, known))),
        930..=937 => Step::Call(Call::LeaseLeases),
        938..=957 => Step::Call(Call::HashKv(HashKvRequest { revision: material::revision(rng, known) })),
        958..=981 => Step::Watch { stream: stream(rng), create: watch(rng, known) },
        982..=993 => Step::CancelWatch { stream: stream(rng), id: watch_id(rng) },
        994..=997 => Step::Progress { stream: stream(rng) },
        _ => Step::CloseStream { stream: stream(rng) },
    }
}

fn stream(rng: &mut SmallRng) -> usize {
    rng.random_range(0..STREAMS)
}

fn put(rng: &mut SmallRng, known: Known) -> PutRequest {
    let (ignore_value, ignore_lease) = (rng.random_bool(0.08), rng.random_bool(0.08));
    let spoiled = rng.random_bool(0.1);
    PutRequest {
        key: material::key(rng),
        value: if ignore_value && !spoiled { Bytes::new() } else { material::value(rng, known) },
        lease: if (ignore_lease && !spoiled) || rng.random_bool(0.7) { 0 } else { material::lease(rng) },
        prev_kv: rng.random_bool(0.3),
        ignore_value,
        ignore_lease,
    }
}

fn delete(rng: &mut SmallRng) -> DeleteRangeRequest {
    // A range is rarely emptied, else there is nothing to read.
    let (key, range_end) =
        if rng.random_bool(0.25) { material::range(rng) } else { (material::key(rng), Bytes::new()) };
    DeleteRangeRequest { key, range_end, prev_kv: rng.random_bool(0.5) }
}

fn range(rng: &mut SmallRng, known: Known) -> RangeRequest {
    let (key, range_end) = material::range(rng);
    let filtered = rng.random_bool(0.25);
    let bound = |rng: &mut SmallRng| if filtered { material::near(rng, known) } else { 0 };
    RangeRequest {
        key,
        range_end,
        limit: match rng.random_range(0..10) {
            0..=4 => 0,
            5 => -1,
            6 => i64::MAX,
            _ => rng.random_range(1..30),
        },
        revision: material::revision(rng, known),
        sort_order: rarely(rng, 5).unwrap_or_else(|rng| rng.random_range(0..3)),
        sort_target: rarely(rng, 7).unwrap_or_else(|rng| if rng.random() { 0 } else { rng.random_range(0..5) }),
        serializable: rng.random_bool(0.3),
        keys_only: rng.random_bool(0.2),
        count_only: rng.random_bool(0.1),
        min_mod_revision: bound(rng),
        max_mod_revision: bound(rng),
        min_create_revision: bound(rng),
        max_create_revision: bound(rng),
    }
}

/// A value that an enumeration does not have, once in a hundred times.
fn rarely(rng: &mut SmallRng, odd: i32) -> Rarely<'_> {
    Rarely { odd: rng.random_bool(0.01).then_some(odd), rng }
}

struct Rarely<'a> {
    odd: Option<i32>,
    rng: &'a mut SmallRng,
}

impl Rarely<'_> {
    fn unwrap_or_else(self, other: impl FnOnce(&mut SmallRng) -> i32) -> i32 {
        let Self { odd, rng } = self;
        odd.unwrap_or_else(|| other(rng))
    }
}

fn compare(rng: &mut SmallRng, known: Known) -> Compare {
    let target = rarely(rng, 9).unwrap_or_else(|rng| rng.random_range(0..5));
    // Now and then the value is of another kind than the target.
    let kind = if rng.random_bool(0.05) { rng.random_range(0..5) } else { target };
    let union = match kind {
        0 => TargetUnion::Version(rng.random_range(-1..4)),
        1 => TargetUnion::CreateRevision(material::near(rng, known)),
        2 => TargetUnion::ModRevision(material::near(rng, known)),
        3 => TargetUnion::Value(material::value(rng, known)),
        _ => TargetUnion::Lease(if rng.random() { 0 } else { material::lease(rng) }),
    };
    let (key, range_end) = material::range(rng);
    let result = rarely(rng, 6).unwrap_or_else(|rng| rng.random_range(0..4));
    Compare { result, target, key, range_end, target_union: rng.random_bool(0.95).then_some(union) }
}

fn txn(rng: &mut SmallRng, known: Known, depth: u32) -> TxnRequest {
    let reads_only = rng.random_bool(0.25);
    let ops = |rng: &mut SmallRng| -> Vec<RequestOp> {
        let most = if rng.random_bool(0.01) { 140 } else { 5 };
        (0..rng.random_range(0..most)).map(|_| op(rng, known, depth, reads_only)).collect()
    };
    TxnRequest {
        compare: (0..rng.random_range(0..3)).map(|_| compare(rng, known)).collect(),
        success: ops(rng),
        failure: ops(rng),
    }
}

fn op(rng: &mut SmallRng, known: Known, depth: u32, reads_only: bool) -> RequestOp {
    let request = match rng.random_range(0..200) {
        0 => None,
        1..=70 => Some(Request::RequestRange(inner_range(rng, known))),
        _ if reads_only => Some(Request::RequestRange(inner_range(rng, known))),
        71..=150 => Some(Request::RequestPut(put(rng, known))),
        151..=180 => Some(Request::RequestDeleteRange(delete(rng))),
        _ if depth == 0 => None,
        _ => Some(Request::RequestTxn(txn(rng, known, depth - 1))),
    };
    RequestOp { request }
}

/// One that does not make the whole transaction fail too often.
fn inner_range(rng: &mut SmallRng, known: Known) -> RangeRequest {
    let mut request = range(rng, known);
    if rng.random_bool(0.8) && !(known.compacted.max(1)..=known.revision).contains(&request.revision) {
        request.revision = 0;
    }
    request
}

fn compact(rng: &mut SmallRng, known: Known) -> CompactionRequest {
    let revision = match rng.random_range(0..6) {
        0 => known.compacted,
        1 => known.revision + 1,
        2 => known.revision,
        3 => -1,
        _ => rng.random_range(known.compacted.max(0)..=known.revision),
    };
    CompactionRequest { revision, physical: rng.random() }
}

fn grant(rng: &mut SmallRng) -> LeaseGrantRequest {
    let ttl = if rng.random_bool(0.03) { 9_000_000_001 } else { *TTLS.choose(rng).expect("there are some") };
    LeaseGrantRequest { ttl, id: if rng.random_bool(0.15) { 0 } else { material::lease(rng) } }
}

fn short(rng: &mut SmallRng) -> LeaseGrantRequest {
    LeaseGrantRequest { ttl: rng.random_range(-1..4), id: material::lease(rng) }
}

fn watch_id(rng: &mut SmallRng) -> i64 {
    match rng.random_range(0..20) {
        0 => -5,
        1 => i64::MAX,
        _ => rng.random_range(0..9),
    }
}

fn watch(rng: &mut SmallRng, known: Known) -> WatchCreateRequest {
    // Of large values there should be more than one answer takes.
    let much = known.fat && rng.random_bool(0.7);
    let (key, range_end) =
        if much { (Bytes::from_static(b"m/"), Bytes::from_static(b"m0")) } else { material::range(rng) };
    let start_revision = match if much { rng.random_range(6..20) } else { rng.random_range(0..10) } {
        0..=3 => 0,
        4 => -1,
        5 => known.revision + rng.random_range(1..20),
        6 => known.compacted,
        7 => known.compacted - 1,
        _ => rng.random_range(known.compacted.max(1)..=known.revision.max(2)),
    };
    let filters = match rng.random_range(0..10) {
        0 => vec![0],
        1 => vec![1],
        2 => vec![0, 1],
        3 => vec![1, 1, 5],
        _ => Vec::new(),
    };
    WatchCreateRequest {
        key,
        range_end,
        start_revision,
        progress_notify: rng.random_bool(0.2),
        filters,
        prev_kv: rng.random_bool(0.5),
        watch_id: if rng.random_bool(0.7) { 0 } else { watch_id(rng) },
        fragment: rng.random_bool(if known.fat { 0.8 } else { 0.3 }),
    }
}
