//! Filters end to end: what reaches the upstream, and what the client gets.

use serde_json::{Value, json};

use super::{
    Gateway, body, connect, read_until, status,
    upstream::{Then, echo, upstream},
};

/// A gateway whose pipeline has these filters and this flow.
fn with(filters: Value, flow: Value) -> Gateway {
    let mut gateway = Gateway::new();
    gateway.set("p", "Pipeline", json!({ "filters": filters, "flow": flow }));
    let server = json!({"port": 0, "address": "127.0.0.1", "rules": [{"paths": [{"backend": "p"}]}]});
    gateway.set("s", "HTTPServer", server);
    gateway.apply_all();
    gateway
}

fn proxy(address: std::net::SocketAddr) -> Value {
    json!({"name": "proxy", "kind": "Proxy", "pools": [{"servers": [{"url": format!("http://{address}")}]}]})
}

fn ask(gateway: &Gateway, line: &str, rest: &str) -> String {
    gateway.ask(&format!("{line} HTTP/1.1\r\nConnection: close\r\n{rest}"))
}

#[test]
fn an_adapted_request_reaches_the_upstream() {
    let address = upstream(|received| {
        let text = format!("{} {} [{}]", received.line, received.headers.join("|"), received.body);
        (format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()), Then::Keep)
    });
    let adaptor = json!({
        "name": "adaptor", "kind": "RequestAdaptor", "host": "up.test", "method": "PUT",
        "path": {"regexpReplace": {"regexp": "^/v1/(.*)$", "replace": "/$1"}},
        "header": {"del": ["X-A"], "set": {"X-B": "2"}}, "body": "new",
    });
    let gateway = with(json!([adaptor, proxy(address)]), json!([]));
    let sent = "Host: h\r\nX-A: 1\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello";
    let answer = ask(&gateway, "POST /v1/users?q=1", sent);
    assert_eq!(body(&answer), "PUT /users?q=1 HTTP/1.1 host: up.test|x-b: 2|content-length: 3 [new]");
    // The next request of the connection stands behind the body that was replaced.
    let mut stream = connect(gateway.address());
    for path in ["/v1/a", "/v1/b"] {
        let request =
            format!("POST {path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n");
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        let answer = read_until(&mut stream, "[new]");
        assert!(answer.contains(&format!("PUT /{} HTTP/1.1", &path[4..])), "{answer}");
    }
}

/// The client's method says whether the answer has a body, not the one that the upstream was asked with.
#[test]
fn a_changed_method_leaves_the_framing_of_the_answer_alone() {
    let to = |method: &str| json!({"name": "adaptor", "kind": "RequestAdaptor", "method": method});
    for (asked, sent) in [("HEAD", "GET"), ("GET", "HEAD")] {
        let gateway = with(json!([to(sent), proxy(echo())]), json!([]));
        let mut stream = connect(gateway.address());
        for path in ["/a", "/b"] {
            let request = format!("{asked} {path} HTTP/1.1\r\nHost: h\r\n\r\n");
            std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
            let answer = read_until(&mut stream, "\r\n\r\n");
            assert_eq!(status(&answer), 200);
            let length = if asked == "HEAD" { "\r\nContent-Length: 18\r\n" } else { "\r\nContent-Length: 0\r\n" };
            assert!(answer.contains(length), "{asked} as {sent}: {answer}");
        }
    }
}

#[test]
fn an_adapted_answer_has_its_own_length() {
    let adaptor = json!({
        "name": "adaptor", "kind": "ResponseAdaptor", "header": {"del": ["X-Up"], "add": {"X-New": "1"}}, "body": "short",
    });
    let gateway = with(json!([proxy(echo()), adaptor]), json!([]));
    let answer = ask(&gateway, "GET /a-path-that-is-long", "Host: h\r\n\r\n");
    assert!(answer.contains("\r\nContent-Length: 5\r\n") && answer.contains("\r\nX-New: 1\r\n"), "{answer}");
    assert!(!answer.contains("X-Up") && body(&answer) == "short", "{answer}");
    let alone = json!({"name": "adaptor", "kind": "ResponseAdaptor", "body": "x"});
    assert_eq!(status(&ask(&with(json!([alone]), json!([])), "GET /", "Host: h\r\n\r\n")), 503, "nothing to adapt");
}

