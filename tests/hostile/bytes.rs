//! Bytes on a fresh connection.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use crate::target::{ANSWER_MAX, Target};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Sends `bytes` and reads until the server ends the connection, or has sent an HTTP/1 head.
fn send(target: &Target, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(target.server.address()).unwrap();
    stream.set_read_timeout(Some(ANSWER_MAX)).unwrap();
    stream.set_write_timeout(Some(ANSWER_MAX)).unwrap();
    // A server that has seen enough may close before it has read everything.
    drop(stream.write_all(bytes));
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return answer,
            Ok(length) => answer.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return answer,
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&answer)),
        }
        if answer.starts_with(b"HTTP/1.1 ") && answer.windows(4).any(|window| window == b"\r\n\r\n") {
            return answer;
        }
    }
}

#[test]
fn malformed_http_1_is_answered_with_an_error() {
    let mut target = Target::start();
    let long_header = format!("GET /health HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    let many_headers = format!("GET /health HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(20_000));
    let long_line = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(200_000));
    for (name, head) in [
        ("no HTTP at all", "GARBAGE\r\n\r\n"),
        ("only blanks", "   \r\n\r\n"),
        ("no host", "GET /health HTTP/1.1\r\n\r\n"),
        ("two hosts", "GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        ("an unknown version", "GET /health HTTP/9.9\r\nHost: a\r\n\r\n"),
        ("a zero byte in a header", "GET /health HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"),
        ("a blank before the colon", "GET /health HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n"),
        ("a folded header", "GET /health HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n"),
        ("two lengths", "POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        ("a length that is none", "POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"),
        ("a length with a sign", "POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na"),
        (
            "a length and chunks",
            "POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("an unknown transfer coding", "POST /health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: foo\r\n\r\n"),
        ("a header of 200 kB", &long_header),
        ("20,000 headers", &many_headers),
        ("a path of 200 kB", &long_line),
        ("a path that is nowhere", "GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n"),
    ] {
        let answer = send(&target, head.as_bytes());
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        assert!(status.is_some_and(|status| status.starts_with(['4', '5'])), "{name}: answered {answer:?}");
        target.check(name);
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

#[test]
fn malformed_http_2_ends_its_connection_and_no_other() {
    let mut target = Target::start();
    let settings = frame(4, 0, 0, &[]);
    let many = |frame: &[u8], count: usize| frame.repeat(count);
    for (name, frames) in [
        ("garbage behind the preface", vec![0xff; 64]),
        ("settings of five bytes", frame(4, 0, 0, &[1, 2, 3, 4, 5])),
        ("settings on a stream", frame(4, 0, 1, &[])),
        ("data on stream 0", [settings.clone(), frame(0, 0, 0, b"x")].concat()),
        ("data on a stream that nobody opened", [settings.clone(), frame(0, 0, 7, b"x")].concat()),
        ("headers that do not decompress", [settings.clone(), frame(1, 4, 1, &[0xff; 40])].concat()),
        ("headers on an even stream", [settings.clone(), frame(1, 4, 2, &[0x82])].concat()),
        ("a continuation of nothing", [settings.clone(), frame(9, 4, 1, &[0x82])].concat()),
        ("a frame longer than allowed", [settings.clone(), frame(0, 0, 1, &[0; 20_000])].concat()),
        ("a window update of 0", [settings.clone(), frame(8, 0, 0, &[0; 4])].concat()),
        ("a ping of three bytes", [settings.clone(), frame(6, 0, 0, &[0; 3])].concat()),
        ("pushed promises", [settings.clone(), frame(5, 4, 1, &[0, 0, 0, 2, 0x82])].concat()),
        ("windows above 2^31", [settings.clone(), many(&frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), 3)].concat()),
    ] {
        // Ends by itself: `send` fails when the connection stays open.
        send(&target, &[PREFACE, &frames].concat());
        target.check(name);
    }
}
