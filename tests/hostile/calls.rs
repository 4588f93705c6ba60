//! Calls that are HTTP/2, and not what gRPC or the service asks for.

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use tidegate_api::{
    Message,
    pb::{PutRequest, RangeRequest, RequestOp, TxnRequest, request_op::Request as Op},
};
use tidegate_tests::raw;

use crate::target::{ANSWER_MAX, Target};

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const TXN: &str = "/etcdserverpb.KV/Txn";
const WATCH: &str = "/etcdserverpb.Watch/Watch";

/// A call, and how it must end.
struct Attack {
    name: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    verb: &'static str,
    body: Bytes,
    expected: Expected,
}

enum Expected {
    /// One of these codes, and a text that contains this.
    Grpc(&'static [u16], &'static str),
    Http(u16),
}

impl Attack {
    fn new(
        name: &'static str,
        path: &'static str,
        body: impl Into<Bytes>,
        codes: &'static [u16],
        text: &'static str,
    ) -> Self {
        let headers = vec![("content-type", "application/grpc"), ("te", "trailers")];
        Self { name, path, headers, verb: "POST", body: body.into(), expected: Expected::Grpc(codes, text) }
    }

    fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value));
        self
    }
}

fn prefixed(flag: u8, announced: usize, message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(flag);
    bytes.put_u32(u32::try_from(announced).unwrap());
    bytes.extend_from_slice(message);
    bytes.freeze()
}

fn whole(message: &[u8]) -> Bytes {
    prefixed(0, message.len(), message)
}

fn put() -> Vec<u8> {
    PutRequest { key: "attack".into(), value: "v".into(), ..Default::default() }.encode_to_vec()
}

fn deep(depth: usize) -> Vec<u8> {
    let mut txn = TxnRequest::default();
    for _ in 0..depth {
        txn = TxnRequest { success: vec![RequestOp { request: Some(Op::RequestTxn(txn)) }], ..Default::default() };
    }
    txn.encode_to_vec()
}

fn attacks() -> Vec<Attack> {
    let two = [whole(&put()), whole(&put())].concat();
    let mut all = vec![
        Attack::new("a service that is nowhere", "/nowhere.Service/Call", whole(&[]), &[12], ""),
        Attack::new("a method that is nowhere", "/etcdserverpb.KV/Nowhere", whole(&[]), &[12], ""),
        Attack::new("a path without a method", "/etcdserverpb.KV", whole(&[]), &[12], ""),
        Attack::new(
            "a method of etcd that is missing here",
            "/etcdserverpb.Maintenance/Snapshot",
            whole(&[]),
            &[12],
            "Snapshot",
        ),
        Attack::new("compressed by gzip", PUT, prefixed(1, 3, b"abc"), &[12], "").header("grpc-encoding", "gzip"),
        Attack::new("compressed by nothing", PUT, prefixed(1, 3, b"abc"), &[12, 13], ""),
        Attack::new("a flag that means nothing", PUT, prefixed(7, 3, b"abc"), &[12, 13], ""),
        Attack::new("no message", PUT, Bytes::new(), &[13], ""),
        Attack::new("half a prefix", PUT, Bytes::from_static(&[0, 0]), &[13], ""),
        Attack::new("half a message", PUT, prefixed(0, 100, &put()), &[13], ""),
        Attack::new("more than one message", PUT, two, &[0, 13], ""),
        Attack::new("a message of 3 MiB", PUT, prefixed(0, 3 << 20, &[]), &[8], "larger than max"),
        Attack::new("a message of 4 GiB", PUT, prefixed(0, u32::MAX as usize, &[]), &[8], "larger than max"),
        Attack::new("bytes that are no message", PUT, whole(&[0xff; 64]), &[13], "unmarshalling"),
        Attack::new("a field cut off", PUT, whole(&[0x0a, 0x7f, 1]), &[13], "unmarshalling"),
        Attack::new("an empty key", PUT, whole(&[]), &[3], "etcdserver: key is not provided"),
        Attack::new(
            "a million empty operations",
            TXN,
            whole(&[0x12, 0].repeat(1 << 20)),
            &[3, 8],
            "etcdserver: too many",
        ),
        Attack::new("transactions a thousand deep", TXN, whole(&deep(1000)), &[3], "etcdserver: too many operations"),
        Attack::new("an empty operation", TXN, whole(&[0x12, 0]), &[3], "etcdserver: key not found"),
        Attack::new("a watch of garbage", WATCH, whole(&[0xff; 64]), &[13], "unmarshalling"),
        Attack::new("a watch that breaks off", WATCH, prefixed(0, 1000, &[1]), &[13], ""),
        Attack::new("a timeout that is none", RANGE, whole(&[]), &[3, 13], "").header("grpc-timeout", "soon"),
    ];
    let sorted = RangeRequest { key: "k".into(), sort_order: 17, ..Default::default() }.encode_to_vec();
    all.push(Attack::new("an unknown order", RANGE, whole(&sorted), &[3], "etcdserver: invalid sort option"));
    let mut text =
        Attack::new("a text", PUT, Bytes::from_static(b"hello"), &[], "").header("content-type", "text/plain");
    text.expected = Expected::Http(415);
    all.push(text);
    all
}

