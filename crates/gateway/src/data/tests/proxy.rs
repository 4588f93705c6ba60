//! The proxy end to end, with upstreams that behave and that do not.

use std::{
    io::{BufReader, Read, Write},
    net::{Shutdown, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::json;

use super::{
    Gateway, body, connect, read_all, read_until, status,
    upstream::{Then, echo, raw, read_request, upstream},
};
use crate::objects::Plane;

#[test]
fn requests_and_answers_pass_with_their_framing() {
    let gateway = Gateway::with_proxy(echo(), json!({}));
    let ask =
        |line: &str, rest: &str| gateway.ask(&format!("{line} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{rest}"));
    let get = ask("GET /a?b", "\r\n");
    assert!(get.contains("\r\nX-Up: 1\r\n") && get.contains("\r\nContent-Length: 20\r\n"), "{get}");
    assert_eq!(body(&get), "GET /a?b HTTP/1.1 []");
    assert_eq!(body(&ask("POST /p", "Content-Length: 5\r\n\r\nhello")), "POST /p HTTP/1.1 [hello]");
    let chunked = "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nTrailer: t\r\n\r\n";
    assert_eq!(body(&ask("PUT /c", chunked)), "PUT /c HTTP/1.1 [hello]");
    let head = ask("HEAD /h", "\r\n");
    assert!(head.contains("\r\nContent-Length: 19\r\n") && body(&head).is_empty(), "{head}");
    let large = "x".repeat(300_000);
    assert_eq!(
        body(&ask("POST /l", &format!("Content-Length: 300000\r\n\r\n{large}"))),
        format!("POST /l HTTP/1.1 [{large}]")
    );
}

#[test]
fn answers_of_every_framing_reach_every_client() {
    let address = upstream(|received| match received.line.split(' ').nth(1) {
        Some("/chunked") => (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nT: x\r\n\r\n".into(),
            Then::Keep,
        ),
        Some("/close") => ("HTTP/1.0 200 OK\r\n\r\nabcde".into(), Then::Close),
        Some("/none") => ("HTTP/1.1 204 No Content\r\n\r\n".into(), Then::Keep),
        Some("/interim") => (
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde".into(),
            Then::Keep,
        ),
        _ => ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: x\r\n\r\n".into(), Then::Keep),
    });
    let gateway = Gateway::with_proxy(address, json!({}));
    let ask = |path: &str, version: &str| {
        gateway.ask(&format!("GET {path} HTTP/{version}\r\nHost: h\r\nConnection: close\r\n\r\n"))
    };
    for (path, framed) in [("/chunked", "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), ("/close", "5\r\nabcde\r\n0\r\n\r\n")] {
        let answer = ask(path, "1.1");
        assert!(answer.contains("\r\nTransfer-Encoding: chunked\r\n"), "{answer}");
        assert_eq!(body(&answer), framed);
        assert_eq!(body(&ask(path, "1.0")), "abcde");
    }
    assert_eq!(body(&ask("/interim", "1.1")), "abcde");
    let none = ask("/none", "1.1");
    assert!(status(&none) == 204 && !none.contains("Content-Length") && !none.contains("Transfer"), "{none}");
    let unmodified = ask("/304", "1.1");
    assert!(status(&unmodified) == 304 && unmodified.contains("\r\nContent-Length: 5\r\n"), "{unmodified}");
}

#[test]
fn headers_of_the_connection_stay_on_their_side() {
    let address = upstream(|received| {
        let text = received.headers.join("|");
        let head = "Connection: X-Gone\r\nX-Gone: 1\r\nKeep-Alive: timeout=1\r\nX-Stays: 1\r\nUpgrade: h2c\r\n";
        (format!("HTTP/1.1 200 OK\r\n{head}Content-Length: {}\r\n\r\n{text}", text.len()), Then::Keep)
    });
    let gateway = Gateway::with_proxy(address, json!({}));
    let answer = gateway.ask(
        "GET / HTTP/1.1\r\nHost: client.test\r\nConnection: close, X-Secret, Host\r\nX-Secret: 1\r\nTE: trailers\r\n\
         Upgrade: websocket\r\nProxy-Authorization: x\r\nX-Kept: \t 1 \r\n\r\n",
    );
    assert_eq!(body(&answer), "host: client.test|x-kept: 1");
    assert!(
        answer.contains("\r\nX-Stays: 1\r\n") && !answer.contains("X-Gone") && !answer.contains("Keep-Alive"),
        "{answer}"
    );
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let gateway = Gateway::with_proxy(echo(), json!({}));
    let mut wire: String = (0..200).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: h\r\n\r\n")).collect();
    wire.push_str("GET /end HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let answer = gateway.ask(&wire);
    let seen: Vec<&str> = answer.split("GET /").skip(1).filter_map(|part| part.split(' ').next()).collect();
    let expected: Vec<String> = (0..200).map(|n| n.to_string()).chain(["end".to_owned()]).collect();
    assert_eq!(seen, expected);
}

#[test]
fn leave_to_send_is_given_by_the_gateway() {
    let gateway = Gateway::with_proxy(echo(), json!({}));
    let mut client = connect(gateway.address());
    client
        .write_all(
            b"POST /e HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
        )
        .unwrap();
    assert_eq!(read_until(&mut client, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"hello").unwrap();
    assert_eq!(body(&read_all(&mut client)), "POST /e HTTP/1.1 [hello]");
}

#[test]
fn a_half_closed_client_gets_its_answer() {
    let gateway = Gateway::with_proxy(echo(), json!({}));
    let mut client = connect(gateway.address());
    client.write_all(b"POST /e HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(body(&read_all(&mut client)), "POST /e HTTP/1.1 [hello]");
}

#[test]
fn bodies_flow_both_ways_at_once() {
    // The upstream answers before it has read the body, and sends each byte back as it comes.
    let address = raw(|mut stream| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n").unwrap();
        for _ in 0..8 {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            stream.write_all(&byte).unwrap();
        }
    });
    let gateway = Gateway::with_proxy(address, json!({}));
    let mut client = connect(gateway.address());
    client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\nConnection: close\r\n\r\n").unwrap();
    assert!(read_until(&mut client, "\r\n\r\n").starts_with("HTTP/1.1 200 "));
    for byte in b"abcdefgh" {
        client.write_all(&[*byte]).unwrap();
        let mut back = [0];
        client.read_exact(&mut back).unwrap();
        assert_eq!(back[0], *byte);
    }
    assert_eq!(read_all(&mut client), "");
}

#[test]
fn an_early_answer_reaches_a_client_that_still_sends() {
    let address = raw(|mut stream| {
        let mut head = [0; 512];
        assert!(stream.read(&mut head).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = [0; 4096];
        while stream.read(&mut rest).is_ok_and(|read| read > 0) {}
    });
    let gateway = Gateway::with_proxy(address, json!({}));
    let mut client = connect(gateway.address());
    client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\nxxxx").unwrap();
    let answer = read_all(&mut client);
    assert!(status(&answer) == 403 && body(&answer) == "no", "{answer}");
}

#[test]
fn upstreams_that_fail_are_told_from_each_other() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(Gateway::with_proxy(closed, json!({})).status("/"), 503, "nobody listens");
    let address = upstream(|received| match received.line.split(' ').nth(1) {
        Some("/garbage") => ("this is no answer\r\n\r\n".into(), Then::Close),
        Some("/two") => ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".into(), Then::Close),
        Some("/switch") => ("HTTP/1.1 101 Switching Protocols\r\n\r\n".into(), Then::Close),
        Some("/head") => (format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(40_000)), Then::Close),
        Some("/large") => ("HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n".into(), Then::Close),
        Some("/none") => ("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n".into(), Then::Close),
        Some("/no-chunk") => ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".into(), Then::Close),
        Some("/part") => ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this".into(), Then::Close),
        Some("/empty") => ("HTTP/1.1 200 OK\r\n\r\n".into(), Then::Close),
        Some("/cut") => ("HTTP/1.1 200 OK\r\nContent-Length: 8193\r\n\r\nonly this".into(), Then::Close),
        Some("/chunk-cut") => ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n".into(), Then::Close),
        _ => (String::new(), Then::Close),
    });
    let gateway = Gateway::with_proxy(address, json!({}));
    for (path, expected) in
        [("/closes", 503), ("/garbage", 503), ("/two", 503), ("/switch", 503), ("/head", 503), ("/large", 500)]
    {
        assert_eq!(gateway.status(path), expected, "{path}");
    }
    for (path, expected) in [("/none", 500), ("/no-chunk", 500), ("/part", 500), ("/empty", 200)] {
        assert_eq!(gateway.status(path), expected, "{path}");
    }
    // The status is gone already: only a cut connection tells the truth.
    let cut = gateway.ask("GET /cut HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(cut.contains("Content-Length: 8193") && body(&cut) == "only this", "{cut}");
    let cut = gateway.ask("GET /chunk-cut HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(body(&cut), "3\r\nabc\r\n", "without a last chunk");
    let unlimited = Gateway::with_proxy(address, json!({"serverMaxBodySize": -1}));
    let cut = unlimited.ask("GET /part HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(cut.contains("Content-Length: 100") && body(&cut) == "only this", "passed on as it comes: {cut}");
}

#[test]
fn kept_connections_that_the_upstream_closed_cost_no_request() {
    let connections = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&connections);
    // It closes after each second answer without a word.
    let address = raw(move |stream| {
        seen.fetch_add(1, Ordering::SeqCst);
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        for _ in 0..2 {
            let Some(_) = read_request(&mut reader) else { return };
            (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        }
    });
    let gateway = Gateway::with_proxy(address, json!({}));
    let mut client = connect(gateway.address());
    for _ in 0..100 {
        client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        assert_eq!(body(&read_until(&mut client, "ok")), "ok");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 50);
}

#[test]
fn a_request_is_sent_again_only_when_that_cannot_do_harm() {
    // The second request on a connection is read and then dropped without an answer.
    let address = raw(|stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let Some(_) = read_request(&mut reader) else { return };
        (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        drop(read_request(&mut reader));
    });
    for (method, expected) in [("GET", 200), ("DELETE", 200), ("POST", 503), ("PATCH", 503)] {
        let gateway = Gateway::with_proxy(address, json!({}));
        let mut client = connect(gateway.address());
        client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        read_until(&mut client, "ok");
        client.write_all(format!("{method} / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(status(&read_all(&mut client)), expected, "{method}");
    }
}

#[test]
fn slow_upstreams_meet_the_timeout() {
    let address = upstream(|_| {
        std::thread::park_timeout(super::WAIT);
        (String::new(), Then::Close)
    });
    let gateway = Gateway::with_proxy(address, json!({"timeout": "50ms"}));
    assert_eq!(gateway.status("/"), 408);
}

#[test]
fn results_lead_through_the_flow() {
    let address = upstream(|_| ("HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops".into(), Then::Keep));
    let mut gateway = Gateway::with_proxy(address, json!({}));
    let failed = gateway.ask("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert!(status(&failed) == 500 && body(&failed) == "oops", "{failed}");
    let proxy =
        json!({"name": "proxy", "kind": "Proxy", "pools": [{"servers": [{"url": format!("http://{address}")}]}]});
    let mock = json!({"name": "sorry", "kind": "Mock", "rules": [{"match": {}, "code": 202, "body": "later"}]});
    let flow = json!([{"filter": "proxy", "jumpIf": {"failureCode": "sorry"}}, {"filter": "END"}, {"filter": "sorry"}]);
    gateway.set("p", "Pipeline", json!({"filters": [proxy, mock], "flow": flow}));
    gateway.apply_all();
    let answer = gateway.ask("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert!(status(&answer) == 202 && body(&answer) == "later", "{answer}");
}

#[test]
fn servers_take_turns() {
    let servers: Vec<_> = ["a", "b", "c"]
        .map(|name| upstream(move |_| (format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{name}!"), Then::Keep)))
        .iter()
        .map(|address| json!({"url": format!("http://{address}")}))
        .collect();
    let gateway = Gateway::with_filter(json!({"name": "proxy", "kind": "Proxy", "pools": [{"servers": servers}]}));
    let mut client = connect(gateway.address());
    let mut seen = String::new();
    for _ in 0..6 {
        client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        seen.push_str(body(&read_until(&mut client, "!")).trim_end_matches('!'));
    }
    assert_eq!(seen, "abcabc");
}

#[test]
fn a_path_may_have_a_pool_in_place_of_a_pipeline() {
    let mut gateway = Gateway::new();
    let server = |edit: u64, url: String| {
        json!({"port": 0, "address": "127.0.0.1", "maxConnections": edit, "rules": [{"paths": [
            {"path": "/none", "backend": "none"},
            {"pathPrefix": "/", "backendPool": {"servers": [{"url": url}]}},
        ]}]})
    };
    let url = format!("http://{}", super::upstream::echo());
    gateway.set("s", "HTTPServer", server(1000, url.clone()));
    let statuses = gateway.apply();
    assert_eq!(statuses["s"].warnings, ["the pipeline \"none\" does not exist"]);
    assert_eq!((gateway.status("/a"), gateway.status("/none")), (200, 503));
    gateway.set("s", "HTTPServer", server(1001, url));
    gateway.apply();
    assert_eq!(gateway.status("/a"), 200);
    let metrics: String = gateway.plane.metrics(&[]).collect();
    assert!(metrics.contains("backend=\"GENERATED-s-0-1\"} 2\n"), "{metrics}");
    gateway.set("s", "HTTPServer", server(1002, "no url".to_owned()));
    let error = gateway.apply()["s"].error.clone().unwrap();
    assert!(error.starts_with("rules[0].paths[1].backendPool.servers[0].url: "), "{error}");
}
