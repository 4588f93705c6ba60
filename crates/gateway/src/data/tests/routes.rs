//! What a server answers by itself, and what it changes on the way.

use serde_json::{Value, json};

use super::{
    Gateway, body, status,
    upstream::{Then, upstream},
};

fn mock(name: &str) -> Value {
    let rules = json!([{"match": {}, "code": 200, "body": name}]);
    json!({"filters": [{"name": "m", "kind": "Mock", "rules": rules}]})
}

#[test]
fn routes_lead_by_host_path_and_method() {
    let mut gateway = Gateway::new();
    for name in ["a", "b", "c"] {
        gateway.set(name, "Pipeline", mock(name));
    }
    let server = json!({
        "port": 0, "address": "127.0.0.1",
        "rules": [
            {"host": "a.test", "paths": [
                {"path": "/x", "methods": ["POST"], "backend": "a"},
                {"pathPrefix": "/x", "methods": ["GET"], "backend": "b"},
            ]},
            {"hosts": [{"value": "*.other"}], "paths": [{"backend": "c"}, {"path": "/gone", "backend": "none"}]},
            {"paths": [{"path": "/every", "backend": "a"}, {"path": "/none", "backend": "none"}]},
        ],
    });
    gateway.set("s", "HTTPServer", server);
    let statuses = gateway.apply();
    assert_eq!(statuses["s"].error, None);
    assert_eq!(statuses["s"].warnings, ["the pipeline \"none\" does not exist"]);
    for (method, host, path, expected) in [
        ("POST", "a.test", "/x", "200 a"),
        ("GET", "A.TEST:80", "/x", "200 b"),
        ("GET", "a.test", "/%78yz", "200 b"),
        ("PUT", "a.test", "/x", "405 "),
        ("GET", "a.test", "/y", "404 "),
        ("GET", "b.other", "/anything", "200 c"),
        ("GET", "b.test", "/every", "200 a"),
        ("GET", "a.test", "/every", "200 a"),
        ("GET", "b.test", "/none", "503 "),
    ] {
        let answer = gateway.ask(&format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
        assert_eq!(format!("{} {}", status(&answer), body(&answer)), expected, "{method} {host}{path}");
    }
}

#[test]
fn paths_are_rewritten_and_clients_are_named() {
    let address = upstream(|received| {
        let client = received.headers.iter().find(|line| line.starts_with("x-forwarded-for")).cloned();
        let text = format!("{} {}", received.line, client.unwrap_or_default());
        (format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()), Then::Keep)
    });
    let mut gateway = Gateway::with_proxy(address, json!({}));
    let server = json!({
        "port": 0, "address": "127.0.0.1", "xForwardedFor": true,
        "rules": [{"paths": [
            {"path": "/exact", "pathPrefix": "/e", "rewriteTarget": "/new", "backend": "p"},
            {"pathPrefix": "/api/", "rewriteTarget": "/v1/", "backend": "p"},
            {"pathPrefix": "/", "backend": "p"},
        ]}],
    });
    gateway.set("s", "HTTPServer", server);
    gateway.apply_all();
    for (target, header, expected) in [
        ("/exact?a=b", "", "GET /new?a=b HTTP/1.1 x-forwarded-for: 127.0.0.1"),
        ("/else", "", "GET /newlse HTTP/1.1 x-forwarded-for: 127.0.0.1"),
        ("/api/a%20b%2Fc", "", "GET /v1/a%20b/c HTTP/1.1 x-forwarded-for: 127.0.0.1"),
        ("/same%2F?x#", "", ""),
        ("/same%2F?x", "", "GET /same%2F?x HTTP/1.1 x-forwarded-for: 127.0.0.1"),
        ("/", "X-Forwarded-For: 1.2.3.4\r\n", "GET / HTTP/1.1 x-forwarded-for: 1.2.3.4"),
        ("/", "X-Forwarded-For: 10.0.0.1\r\n", "GET / HTTP/1.1 x-forwarded-for: 10.0.0.1"),
        ("/", "X-Real-Ip: 5.6.7.8\r\n", "GET / HTTP/1.1 x-forwarded-for: 5.6.7.8"),
        (
            "/",
            "X-Forwarded-For: 10.0.0.1\r\nX-Real-Ip: 5.6.7.8\r\n",
            "GET / HTTP/1.1 x-forwarded-for: 10.0.0.1,5.6.7.8",
        ),
        ("/", "X-Forwarded-For: 127.0.0.1\r\n", "GET / HTTP/1.1 x-forwarded-for: 127.0.0.1"),
    ] {
        let answer = gateway.ask(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n{header}Connection: close\r\n\r\n"));
        if expected.is_empty() {
            assert_eq!(status(&answer), 400, "{target}");
        } else {
            assert_eq!(body(&answer), expected, "{target}");
        }
    }
}

#[test]
fn bodies_are_limited_by_server_and_path() {
    let mut gateway = Gateway::with_proxy(super::upstream::echo(), json!({}));
    let server = json!({
        "port": 0, "address": "127.0.0.1", "clientMaxBodySize": 10,
        "rules": [{"paths": [
            {"path": "/more", "clientMaxBodySize": 20, "backend": "p"},
            {"path": "/any", "clientMaxBodySize": -1, "backend": "p"},
            {"backend": "p"},
        ]}],
    });
    gateway.set("s", "HTTPServer", server);
    gateway.apply_all();
    for (path, length, expected) in
        [("/", 10, 200), ("/", 11, 413), ("/more", 20, 200), ("/more", 21, 413), ("/any", 200_000, 200)]
    {
        let text = "x".repeat(length);
        let known =
            format!("POST {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{text}");
        let chunks = format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{text}\r\n0\r\n\r\n"
        );
        assert_eq!(status(&gateway.ask(&known)), expected, "{path} {length}");
        assert_eq!(status(&gateway.ask(&chunks)), expected, "{path} {length} in chunks");
    }
}