#[test]
fn a_fallback_answers_for_a_service_that_failed() {
    let address = upstream(|_| ("HTTP/1.1 500 No\r\nContent-Length: 3\r\nX-Up: 1\r\n\r\nbad".into(), Then::Keep));
    let fallback = json!({
        "name": "fallback", "kind": "Fallback", "mockCode": 203, "mockBody": "instead", "mockHeaders": {"X-Up": "2"},
    });
    let flow = json!([
        {"filter": "proxy", "jumpIf": {"failureCode": "fallback"}}, {"filter": "END"}, {"filter": "fallback"},
    ]);
    let answer = ask(&with(json!([proxy(address), fallback]), flow), "GET /", "Host: h\r\n\r\n");
    assert!(status(&answer) == 203 && body(&answer) == "instead" && answer.contains("\r\nX-Up: 2\r\n"), "{answer}");
    assert!(answer.contains("\r\nContent-Length: 7\r\n") && !answer.contains("X-Up: 1"), "{answer}");
}

#[test]
fn redirects_are_answered_where_the_expression_matches() {
    let redirector = json!({
        "name": "r", "kind": "Redirector", "match": "^/users/([0-9]+)\\?x=(.*)$", "replacement": "https://a.test/$1/${2}",
        "statusCode": 307,
    });
    let gateway = with(json!([redirector, proxy(echo())]), json!([]));
    let answer = ask(&gateway, "GET /users/7?x=y", "Host: h\r\n\r\n");
    assert!(status(&answer) == 307 && answer.contains("\r\nLocation: https://a.test/7/y\r\n"), "{answer}");
    assert_eq!(body(&answer), "Temporary Redirect");
    assert_eq!(status(&ask(&gateway, "GET /users/x", "Host: h\r\n\r\n")), 200);
}

#[test]
fn sharing_across_origins_is_told_and_the_service_has_the_last_word() {
    let cors = json!({
        "name": "cors", "kind": "CORSAdaptor", "allowedOrigins": ["http://a.test"], "allowedMethods": ["GET", "PUT"],
    });
    let gateway = with(json!([cors, proxy(echo())]), json!([]));
    let preflight = "Host: h\r\nOrigin: http://a.test\r\nAccess-Control-Request-Method: PUT\r\n\r\n";
    let answer = ask(&gateway, "OPTIONS /", preflight);
    assert!(status(&answer) == 204 && answer.contains("\r\nAccess-Control-Allow-Methods: PUT\r\n"), "{answer}");
    let answer = ask(&gateway, "GET /", "Host: h\r\nOrigin: http://a.test\r\n\r\n");
    assert!(answer.contains("\r\nAccess-Control-Allow-Origin: http://a.test\r\n"), "{answer}");
    assert!(answer.contains("\r\nX-Up: 1\r\n") && answer.contains("\r\nVary: Origin\r\n"), "{answer}");
    assert_eq!(status(&ask(&gateway, "GET /", "Host: h\r\nOrigin: http://b.test\r\n\r\n")), 403);
    assert!(!ask(&gateway, "GET /", "Host: h\r\n\r\n").contains("Access-Control"));
}

#[test]
fn a_limit_of_the_node_is_shared_by_its_threads() {
    let limiter = json!({
        "name": "limiter", "kind": "RateLimiter", "defaultPolicyRef": "p",
        "policies": [{"name": "p", "limitForPeriod": 3, "limitRefreshPeriod": "1h", "timeoutDuration": "0s"}],
        "urls": [{"url": {"prefix": "/limited"}}],
    });
    let gateway = with(json!([limiter, proxy(echo())]), json!([]));
    let statuses: Vec<u16> = (0..6).map(|_| gateway.status("/limited")).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429, 429]);
    assert_eq!(gateway.status("/free"), 200);
    let answer = ask(&gateway, "GET /limited", "Host: h\r\n\r\n");
    assert!(answer.contains("\r\nX-EG-Rate-Limiter: too-many-requests\r\n"), "{answer}");
}
