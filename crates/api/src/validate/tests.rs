use bytes::Bytes;

use super::*;
use crate::pb::Compare;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn ranged(key: &str) -> RequestOp {
    RequestOp { request: Some(Request::RequestRange(RangeRequest { key: bytes(key), ..Default::default() })) }
}

fn put_op(key: &str) -> RequestOp {
    RequestOp { request: Some(Request::RequestPut(PutRequest { key: bytes(key), ..Default::default() })) }
}

fn deletion(key: &str, range_end: &str) -> RequestOp {
    let request = DeleteRangeRequest { key: bytes(key), range_end: bytes(range_end), prev_kv: false };
    RequestOp { request: Some(Request::RequestDeleteRange(request)) }
}

fn nested(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
    let request = TxnRequest { compare: Vec::new(), success, failure };
    RequestOp { request: Some(Request::RequestTxn(request)) }
}

fn then(success: Vec<RequestOp>) -> TxnRequest {
    TxnRequest { success, ..Default::default() }
}

#[test]
fn ranges_need_a_key_and_known_sort_options() {
    let request = |key: &str, sort_order: i32, sort_target: i32| RangeRequest {
        key: bytes(key),
        sort_order,
        sort_target,
        ..Default::default()
    };
    for (input, expected) in [
        (request("a", 0, 0), Ok(())),
        (request("a", 2, 4), Ok(())),
        (request("", 0, 0), Err(Error::EmptyKey)),
        (request("", 9, 9), Err(Error::EmptyKey)),
        (request("a", 3, 0), Err(Error::InvalidSortOption)),
        (request("a", 0, 5), Err(Error::InvalidSortOption)),
        (request("a", -1, 0), Err(Error::InvalidSortOption)),
    ] {
        assert_eq!(range(&input), expected, "{input:?}");
    }
}

#[test]
fn streamed_ranges_come_in_key_order_and_unfiltered() {
    let request = RangeRequest { key: bytes("a"), ..Default::default() };
    let sorted = |order: SortOrder, target: SortTarget| RangeRequest {
        sort_order: order.into(),
        sort_target: target.into(),
        ..request.clone()
    };
    for (input, expected) in [
        (request.clone(), Ok(())),
        (sorted(SortOrder::Ascend, SortTarget::Key), Ok(())),
        (sorted(SortOrder::Descend, SortTarget::Key), Err(Error::RangeStreamSort)),
        (sorted(SortOrder::None, SortTarget::Mod), Err(Error::RangeStreamSort)),
        (RangeRequest { min_mod_revision: 1, ..request.clone() }, Err(Error::RangeStreamFilters)),
        (RangeRequest { max_create_revision: 1, ..request.clone() }, Err(Error::RangeStreamFilters)),
        (RangeRequest::default(), Err(Error::EmptyKey)),
    ] {
        assert_eq!(range_stream(&input), expected, "{input:?}");
    }
}

#[test]
fn puts_give_what_they_do_not_keep() {
    let request = |key: &str, value: &str, lease: i64, ignore_value: bool, ignore_lease: bool| PutRequest {
        key: bytes(key),
        value: bytes(value),
        lease,
        ignore_value,
        ignore_lease,
        prev_kv: false,
    };
    for (input, expected) in [
        (request("k", "v", 1, false, false), Ok(())),
        (request("k", "", 0, true, true), Ok(())),
        (request("", "v", 1, true, true), Err(Error::EmptyKey)),
        (request("k", "v", 1, true, true), Err(Error::ValueProvided)),
        (request("k", "", 1, true, true), Err(Error::LeaseProvided)),
    ] {
        assert_eq!(put(&input), expected, "{input:?}");
    }
}

#[test]
fn deletions_need_a_key() {
    assert_eq!(delete_range(&DeleteRangeRequest::default()), Err(Error::EmptyKey));
    assert_eq!(delete_range(&DeleteRangeRequest { key: bytes("k"), ..Default::default() }), Ok(()));
}

#[test]
fn leases_live_at_most_285_years() {
    assert_eq!(lease_grant(&LeaseGrantRequest { ttl: LEASE_TTL_MAX, id: 0 }), Ok(()));
    assert_eq!(lease_grant(&LeaseGrantRequest { ttl: LEASE_TTL_MAX + 1, id: 0 }), Err(Error::LeaseTtlTooLarge));
    assert_eq!(lease_grant(&LeaseGrantRequest { ttl: -1, id: -5 }), Ok(()), "raised to the least, at apply");
}

#[test]
fn each_list_of_a_txn_has_the_limit_and_nested_ones_what_is_left() {
    let ranges = |n: usize| vec![ranged("k"); n];
    let compares = |n: usize| vec![Compare { key: bytes("k"), ..Default::default() }; n];
    for (input, ops_max, expected) in [
        (TxnRequest { compare: compares(3), success: ranges(3), failure: ranges(3) }, 3, Ok(())),
        (TxnRequest { compare: compares(4), ..Default::default() }, 3, Err(Error::TooManyOps)),
        (then(ranges(4)), 3, Err(Error::TooManyOps)),
        (TxnRequest { failure: ranges(4), ..Default::default() }, 3, Err(Error::TooManyOps)),
        // One nested transaction leaves two of three.
        (then(vec![nested(ranges(2), ranges(2))]), 3, Ok(())),
        (then(vec![nested(ranges(3), vec![])]), 3, Err(Error::TooManyOps)),
        (then(vec![nested(vec![nested(ranges(1), vec![])], vec![])]), 3, Ok(())),
        (then(vec![nested(vec![nested(ranges(2), vec![])], vec![])]), 3, Err(Error::TooManyOps)),
        // The longest list counts, whichever it is.
        (
            TxnRequest { compare: compares(2), success: vec![nested(ranges(2), vec![])], failure: vec![] },
            3,
            Err(Error::TooManyOps),
        ),
    ] {
        assert_eq!(txn(&input, ops_max), expected, "{input:?}");
    }
}