/// Status and text of a call, from headers or trailers; the status of HTTP when it is not 200.
async fn attempt(requests: &mut SendRequest<Bytes>, attack: &Attack) -> Result<(u16, String), u16> {
    let mut request = Request::builder().method(attack.verb).uri(format!("http://store{}", attack.path));
    for (name, value) in &attack.headers {
        request = request.header(*name, *value);
    }
    let (response, mut sender) = requests.send_request(request.body(()).unwrap(), attack.body.is_empty()).unwrap();
    if !attack.body.is_empty() {
        // The server may have answered already.
        drop(sender.send_data(attack.body.clone(), true));
    }
    let response = response.await.unwrap_or_else(|error| panic!("{}: {error}", attack.name));
    if response.status() != 200 {
        return Err(response.status().as_u16());
    }
    let headers = response.headers().clone();
    let mut body = response.into_body();
    if let Some(status) = status(&headers) {
        return Ok(status);
    }
    while let Some(data) = body.data().await {
        let length = data.unwrap().len();
        body.flow_control().release_capacity(length).unwrap();
    }
    let trailers = body.trailers().await.unwrap().unwrap_or_default();
    Ok(status(&trailers).expect("a call ends with a status"))
}

fn status(headers: &HeaderMap) -> Option<(u16, String)> {
    let code = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    let text = headers.get("grpc-message").map(|text| String::from_utf8_lossy(text.as_bytes()).into_owned());
    Some((code, text.unwrap_or_default()))
}

#[test]
fn malformed_calls_are_answered_with_an_error_and_their_connection_goes_on() {
    let mut target = Target::start();
    let address = target.server.address();
    let mut requests = target.runtime.block_on(raw::connect(&address, raw::WINDOW)).unwrap();
    for attack in attacks() {
        let outcome =
            target.runtime.block_on(async { tokio::time::timeout(ANSWER_MAX, attempt(&mut requests, &attack)).await });
        let outcome = outcome.unwrap_or_else(|_| panic!("{}: no answer", attack.name));
        let good = match (&attack.expected, &outcome) {
            (Expected::Grpc(codes, text), Ok((code, message))) => codes.contains(code) && message.contains(text),
            (Expected::Http(expected), Err(status)) => expected == status,
            _ => false,
        };
        assert!(good, "{}: answered {outcome:?}", attack.name);
        target.check(attack.name);
        // The connection of the attack serves an honest call.
        let honest = RangeRequest { key: "witness".into(), ..Default::default() }.encode_to_vec();
        let honest = Attack::new("honest", RANGE, whole(&honest), &[0], "");
        let outcome = target.runtime.block_on(attempt(&mut requests, &honest));
        assert_eq!(outcome, Ok((0, String::new())), "after {}", attack.name);
    }
}
