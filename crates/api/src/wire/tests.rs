use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use super::*;
use crate::{
    Code, Method,
    pb::{
        Compare, MemberAddRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest, WatchRequest,
        request_op::Request, watch_request::RequestUnion,
    },
    validate::TXN_OPS_MAX,
};

/// Bytes behind the lists of a decoded transaction.
fn held(txn: &TxnRequest) -> usize {
    let nested = txn.success.iter().chain(&txn.failure).map(|op| match &op.request {
        Some(Request::RequestTxn(nested)) => held(nested),
        _ => 0,
    });
    txn.compare.capacity() * size_of::<Compare>()
        + (txn.success.capacity() + txn.failure.capacity()) * size_of::<RequestOp>()
        + nested.sum::<usize>()
}

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn nested(depth: usize) -> TxnRequest {
    let put = PutRequest { key: "k".into(), value: "v".into(), ..Default::default() };
    let mut txn = TxnRequest { success: vec![op(Request::RequestPut(put))], ..Default::default() };
    for _ in 0..depth {
        txn = TxnRequest { success: vec![op(Request::RequestTxn(txn))], ..Default::default() };
    }
    txn
}

fn cost(method: Method, message: &[u8]) -> Result<usize, Error> {
    decode_cost(method, message, TXN_OPS_MAX)
}

#[test]
fn cost_bounds_what_the_decoded_lists_hold() {
    let range = || op(Request::RequestRange(RangeRequest { key: "a".into(), ..Default::default() }));
    let wide = |n: usize| TxnRequest {
        compare: vec![Compare { key: "k".into(), ..Default::default() }; n],
        success: (0..n).map(|_| range()).collect(),
        failure: vec![RequestOp::default(); n],
    };
    for txn in [wide(0), wide(1), wide(2), wide(5), wide(33), wide(127), nested(0), nested(1), nested(32)] {
        let message = Bytes::from(txn.encode_to_vec());
        let cost = cost(Method::Txn, &message).unwrap();
        let decoded: TxnRequest = decode(message).unwrap();
        assert_eq!(decoded, txn);
        assert!(held(&decoded) <= cost, "{} bytes cost {cost}", held(&decoded));
    }
}

#[test]
fn a_million_empty_operations_are_refused_without_decoding() {
    let message = [0x12, 0].repeat(1 << 20);
    assert_eq!(cost(Method::Txn, &message), Err(Error::TooManyOps));
    // Inside a nested transaction they count with their full cost: no budget admits them.
    let mut outer = BytesMut::new();
    let nested = 1 + prost::length_delimiter_len(message.len()) + message.len();
    for (tag, length) in [(0x12, nested), (0x22, message.len())] {
        outer.put_u8(tag);
        prost::encode_length_delimiter(length, &mut outer).unwrap();
    }
    outer.extend_from_slice(&message);
    assert!(cost(Method::Txn, &outer).unwrap() > 100 << 20);
}

#[test]
fn lists_up_to_the_limit_pass() {
    for (ops, expected) in [(TXN_OPS_MAX, true), (TXN_OPS_MAX + 1, false)] {
        for tag in [0x0a, 0x12, 0x1a] {
            let message = [tag, 0].repeat(ops);
            assert_eq!(cost(Method::Txn, &message).is_ok(), expected, "{ops} of {tag:#x}");
        }
    }
    // Each list counts on its own.
    let message = [0x0a, 0, 0x12, 0, 0x1a, 0].repeat(TXN_OPS_MAX);
    assert!(cost(Method::Txn, &message).is_ok());
}

#[test]
fn depth_has_a_limit_that_the_decoder_reaches() {
    let deepest = Bytes::from(nested(TXN_DEPTH_MAX).encode_to_vec());
    assert!(cost(Method::Txn, &deepest).is_ok());
    assert!(decode::<TxnRequest>(deepest).is_ok());
    assert_eq!(cost(Method::Txn, &nested(TXN_DEPTH_MAX + 1).encode_to_vec()), Err(Error::TooManyOps));
}

#[test]
fn filters_of_a_watch_cost_their_packed_bytes() {
    let create = WatchCreateRequest { key: "k".into(), filters: vec![1; 1000], ..Default::default() };
    let message = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }.encode_to_vec();
    assert_eq!(cost(Method::Watch, &message), Ok(16_000));
}

#[test]
fn texts_cost_their_copies() {
    let urls = vec!["http://127.0.0.1:1".to_owned(); 3];
    let message = MemberAddRequest { peer_urls: urls, is_learner: true }.encode_to_vec();
    let least = 3 * size_of::<String>() + 3 * 18;
    assert!(cost(Method::MemberAdd, &message).unwrap() >= least);
    assert_eq!(cost(Method::Put, &[0xff; 10]), Ok(0), "a put copies nothing");
}

#[test]
fn malformed_messages_are_errors() {
    for (message, text) in [
        ([0x12].as_slice(), "invalid varint"),
        (&[0x12, 5, 0], "unexpected end of message"),
        (&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], "unexpected end of message"),
        (&[0x80; 11], "invalid varint"),
        (&[0x13, 0x14], "invalid wire type"),
        (&[0x09, 1, 2], "unexpected end of message"),
        (&[0x12, 3, 0x22, 9, 0], "unexpected end of message"),
    ] {
        let error = cost(Method::Txn, message).unwrap_err();
        assert_eq!(error.code(), Code::Internal);
        assert_eq!(error.text(), format!("grpc: error unmarshalling request: {text}"), "{message:x?}");
    }
}

#[test]
fn any_bytes_are_survived() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..20_000 {
        // Mostly tags and lengths that lead somewhere, so that the walk gets deep.
        let length = (next() % 64) as usize;
        let message: Vec<u8> = (0..length)
            .map(|_| match next() % 4 {
                0 => [0x0a, 0x12, 0x1a, 0x22][(next() % 4) as usize],
                1 => (next() % 16) as u8,
                2 => 0,
                _ => next().to_le_bytes()[0],
            })
            .collect();
        for method in [Method::Txn, Method::Watch, Method::MemberUpdate, Method::Status] {
            let scanned = cost(method, &message);
            if method == Method::Txn
                && let Ok(decoded) = decode::<TxnRequest>(Bytes::from(message.clone()))
                && let Ok(scanned) = scanned
            {
                assert!(held(&decoded) <= scanned, "{message:x?}");
            }
        }
    }
}
