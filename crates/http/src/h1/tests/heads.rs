//! Heads that are refused, each with its status and the end of the connection.

use super::{Config, Echo, run, start, talk};

/// `(what is sent, status)`: the first line of the answer, one answer, and the connection closed behind it.
fn hostile() -> Vec<(Vec<u8>, u16)> {
    let text = |text: &str| text.as_bytes().to_vec();
    let get = |headers: &str| text(&format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n"));
    let post = |headers: &str| text(&format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\nhello"));
    vec![
        // Two framings, or a doubtful one: smuggling.
        (post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400),
        (post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), 400),
        (post("Content-Length: 5\r\nContent-Length: 6\r\n"), 400),
        (post("Content-Length: 5\r\nContent-Length: 5\r\n"), 400),
        (post("Content-Length: 5, 5\r\n"), 400),
        (post("Content-Length: +5\r\n"), 400),
        (post("Content-Length: -5\r\n"), 400),
        (post("Content-Length: 0x5\r\n"), 400),
        (post("Content-Length: 5 5\r\n"), 400),
        (post("Content-Length:\r\n"), 400),
        (post("Content-Length: 9223372036854775808\r\n"), 400),
        (post("Content-Length: 99999999999999999999\r\n"), 400),
        (post("Transfer-Encoding: gzip\r\n"), 501),
        (post("Transfer-Encoding: gzip, chunked\r\n"), 501),
        (post("Transfer-Encoding: chunked, chunked\r\n"), 501),
        (post("Transfer-Encoding: xchunked\r\n"), 501),
        (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400),
        (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"), 400),
        (post("Transfer-Encoding : chunked\r\n"), 400),
        (post("Transfer-Encoding\t: chunked\r\n"), 400),
        (post("Transfer-Encoding: \x0bchunked\r\n"), 400),
        (text("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400),
        // Line ends and bytes that other readers take otherwise.
        (text("GET / HTTP/1.1\nHost: a\n\n"), 400),
        (text("GET / HTTP/1.1\r\nHost: a\n\r\n"), 400),
        (text("GET / HTTP/1.1\r\nHost: a\r\nX: y\rZ: 1\r\n\r\n"), 400),
        (text("GET / HTTP/1.1\rX\r\n\r\n"), 400),
        (text("GET /\rX HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (get("X: a\0b\r\n"), 400),
        (get("X\0: a\r\n"), 400),
        (get("X: \x7f\r\n"), 400),
        (get("X Y: a\r\n"), 400),
        (get(" X: a\r\n"), 400),
        (get("X: a\r\n folded\r\n"), 400),
        (get("X: a\r\n\tfolded\r\n"), 400),
        (get("no colon\r\n"), 400),
        (get(": no name\r\n"), 400),
        // Hosts.
        (text("GET / HTTP/1.1\r\n\r\n"), 400),
        (text("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), 400),
        (text("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), 400),
        (text("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), 400),
        (text("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"), 400),
        // Request lines.
        (text("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (text("GET / x HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (text("GET /\r\nHost: a\r\n\r\n"), 400),
        (text("GET\r\n\r\n"), 400),
        (text(" GET / HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (text("G(T / HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (text("GET a HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (text("GET * HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (text("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (text("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (text("GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (text("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), 505),
        (text("GET / HTTP/1.2\r\nHost: a\r\n\r\n"), 505),
        (text("GET / http/1.1\r\nHost: a\r\n\r\n"), 400),
        (text("GET / HTTP/1.11\r\nHost: a\r\n\r\n"), 400),
        (text("\x16\x03\x01\x02\r\n\r\n"), 400),
        // Sizes.
        (text(&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(17_000))), 414),
        (get(&format!("X: {}\r\n", "x".repeat(17_000))), 431),
        (get(&"X: y\r\n".repeat(100)), 431),
        (get("Expect: something\r\n"), 417),
    ]
}

#[test]
fn hostile_heads_are_refused_and_the_connection_closes() {
    run(|budget| async move {
        let (address, _shared) = start(Echo, Config::default(), &budget).await;
        for (sent, status) in hostile() {
            // What follows must not be taken for a request.
            let sent = [&sent[..], b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
            let answer = talk(address, &[&sent]).await;
            let shown = String::from_utf8_lossy(&sent[..sent.len().min(90)]).into_owned();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown:?}: {answer}");
            assert!(answer.contains("\r\nConnection: close\r\n"), "{shown:?}");
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{shown:?}: {answer}");
        }
    });
}

#[test]
fn a_head_may_be_as_large_as_the_limit() {
    run(|budget| async move {
        let (address, _shared) = start(Echo, Config::default(), &budget).await;
        let mut head = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: ".to_owned();
        head.push_str(&"y".repeat((16 << 10) - head.len() - 4));
        head.push_str("\r\n\r\n");
        assert_eq!(head.len(), 16 << 10);
        assert!(talk(address, &[head.as_bytes()]).await.ends_with("GET /x []"));
        let many = format!("GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{}\r\n", "X: y\r\n".repeat(98));
        assert!(talk(address, &[many.as_bytes()]).await.ends_with("GET /x []"));
    });
}

#[test]
fn unusual_but_good_heads_are_served() {
    run(|budget| async move {
        let (address, _shared) = start(Echo, Config::default(), &budget).await;
        for (line, path) in [
            ("GET /a?b HTTP/1.1\r\nHost: a", "/a"),
            ("\r\nGET /a HTTP/1.1\r\nHost: a", "/a"),
            ("GET http://other:80/p?q HTTP/1.1\r\nHost: a", "/p"),
            ("GET http://other HTTP/1.1\r\nHost: a", "/"),
            ("GET http://other?q HTTP/1.1\r\nHost: a", "/"),
            ("GET /a%20b HTTP/1.1\r\nhost:a", "/a%20b"),
            ("GET /a HTTP/1.1\r\nHost: a\r\nX:\r\nY:  \r\nZ: \t z \t", "/a"),
            ("GET /a HTTP/1.1\r\nHost:", "/a"),
            ("GET /a HTTP/1.0", "/a"),
        ] {
            let answer = talk(address, &[format!("{line}\r\nConnection: close\r\n\r\n").as_bytes()]).await;
            assert!(answer.ends_with(&format!("GET {path} []")), "{line:?}: {answer}");
        }
        let answer = talk(address, &[b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"]).await;
        assert!(answer.ends_with("OPTIONS * []"));
        let answer = talk(address, &[b"PURGE /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"]).await;
        assert!(answer.ends_with("PURGE /a []"));
    });
}

#[test]
fn any_bytes_are_survived() {
    run(|budget| async move {
        let (address, _shared) = start(Echo, Config::default(), &budget).await;
        let good = b"POST /a?b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n3;x\r\nabc\r\n0\r\nT: u\r\n\r\n";
        let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
        for round in 0..400 {
            let mut bytes = good.to_vec();
            for _ in 0..1 + round % 4 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = usize::try_from(state >> 33).unwrap() % bytes.len();
                let new = u8::try_from((state >> 20) & 0xff).unwrap();
                match state % 3 {
                    0 => bytes[at] = new,
                    1 => bytes.insert(at, new),
                    _ => drop(bytes.remove(at)),
                }
            }
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, &bytes).await.unwrap();
            tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
            let answer = super::read_all(&mut stream).await;
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 "), "{answer:?}");
        }
    });
}
