//! Bodies that are changed on their way.

use std::io::{Read, Write};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde_json::{Value, json};

use super::{
    Gateway, body, connect, status,
    upstream::{echo, raw, read_request},
};

fn packed(text: &[u8]) -> Vec<u8> {
    let mut coder = GzEncoder::new(Vec::new(), Compression::default());
    coder.write_all(text).unwrap();
    coder.finish().unwrap()
}

fn proxy(address: std::net::SocketAddr) -> Value {
    json!({"name": "proxy", "kind": "Proxy", "pools": [{"servers": [{"url": format!("http://{address}")}]}]})
}

fn adaptor(kind: &str, name: &str, extra: Value) -> Value {
    let mut adaptor = json!({"name": name, "kind": kind});
    adaptor.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    adaptor
}

/// An upstream that gives `body` with `head` to every request.
fn giver(head: &'static str, body: Vec<u8>) -> std::net::SocketAddr {
    raw(move |stream| {
        let mut reader = std::io::BufReader::new(stream.try_clone().unwrap());
        let mut stream = &stream;
        while read_request(&mut reader).is_some() {
            stream.write_all(head.as_bytes()).unwrap();
            if stream.write_all(&body).is_err() {
                return;
            }
        }
    })
}

/// Head and body of the answer to a GET with these headers, and whether the answer came to its end.
fn get(gateway: &Gateway, headers: &str) -> (String, Vec<u8>, bool) {
    let mut stream = connect(gateway.address());
    write!(stream, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{headers}\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n").unwrap() + 4;
    let (head, mut rest) = (String::from_utf8(answer[..end].to_vec()).unwrap(), &answer[end..]);
    if !head.contains("Transfer-Encoding: chunked") {
        return (head, rest.to_vec(), true);
    }
    let mut body = Vec::new();
    loop {
        let Some(line) = rest.windows(2).position(|part| part == b"\r\n") else { return (head, body, false) };
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        if size == 0 {
            return (head, body, true);
        }
        body.extend_from_slice(&rest[line + 2..line + 2 + size]);
        // The end of a piece leaves with what follows it.
        rest = rest.get(line + 4 + size..).unwrap_or_default();
    }
}

fn unpacked(body: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    GzDecoder::new(body).read_to_end(&mut text).unwrap();
    text
}

#[test]
fn requests_are_packed_and_unpacked() {
    let pack = adaptor("RequestAdaptor", "pack", json!({"compress": "gzip"}));
    let unpack = adaptor("RequestAdaptor", "unpack", json!({"decompress": "gzip"}));
    let mut gateway = Gateway::new();
    gateway.serve(json!([pack, unpack, proxy(echo())]), json!([]));
    for request in [
        "POST /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        "POST /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        let answer = gateway.ask(request);
        assert_eq!(body(&answer), "POST /x HTTP/1.1 [hello]", "{answer}");
    }
    gateway.serve(json!([unpack, proxy(echo())]), json!([]));
    let send = |body: &[u8]| {
        let mut stream = connect(gateway.address());
        let head = "POST /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Encoding: gzip\r\n";
        write!(stream, "{head}Content-Length: {}\r\n\r\n", body.len()).unwrap();
        stream.write_all(body).unwrap();
        super::read_all(&mut stream)
    };
    assert_eq!(body(&send(&packed(b"hello"))), "POST /x HTTP/1.1 [hello]");
    assert_eq!(status(&send(b"no gzip at all")), 400);
    assert_eq!(status(&send(&packed(&vec![0; 64 << 20]))), 413, "a bomb ends at the limit of bodies, 4 MiB");
}

#[test]
fn answers_are_packed_and_unpacked_on_their_way() {
    let text: Vec<u8> = (0..100_000u32).flat_map(|number| (number / 5).to_string().into_bytes()).collect();
    let pack = adaptor("ResponseAdaptor", "pack", json!({"compress": "gzip"}));
    let unpack = adaptor("ResponseAdaptor", "unpack", json!({"decompress": "gzip"}));
    let head = format!("HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: {}\r\n\r\n", text.len());
    let plain = giver(head.leak(), text.clone());
    let mut gateway = Gateway::new();
    gateway.serve(json!([proxy(plain), pack]), json!([]));
    for _ in 0..2 {
        let (head, body, whole) = get(&gateway, "");
        assert!(head.contains("Content-Encoding: gzip\r\n") && head.contains("W/\"e\"") && whole, "{head}");
        assert!(!head.contains("Content-Length") && unpacked(&body) == text);
    }
    gateway.serve(json!([proxy(plain), pack, unpack]), json!([]));
    let (head, body, whole) = get(&gateway, "");
    assert!(!head.contains("Content-Encoding") && whole && body == text, "{head}");
    let head_only = gateway.ask("HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert!(head_only.contains(&format!("Content-Length: {}\r\n", text.len())), "{head_only}");

    // What is no gzip is refused where that is seen in time, and cut where it is not.
    let liar = giver("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\n", b"hello".to_vec());
    gateway.serve(json!([proxy(liar), unpack]), json!([]));
    assert!(get(&gateway, "").0.starts_with("HTTP/1.1 500 "));
    let mut broken = packed(&text);
    let end = broken.len() - 1;
    broken[end] ^= 1;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", broken.len());
    gateway.serve(json!([proxy(giver(head.leak(), broken)), unpack]), json!([]));
    let (head, _, whole) = get(&gateway, "");
    assert!(head.starts_with("HTTP/1.1 200 ") && !whole, "{head}");
}

#[test]
fn headers_become_fields_of_the_body() {
    let fields = json!([{"header": "X-User", "json": "user"}]);
    let mut gateway = Gateway::new();
    gateway.serve(json!([adaptor("HeaderToJSON", "h", json!({ "headerMap": fields })), proxy(echo())]), json!([]));
    let post = |header: &str, body: &str| {
        let head = format!("POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{header}Content-Length: {}", body.len());
        gateway.ask(&format!("{head}\r\n\r\n{body}"))
    };
    assert_eq!(body(&post("X-User: ann\r\n", "{\"a\": 1}")), "POST / HTTP/1.1 [{\"a\":1,\"user\":\"ann\"}]");
    assert_eq!(body(&post("X-User: ann\r\n", "")), "POST / HTTP/1.1 [{\"user\":\"ann\"}]");
    assert_eq!(body(&post("", "no json")), "POST / HTTP/1.1 [no json]");
    assert_eq!(status(&post("X-User: ann\r\n", "no json")), 400);
}
