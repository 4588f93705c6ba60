//! Bytes that try to be two requests to one reader and one to another, and what a backend behind the gateway sees of them.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
};

use crate::{WAIT, backend::Backend, gateway};

/// What is to come of the bytes.
enum Then {
    /// An answer of this status and no whole request behind the gateway. The connection ends with it, but for 404: that is a
    /// good request to a place that is not there, and the next one is its own.
    Refused(u16),
    /// One request with this line and this body, and the next one behind it.
    Seen(&'static str, &'static str),
}
use Then::{Refused, Seen};

/// Follows each case on its connection. Where the case is refused nobody may take it for a request.
const NEXT: &str = "GET /a/next HTTP/1.1\r\nHost: a.test\r\nX-Plan: 200 0 0 0 0 0 0\r\nConnection: close\r\n\r\n";

/// `(head and body, what comes of it)`.
fn cases() -> Vec<(String, Then)> {
    let get = |line: &str, then: Then| (format!("{line}\r\nHost: a.test\r\n\r\n"), then);
    let post = |rest: &str, then: Then| (format!("POST /a/x HTTP/1.1\r\nHost: a.test\r\n{rest}"), then);
    let chunked = |rest: &str, then: Then| {
        (format!("POST /a/x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n{rest}"), then)
    };
    let one = |body: &'static str| Seen("POST /a/x HTTP/1.1", body);
    let inner = "GET /a/inner HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let inner_length = inner.len();
    vec![
        // A request in a body stays a body, whatever else tells a length.
        post(&format!("Content-Length: {inner_length}\r\n\r\n{inner}"), one(inner)),
        post(&format!("Content-Length: {inner_length}\r\nConnection: Content-Length\r\n\r\n{inner}"), one(inner)),
        post(&format!("Content-Length: {inner_length}\r\nTransfer_Encoding: chunked\r\n\r\n{inner}"), one(inner)),
        post(&format!("Content-Length: {inner_length}\r\nX: Transfer-Encoding: chunked\r\n\r\n{inner}"), one(inner)),
        post(&format!("Content_Length: 0\r\nContent-Length: {inner_length}\r\n\r\n{inner}"), one(inner)),
        post(&format!("Content-Length: 000000{inner_length}\r\n\r\n{inner}"), one(inner)),
        chunked(&format!("{inner_length:x}\r\n{inner}\r\n0\r\n\r\n"), one(inner)),
        post(
            &format!(
                "Transfer-Encoding: chunked\r\nConnection: Transfer-Encoding\r\n\r\n{inner_length:x}\r\n{inner}\r\n0\r\n\r\n"
            ),
            one(inner),
        ),
        post("Transfer-Encoding:\t chunked \t\r\n\r\n5\r\nhello\r\n0\r\n\r\n", one("hello")),
        // Codings that one reader takes for chunks, and another does not.
        post("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", Refused(501)),
        post("Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", Refused(501)),
        post("Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello", Refused(501)),
        post("Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n", Refused(501)),
        post("Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n", Refused(501)),
        post("Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", Refused(501)),
        post("Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", Refused(501)),
        post("Transfer-Encoding: chun\r\n ked\r\n\r\n0\r\n\r\n", Refused(501)),
        post("Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", Refused(501)),
        post("Transfer-Encoding:\r\n\r\n0\r\n\r\n", Refused(501)),
        post("Transfer-Encoding: chunked\r\nTransfer-encoding: cow\r\n\r\n0\r\n\r\n", Refused(400)),
        post("Content-Length: 5\r\nTransfer-Encoding: identity\r\n\r\nhello", Refused(501)),
        post("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused(400)),
        post("Content-Length\0: 5\r\n\r\nhello", Refused(400)),
        post("X: y\r\n\rContent-Length: 5\r\n\r\nhello", Refused(400)),
        post("X: y\rContent-Length: 5\r\n\r\nhello", Refused(400)),
        post("X: y\nContent-Length: 5\r\n\r\nhello", Refused(400)),
        post("Content-Length: 5\r\n\nhello", Refused(400)),
        // Lengths that not everybody reads alike.
        post("Content-Length: 5,\r\n\r\nhello", Refused(400)),
        post("Content-Length: 5.0\r\n\r\nhello", Refused(400)),
        post("Content-Length: 1e1\r\n\r\nhello", Refused(400)),
        post("Content-Length: 5_0\r\n\r\nhello", Refused(400)),
        post("Content-Length: \u{665}\r\n\r\nhello", Refused(400)),
        post("Content-Length: 18446744073709551621\r\n\r\nhello", Refused(400)),
        post("Content-Length: 4294967301\r\n\r\nhello", Refused(413)),
        post("Content-Length : 5\r\n\r\nhello", Refused(400)),
        post("Content-Length\r\n\r\nhello", Refused(400)),
        // Chunks.
        chunked("00000005\r\nhello\r\n0\r\n\r\n", one("hello")),
        chunked("5;a=\"b;c\" ; d\r\nhello\r\n00;x\r\n\r\n", one("hello")),
        chunked("5 \t\r\nhello\r\n0\r\n\r\n", one("hello")),
        chunked(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(600)), Refused(400)),
        chunked(&format!("{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(600)), Refused(400)),
        chunked("5;a\nb\r\nhello\r\n0\r\n\r\n", Refused(400)),
        chunked("5;a\rb\r\nhello\r\n0\r\n\r\n", Refused(400)),
        chunked("-5\r\nhello\r\n0\r\n\r\n", Refused(400)),
        chunked("+5\r\nhello\r\n0\r\n\r\n", Refused(400)),
        chunked("0x5\r\nhello\r\n0\r\n\r\n", Refused(400)),
        chunked("5_\r\nhello\r\n0\r\n\r\n", Refused(400)),
        chunked("5 x\r\nhello\r\n0\r\n\r\n", Refused(400)),
        chunked("100000000000000005\r\nhello\r\n0\r\n\r\n", Refused(400)),
        chunked("fffffffffffffffe\r\nhello\r\n0\r\n\r\n", Refused(400)),
        chunked("5\nhello\r\n0\r\n\r\n", Refused(400)),
        chunked("5\r\nhello\n0\r\n\r\n", Refused(400)),
        chunked("5\r\nhello0\r\n\r\n", Refused(400)),
        chunked("5\r\nhelloworld\r\n0\r\n\r\n", Refused(400)),
        chunked("\r\n5\r\nhello\r\n0\r\n\r\n", Refused(400)),
        chunked("5\r\nhello\r\n-0\r\n\r\n", Refused(400)),
        chunked("5\r\nhello\r\n0\r\n\n", Refused(400)),
        chunked("5\r\nhello\r\n0\r\nX: 1\n\r\n", Refused(400)),
        chunked("5\r\nhello\r\n0\r\nX: 1\r\n folded\r\n\r\n", Refused(400)),
        chunked("5\r\nhello\r\n0\r\nX : 1\r\n\r\n", Refused(400)),
        // Trailers change nothing: neither the framing nor where it goes.
        chunked("5\r\nhello\r\n0\r\nContent-Length: 9\r\nTransfer-Encoding: x\r\nHost: b\r\n\r\n", one("hello")),
        // Versions and first lines.
        ("GET /a/x\r\n\r\n".to_owned(), Refused(400)),
        get("GET /a/x HTTP/0.9", Refused(505)),
        get("GET /a/x HTTP/1.2", Refused(505)),
        get("GET /a/x HTTP/2.0", Refused(505)),
        get("GET /a/x HTTP/3.0", Refused(505)),
        get("GET /a/x HTTP/01.1", Refused(400)),
        get("GET /a/x HTTP/1.1 ", Refused(400)),
        get("GET /a/x HTTP/1,1", Refused(400)),
        get("GET\t/a/x\tHTTP/1.1", Refused(400)),
        get("GET /a/x\0 HTTP/1.1", Refused(400)),
        get("GET /a/x\u{b}y HTTP/1.1", Refused(400)),
        get("GET /a/x HTTP/1.1\r", Refused(400)),
        get("POST /a/x HTTP/1.1 GET /a/y HTTP/1.1", Refused(400)),
        get("\r\n\r\nGET /a/x HTTP/1.1", Seen("GET /a/x HTTP/1.1", "")),
        get("OPTIONS * HTTP/1.1", Refused(404)),
        get("GET * HTTP/1.1", Refused(400)),
        get("CONNECT a.test:80 HTTP/1.1", Refused(404)),
        get("CONNECT /a/x HTTP/1.1", Refused(400)),
        // Hosts: of an absolute target its own counts, and is what the backend is told.
        ("GET http://a.test/a/x HTTP/1.1\r\nHost: other\r\n\r\n".to_owned(), Seen("GET /a/x HTTP/1.1", "")),
        ("GET http://other/a/x HTTP/1.1\r\nHost: a.test\r\n\r\n".to_owned(), Refused(404)),
        ("GET http://u@a.test/a/x HTTP/1.1\r\nHost: a.test\r\n\r\n".to_owned(), Refused(400)),
        ("GET ftp://a.test/a/x HTTP/1.1\r\nHost: a.test\r\n\r\n".to_owned(), Refused(400)),
        ("GET /a/x HTTP/1.1\r\nHost: a.test\r\nHost: other\r\n\r\n".to_owned(), Refused(400)),
        ("GET /a/x HTTP/1.1\r\nHost: a.test\r\n Host: other\r\n\r\n".to_owned(), Refused(400)),
        ("GET /a/x HTTP/1.1\r\nHost: a.test, other\r\n\r\n".to_owned(), Refused(400)),
        ("GET /a/x HTTP/1.1\r\nHost: a.test/a\r\n\r\n".to_owned(), Refused(400)),
        ("GET /a/x HTTP/1.1\r\n\r\n".to_owned(), Refused(400)),
    ]
}

/// The bytes of a case: what follows its first line says how the backend is to answer.
fn wire(case: &str) -> Vec<u8> {
    let plan = "X-Plan: 200 0 0 0 0 0 0\r\n";
    let with_plan = case.replacen("\r\nHost:", &format!("\r\n{plan}Host:"), 1);
    [with_plan.as_bytes(), NEXT.as_bytes()].concat()
}

fn talk(address: std::net::SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    // One that has refused may not take it all.
    stream.write_all(bytes).ok();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&answer)),
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_backend_never_sees_two_requests_in_one() {
    let backend = Backend::start("gateway");
    let (plane, threads, _budget) = gateway(&backend);
    for (case, then) in cases() {
        let answer = talk(plane.address("s").unwrap(), &wire(&case));
        let answers = answer.matches("HTTP/1.1 ").count();
        let shown = case.chars().take(150).collect::<String>();
        let seen: Vec<_> = backend.take(0).into_iter().filter(|request| request.complete).collect();
        let lines: Vec<&str> = seen.iter().map(|request| request.line.as_str()).collect();
        match then {
            Refused(status) => {
                assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown:?}: {answer}");
                assert!(lines.is_empty() || status == 404 && lines == ["GET /a/next HTTP/1.1"], "{shown:?}: {lines:?}");
                assert!(answers == 1 || status == 404, "{shown:?}: {answer}");
            }
            Seen(line, body) => {
                assert_eq!(lines, [line, "GET /a/next HTTP/1.1"], "{shown:?}: {answer}");
                assert_eq!(String::from_utf8_lossy(&seen[0].body), body, "{shown:?}");
                assert_eq!(crate::wire::find(&seen[0].headers, "host").as_deref(), Some("a.test"), "{shown:?}");
                assert!(answers == 2 && answer.starts_with("HTTP/1.1 200 "), "{shown:?}: {answer}");
            }
        }
    }
    plane.drain();
    threads.stop();
}
