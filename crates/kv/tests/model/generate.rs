//! Random entries. Keys are few, prefixes of each other, and full of the bytes that encodings trip over.

use bytes::Bytes;
use rand::{Rng, rngs::SmallRng};
use tidegate_api::{
    KeyRange,
    pb::{
        Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, compare::TargetUnion,
        request_op::Request,
    },
    validate,
};

const KEYS: [&[u8]; 12] =
    [b"\0", b"\0\0", b"\0\x01", b"\0\xff", b"a", b"a\0", b"a\0\x01", b"a\0\xff", b"ab", b"a\xff", b"\xff", b"\xff\xff"];
/// Around the lengths at which a value leaves `head`, and gets a row of its own.
const VALUE_LENGTHS: [usize; 8] = [0, 1, 3, 1024, 1025, 16_383, 16_384, 17_000];
pub(crate) const LEASES: i64 = 3;

pub(crate) enum Proposal {
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Txn(TxnRequest),
    Compact(i64),
    Grant(i64),
    Revoke(i64),
}

pub(crate) fn key(rng: &mut SmallRng) -> Bytes {
    Bytes::from_static(KEYS[rng.random_range(0..KEYS.len())])
}

/// Often one key, else a span or everything behind a key; also spans that hold nothing.
pub(crate) fn range(rng: &mut SmallRng) -> (Bytes, Bytes) {
    let end = match rng.random_range(0..4) {
        0 => Bytes::new(),
        1 => Bytes::from_static(b"\0"),
        _ => key(rng),
    };
    (key(rng), end)
}

pub(crate) fn key_range(rng: &mut SmallRng) -> KeyRange {
    let (key, end) = range(rng);
    KeyRange::new(key, end)
}

fn put(rng: &mut SmallRng) -> PutRequest {
    let ignore_value = rng.random_bool(0.1);
    let ignore_lease = rng.random_bool(0.1);
    let len = if rng.random_bool(0.2) { VALUE_LENGTHS[rng.random_range(0..VALUE_LENGTHS.len())] } else { 2 };
    PutRequest {
        key: key(rng),
        value: if ignore_value { Bytes::new() } else { vec![rng.random(); len].into() },
        lease: if ignore_lease || rng.random_bool(0.6) { 0 } else { rng.random_range(1..=LEASES) },
        prev_kv: rng.random(),
        ignore_value,
        ignore_lease,
    }
}

fn delete(rng: &mut SmallRng) -> DeleteRangeRequest {
    let (key, range_end) = range(rng);
    DeleteRangeRequest { key, range_end, prev_kv: rng.random() }
}

fn compare(rng: &mut SmallRng, revision: i64) -> Compare {
    let near = |rng: &mut SmallRng| rng.random_range(0..=revision + 1);
    let (target, union) = match rng.random_range(0..5) {
        0 => (0, TargetUnion::Version(rng.random_range(0..3))),
        1 => (1, TargetUnion::CreateRevision(near(rng))),
        2 => (2, TargetUnion::ModRevision(near(rng))),
        3 => (3, TargetUnion::Value(vec![rng.random(); 2].into())),
        _ => (4, TargetUnion::Lease(rng.random_range(0..=LEASES))),
    };
    let (key, range_end) = range(rng);
    let target_union = rng.random_bool(0.9).then_some(union);
    Compare { result: rng.random_range(0..4), target, key, range_end, target_union }
}

fn txn(rng: &mut SmallRng, revision: i64, depth: u32) -> TxnRequest {
    let ops = |rng: &mut SmallRng| -> Vec<RequestOp> {
        let n = rng.random_range(0..4);
        let op = |rng: &mut SmallRng| match rng.random_range(0..if depth > 0 { 8 } else { 7 }) {
            0..=2 => Request::RequestPut(put(rng)),
            3..=4 => Request::RequestDeleteRange(delete(rng)),
            5..=6 => {
                let (key, range_end) = range(rng);
                let past = rng.random_bool(0.3);
                let revision = if past { rng.random_range(1..=revision + 1) } else { 0 };
                Request::RequestRange(RangeRequest { key, range_end, revision, ..RangeRequest::default() })
            }
            _ => Request::RequestTxn(txn(rng, revision, depth - 1)),
        };
        (0..n).map(|_| RequestOp { request: Some(op(rng)) }).collect()
    };
    let compares = rng.random_range(0..3);
    TxnRequest {
        compare: (0..compares).map(|_| compare(rng, revision)).collect(),
        success: ops(rng),
        failure: ops(rng),
    }
}

pub(crate) fn request(rng: &mut SmallRng, revision: i64) -> Proposal {
    match rng.random_range(0..20) {
        0..=7 => Proposal::Put(put(rng)),
        8..=10 => Proposal::Delete(delete(rng)),
        11..=15 => loop {
            let txn = txn(rng, revision, 2);
            // What a member refuses before it proposes never reaches the machine.
            if validate::txn(&txn, validate::TXN_OPS_MAX).is_ok() {
                break Proposal::Txn(txn);
            }
        },
        16 => Proposal::Compact(rng.random_range((revision - 8).max(0)..=revision + 1)),
        17..=18 => Proposal::Grant(rng.random_range(1..=LEASES)),
        _ => Proposal::Revoke(rng.random_range(1..=LEASES)),
    }
}