#[test]
fn fields_of_a_txn_are_checked_in_order() {
    let bad_put = RequestOp {
        request: Some(Request::RequestPut(PutRequest {
            key: bytes("k"),
            lease: 1,
            ignore_lease: true,
            ..Default::default()
        })),
    };
    let bad_sort = RequestOp {
        request: Some(Request::RequestRange(RangeRequest { key: bytes("k"), sort_order: 7, ..Default::default() })),
    };
    let twice = || vec![put_op("a"), put_op("a")];
    for (input, expected) in [
        (TxnRequest { compare: vec![Compare::default()], success: twice(), failure: vec![] }, Error::EmptyKey),
        (then(vec![RequestOp::default()]), Error::KeyNotFound),
        (then(vec![ranged(""), RequestOp::default()]), Error::EmptyKey),
        (then(vec![put_op("")]), Error::EmptyKey),
        (then(vec![deletion("", "")]), Error::EmptyKey),
        (then(vec![bad_put.clone()]), Error::LeaseProvided),
        (then(vec![bad_sort.clone(), bad_put]), Error::InvalidSortOption),
        (then(vec![nested(vec![], vec![bad_sort])]), Error::InvalidSortOption),
        // Fields of the whole tree come before keys that are written twice.
        (TxnRequest { success: twice(), failure: vec![put_op("")], ..Default::default() }, Error::EmptyKey),
    ] {
        assert_eq!(txn(&input, TXN_OPS_MAX), Err(expected), "{input:?}");
    }
}

#[test]
fn one_branch_writes_a_key_once() {
    let twice = Err(Error::DuplicateKey);
    let one = |key: &str| vec![put_op(key)];
    let cases: [(&str, Vec<RequestOp>, Result<(), Error>); 21] = [
        ("different keys", vec![put_op("a"), put_op("b")], Ok(())),
        ("two puts", vec![put_op("a"), put_op("a")], twice.clone()),
        ("put and deletion", vec![put_op("a"), deletion("a", "")], twice.clone()),
        ("deletion and put", vec![deletion("a", ""), put_op("a")], twice.clone()),
        ("deletion of the key before", vec![deletion("a", ""), put_op("a\0")], Ok(())),
        ("put inside a deleted range", vec![put_op("b"), deletion("a", "c")], twice.clone()),
        ("put at the end of a deleted range", vec![put_op("c"), deletion("a", "c")], Ok(())),
        ("deletions that overlap", vec![deletion("a", "c"), deletion("b", "d"), deletion("b", "")], Ok(())),
        ("put in what they cover together", vec![deletion("b", "d"), deletion("a", "c"), put_op("cc")], twice.clone()),
        (
            "put behind a one-key deletion inside",
            vec![deletion("a", "c"), deletion("b", ""), put_op("bb")],
            twice.clone(),
        ),
        ("deletion from a key on (quirk)", vec![deletion("a", "\0"), put_op("b")], Ok(())),
        ("deletion that does not ascend", vec![deletion("c", "a"), put_op("b")], Ok(())),
        ("both branches of a nested one", vec![nested(one("a"), one("a"))], Ok(())),
        ("nested put and put", vec![nested(one("a"), vec![]), put_op("a")], twice.clone()),
        ("nested put in the other branch and put", vec![nested(vec![], one("a")), put_op("a")], twice.clone()),
        ("nested put and later deletion", vec![nested(one("b"), vec![]), deletion("a", "c")], twice.clone()),
        ("put and nested deletion", vec![put_op("b"), nested(vec![], vec![deletion("a", "c")])], twice.clone()),
        ("puts of siblings", vec![nested(one("a"), vec![]), nested(vec![], one("a"))], twice.clone()),
        (
            "deletion, then put of a sibling",
            vec![nested(vec![deletion("a", "")], vec![]), nested(one("a"), vec![])],
            twice,
        ),
        (
            "put, then deletion of a sibling (quirk)",
            vec![nested(one("a"), vec![]), nested(vec![deletion("a", "")], vec![])],
            Ok(()),
        ),
        (
            "put and deletion in branches that exclude each other",
            vec![nested(one("a"), vec![deletion("a", "")])],
            Ok(()),
        ),
    ];
    for (name, ops, expected) in cases {
        assert_eq!(txn(&then(ops.clone()), TXN_OPS_MAX), expected, "then: {name}");
        let failure = TxnRequest { failure: ops, ..Default::default() };
        assert_eq!(txn(&failure, TXN_OPS_MAX), expected, "else: {name}");
    }
}

#[test]
fn outer_branches_exclude_each_other() {
    let request = TxnRequest { success: vec![put_op("a")], failure: vec![put_op("a")], ..Default::default() };
    assert_eq!(txn(&request, TXN_OPS_MAX), Ok(()));
}

#[test]
fn a_txn_only_reads_when_each_operation_is_a_range() {
    let serial = RequestOp {
        request: Some(Request::RequestRange(RangeRequest {
            key: bytes("k"),
            serializable: true,
            ..Default::default()
        })),
    };
    for (ops, reads, serializes) in [
        (vec![], true, true),
        (vec![serial.clone()], true, true),
        (vec![serial.clone(), ranged("k")], true, false),
        (vec![serial.clone(), put_op("k")], false, false),
        (vec![nested(vec![serial], vec![])], false, false),
    ] {
        for request in [then(ops.clone()), TxnRequest { failure: ops.clone(), ..Default::default() }] {
            assert_eq!((reads_only(&request), serializable(&request)), (reads, serializes), "{request:?}");
        }
    }
}
