//! What is kept from one request to the next: answers, and counts over an edit.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};

use super::{
    Gateway, body, status,
    upstream::{Then, echo, upstream},
};

fn ask(gateway: &Gateway, line: &str, headers: &str) -> String {
    gateway.ask(&format!("{line} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{headers}\r\n"))
}

#[test]
fn an_answer_is_asked_for_once_whatever_thread_and_framing() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let address = upstream(move |received| {
        count.fetch_add(1, Ordering::SeqCst);
        let number = count.load(Ordering::SeqCst);
        let answer = if received.line.contains("/chunked") {
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-N: {number}\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        } else {
            format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-N: {number}\r\n\r\nhello")
        };
        (answer, Then::Keep)
    });
    let cache = json!({"expiration": "1h", "maxEntryBytes": 5, "codes": [200], "methods": ["GET"]});
    let gateway = Gateway::with_proxy(address, json!({ "memoryCache": cache }));
    for path in ["/a", "/chunked"] {
        let line = format!("GET {path}?id=1");
        let first = ask(&gateway, &line, "");
        assert!(status(&first) == 200 && first.contains("hello"), "{first}");
        for _ in 0..8 {
            let again = ask(&gateway, &line, "");
            assert!(body(&again) == "hello" && again.matches("Content-Length: 5\r\n").count() == 1, "{again}");
            assert!(again.contains("X-N:"), "{again}");
        }
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    ask(&gateway, "GET /a?id=2", "");
    ask(&gateway, "POST /a?id=1", "");
    ask(&gateway, "GET /a?id=1", "Cache-Control: no-cache\r\n");
    assert_eq!(asked.load(Ordering::SeqCst), 5, "another query, another method, and one that wants a fresh one");
}

#[test]
fn answers_of_a_cache_are_packed_for_who_takes_that() {
    let address = echo();
    let cache = json!({"expiration": "1h", "maxEntryBytes": 1000, "codes": [200], "methods": ["GET"]});
    let pools = json!([{"servers": [{"url": format!("http://{address}")}], "memoryCache": cache}]);
    let proxy = json!({"name": "proxy", "kind": "Proxy", "pools": pools, "compression": {"minLength": 10}});
    let gateway = Gateway::with_filter(proxy);
    for _ in 0..3 {
        let packed = ask(&gateway, "GET /some/path", "Accept-Encoding: gzip\r\n");
        assert!(packed.contains("Content-Encoding: gzip\r\n") && !packed.contains("some/path"), "{packed}");
        assert!(packed.contains("Vary: Accept-Encoding, Content-Encoding\r\n"), "{packed}");
        let plain = ask(&gateway, "GET /some/path", "Accept-Encoding: identity\r\n");
        assert_eq!(body(&plain), "GET /some/path HTTP/1.1 []");
    }
    let head = ask(&gateway, "HEAD /some/path", "Accept-Encoding: gzip\r\n");
    assert!(status(&head) == 200 && !head.contains("gzip"), "{head}");
}

#[test]
fn a_limit_survives_an_edit_that_leaves_it_alone() {
    let mut gateway = Gateway::new();
    let mut serve = |limit: u64, extra: &str| {
        let limiter = json!({
            "name": "limiter", "kind": "RateLimiter", "defaultPolicyRef": "p",
            "policies": [{"name": "p", "limitForPeriod": limit, "limitRefreshPeriod": "1h", "timeoutDuration": "0s"}],
            "urls": [{"url": {"prefix": "/limited"}}],
        });
        let adaptor = json!({"name": "a", "kind": "RequestAdaptor", "header": {"set": {"X-A": extra}}});
        gateway.serve(
            json!([adaptor, limiter, {"name": "m", "kind": "Mock", "rules": [{"match": {}, "code": 200}]}]),
            json!([]),
        );
        let statuses: Vec<u16> = (0..2).map(|_| gateway.status("/limited")).collect();
        statuses
    };
    assert_eq!(serve(3, "1"), [200, 200]);
    assert_eq!(serve(3, "2"), [200, 429], "one of three was left");
    assert_eq!(serve(2, "2"), [200, 200], "another policy begins anew");
}

#[test]
fn namespaces_are_given_requests_and_responses() {
    let mock = json!({"name": "mock", "kind": "Mock", "rules": [{"match": {}, "code": 200, "body": "second"}]});
    let builder = |name: &str, kind: &str, source: &str| json!({"name": name, "kind": kind, "sourceNamespace": source});
    let filters =
        json!([mock, builder("req", "RequestBuilder", "DEFAULT"), builder("resp", "ResponseBuilder", "second")]);
    let serve = |flow: Value| {
        let mut gateway = Gateway::new();
        gateway.serve(filters.clone(), flow);
        gateway.ask("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    };
    let mocked = json!({"mocked": "resp"});
    let answer = serve(json!([
        {"filter": "req", "namespace": "second"}, {"filter": "mock", "namespace": "second", "jumpIf": mocked}, {"filter": "resp"},
    ]));
    assert_eq!((status(&answer), body(&answer)), (200, "second"));
    let answer = serve(json!([{"filter": "resp"}]));
    assert_eq!(status(&answer), 500, "there is no response to take");
}
