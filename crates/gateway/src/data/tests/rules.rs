//! Conditions of rules and paths, rewriting, headers that a route sets, and live changes of all of it.

use std::io::Write;

use serde_json::{Value, json};
use tidegate_testkit::pki::fill;

use super::{
    Gateway, body, connect, read_until, status,
    upstream::{Then, upstream},
};
use crate::objects::Plane;

fn mock(text: &str) -> Value {
    json!({"filters": [{"name": "m", "kind": "Mock", "rules": [{"match": {}, "code": 200, "body": text}]}]})
}

/// A server `s` with these rules, and pipelines `a`, `b` and `c` that answer with their names.
fn gateway(extra: Value) -> Gateway {
    let mut gateway = Gateway::new();
    for name in ["a", "b", "c"] {
        gateway.set(name, "Pipeline", mock(name));
    }
    set_server(&mut gateway, extra);
    gateway.apply();
    gateway
}

fn set_server(gateway: &mut Gateway, extra: Value) {
    let mut server = json!({"port": 0, "address": "127.0.0.1"});
    server.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    gateway.set("s", "HTTPServer", server);
}

/// Status and body of each request: method, host and target, more header lines.
fn check(gateway: &Gateway, cases: &[(&str, &str, &str, &str, &str)]) {
    for (method, host, target, headers, expected) in cases {
        let answer =
            gateway.ask(&format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\r\n"));
        assert_eq!(format!("{} {}", status(&answer), body(&answer)), *expected, "{method} {host}{target} {headers:?}");
    }
}

#[test]
fn conditions_are_looked_at_in_order_and_the_worst_miss_is_told() {
    let rules = json!([
        {"host": "ip.test", "ipFilter": {"allowIPs": ["1.1.1.0/24"]}, "paths": [{"path": "/in", "backend": "a"}]},
        {"host": "c.test", "paths": [
            {"path": "/h", "headers": [{"key": "X-A", "values": ["1", "2"], "regexp": "^z"}], "backend": "a"},
            {"path": "/h", "methods": ["PUT"], "backend": "b"},
            {"path": "/both", "matchAllHeader": true, "backend": "a",
             "headers": [{"key": "x-a", "values": ["1"]}, {"key": "X-B", "regexp": "b"}]},
            {"path": "/q", "queries": [{"key": "v", "values": ["new"]}], "backend": "a"},
            {"path": "/q", "backend": "b"},
            {"path": "/i", "methods": ["GET"], "headers": [{"key": "X-A", "values": ["1"]}],
             "ipFilter": {"blockIPs": ["2.2.2.2"]}, "backend": "a"},
        ]},
        {"host": "none.test", "paths": [{"backend": "missing"}]},
    ]);
    let gateway = gateway(json!({"ipFilter": {"blockIPs": ["3.3.3.3"]}, "rules": rules}));
    let from = |address: &str| format!("X-Forwarded-For: {address}\r\n");
    let (one, two, three) = (from("1.1.1.7"), from("2.2.2.2"), from("3.3.3.3"));
    check(
        &gateway,
        &[
            ("GET", "ip.test", "/in", &one, "200 a"),
            ("GET", "ip.test", "/in", &two, "403 "),
            ("GET", "ip.test", "/other", &two, "403 "),
            ("GET", "ip.test", "/other", &one, "404 "),
            ("GET", "none.test", "/", &three, "403 "),
            ("GET", "none.test", "/", "", "503 "),
            ("GET", "c.test", "/h", "X-A: 2\r\n", "200 a"),
            ("GET", "c.test", "/h", "X-A: zz\r\n", "200 a"),
            ("GET", "c.test", "/h", "X-A: 3\r\nX-A: 1\r\n", "400 "),
            ("GET", "c.test", "/h", "", "400 "),
            ("PUT", "c.test", "/h", "", "200 b"),
            ("GET", "c.test", "/both", "X-A: 1\r\nX-B: abc\r\n", "200 a"),
            ("GET", "c.test", "/both", "X-A: 1\r\n", "400 "),
            // A route without conditions never answers for an earlier one that has them, however often it was asked.
            ("GET", "c.test", "/q", "", "200 b"),
            ("GET", "c.test", "/q?x=1&v=n%65w", "", "200 a"),
            ("GET", "c.test", "/q?v=old&v=new", "", "200 b"),
            ("GET", "c.test", "/i", "X-A: 1\r\n", "200 a"),
            ("POST", "c.test", "/i", "X-A: 1\r\n", "405 "),
            ("GET", "c.test", "/i", &two, "400 "),
            ("GET", "c.test", "/i", &format!("X-A: 1\r\n{two}"), "403 "),
            ("GET", "c.test", "/nothing", "", "404 "),
        ],
    );
}

#[test]
fn hosts_and_paths_may_be_expressions() {
    let gateway = gateway(json!({"rules": [
        {"hostRegexp": r"^(\d+)\.a\.test$", "paths": [{"pathRegexp": r"^/v\d/", "pathPrefix": "/p", "backend": "a"}]},
        {"hosts": [{"value": "^B", "isRegexp": true}, {"value": "*.end"}], "paths": [{"backend": "b"}]},
        {"host": "1.a.*", "paths": [{"path": "/v1/x", "backend": "c"}]},
    ]}));
    check(
        &gateway,
        &[
            ("GET", "1.A.test:80", "/v1/x", "", "200 a"),
            ("GET", "1.a.test", "/p", "", "200 a"),
            ("GET", "1.a.tests", "/v1/x", "", "200 c"),
            ("GET", "x.a.test", "/v1/x", "", "404 "),
            ("GET", "b.test", "/", "", "200 b"),
            ("GET", "x.end", "/", "", "200 b"),
            ("GET", "x.b", "/", "", "404 "),
        ],
    );
}

/// Request line and the headers that begin with `x-`, sorted.
fn telling() -> std::net::SocketAddr {
    upstream(|received| {
        let mut lines: Vec<_> = received.headers.iter().filter(|line| line.starts_with("x-")).cloned().collect();
        lines.sort_unstable();
        let text = format!("{}|{}", received.line.trim_end_matches(" HTTP/1.1"), lines.join("|"));
        (format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()), Then::Keep)
    })
}

#[test]
fn routes_rewrite_paths_and_set_headers() {
    let mut gateway = Gateway::with_proxy(telling(), json!({}));
    set_server(
        &mut gateway,
        json!({"rules": [{"paths": [
            {"pathRegexp": "^/r/(?P<name>[a-z]+)/([0-9]+)", "rewriteTarget": "/${2}/$name", "backend": "p",
             "setHeaders": {"X-Name": "$name-$2", "X-All": "$0"}},
            {"path": "/vars", "backend": "p", "setHeaders": {
                "X-1": "$request_method $uri $query_string $args",
                "X-2": "$request",
                "X-3": "$scheme $host $http_host $server_protocol $request_time",
                "X-4": "$remote_addr ${remote_user:nobody} $proxy_add_x_forwarded_for",
                "X-5": "$arg_a ${arg_z:none} $cookie_c $http_x_given $content_length",
                "X-Given": "",
                "X-6": "a$ $",
            }},
        ]}]}),
    );
    gateway.apply_all();
    check(
        &gateway,
        &[
            ("GET", "h", "/r/ab/12/c?q", "", "200 GET /12/ab/c?q|x-all: /r/ab/12|x-name: ab-12"),
            (
                "GET",
                "h:80",
                "/vars?a=1%20",
                "Cookie: b=1; c=\"2\"\r\nX-Given: 3\r\nAuthorization: Basic dXNlcjpwYXNz\r\nX-Forwarded-For: 8.8.8.8\r\n",
                "200 GET /vars?a=1%20|x-1: get /vars a=1%20 a=1%20|x-2: get /vars?a=1%20 http/1.1|\
                 x-3: http h h:80 http/1.1 0.000|x-4: 8.8.8.8 user 8.8.8.8, 8.8.8.8|x-5: 1  none 2 3|x-6: a$ $|\
                 x-forwarded-for: 8.8.8.8",
            ),
            (
                "GET",
                "h",
                "http://other/vars",
                "X-Forwarded-Proto: https\r\nX-Forwarded-For: 10.0.0.1\r\n",
                "200 GET /vars|x-1: get /vars|x-2: get /vars http/1.1|x-3: http other other http/1.1 0.000|\
                 x-4: nobody 10.0.0.1|x-5: none|x-6: a$ $|x-forwarded-for: 10.0.0.1|x-forwarded-proto: https",
            ),
        ],
    );
}

#[test]
fn a_radix_tree_leads_to_the_most_specific_path() {
    let mut gateway = Gateway::with_proxy(telling(), json!({}));
    set_server(
        &mut gateway,
        json!({"routerKind": "RadixTree", "rules": [{"paths": [
            {"path": "/u/{id}", "backend": "p", "rewriteTarget": "/user/{id}", "setHeaders": {"X-Id": "$id"}},
            {"path": "/u/{n:[0-9]+}", "backend": "p", "rewriteTarget": "/number/{n}"},
            {"path": "/u/me", "backend": "p", "rewriteTarget": "/me"},
            {"path": "/f/{a}/*", "backend": "p", "rewriteTarget": "/{EG_WILDCARD}/{a}",
             "setHeaders": {"X-Rest": "$EG_WILDCARD"}},
            {"path": "/u/*", "methods": ["PUT"], "backend": "p"},
        ]}]}),
    );
    gateway.apply_all();
    check(
        &gateway,
        &[
            ("GET", "h", "/u/ab%20c", "", "200 GET /user/ab%20c|x-id: ab c"),
            ("GET", "h", "/u/12", "", "200 GET /number/12|"),
            ("GET", "h", "/u/me", "", "200 GET /me|"),
            ("GET", "h", "/f/x/y/z", "", "200 GET /y/z/x|x-rest: y/z"),
            ("PUT", "h", "/u/x/y", "", "200 PUT /u/x/y|"),
            ("GET", "h", "/u/x/y", "", "405 "),
            ("GET", "h", "/other", "", "404 "),
        ],
    );
}

#[test]
fn rules_and_limits_change_under_a_connection() {
    let mut gateway = gateway(json!({"rules": [{"paths": [{"backend": "a"}]}]}));
    let address = gateway.address();
    let mut stream = connect(address);
    let mut ask = |expected: &str| {
        stream.write_all(b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi").unwrap();
        read_until(&mut stream, expected)
    };
    assert!(ask("\r\n\r\na").starts_with("HTTP/1.1 200"));
    set_server(
        &mut gateway,
        json!({"maxConnections": 7, "ipFilter": {"blockByDefault": false}, "accessLogFormat": "{{URI}}",
               "rules": [{"paths": [{"pathRegexp": "x$", "backend": "b"}]}]}),
    );
    gateway.apply_all();
    assert!(ask("\r\n\r\nb").starts_with("HTTP/1.1 200"));
    set_server(&mut gateway, json!({"clientMaxBodySize": 1, "rules": [{"paths": [{"backend": "c"}]}]}));
    gateway.apply_all();
    assert!(ask("\r\n\r\n").starts_with("HTTP/1.1 413"));
    assert_eq!(gateway.address(), address, "the listener stays");
}

#[test]
fn what_cannot_be_compiled_is_named_with_its_field() {
    let gateway = Gateway::new();
    let check = |spec: Value, expected: &[&str]| {
        let problems = gateway.plane.validate("HTTPServer", &spec).expect_err("it is refused");
        let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(fields, expected, "{spec}");
    };
    check(
        json!({"port": 80, "ipFilter": {"allowIPs": ["x"]}, "http3": true, "rules": [
            {"hostRegexp": "(", "ipFilter": {"blockIPs": ["1.2.3.4/40"]}, "paths": [
                {"pathRegexp": "[", "backend": "p", "headers": [{"key": "k", "regexp": "**"}], "queries": [{"key": "k"}]},
                {"rewriteTarget": "/x", "backendPool": {}, "methods": ["GET", "GET"]},
            ]},
            {"hosts": [{"value": ")", "isRegexp": true}]},
        ]}),
        &[
            "http3",
            "rules[0].hostRegexp",
            "rules[0].ipFilter.blockIPs[0]",
            "rules[0].paths[0].headers[0].regexp",
            "rules[0].paths[0].queries[0]",
            "rules[0].paths[0].pathRegexp",
            "rules[0].paths[1].methods[1]",
            "rules[0].paths[1].rewriteTarget",
            "rules[1].hosts[0].value",
            "ipFilter.allowIPs[0]",
            "rules[0].paths[1].backendPool.servers",
        ],
    );
    check(
        json!({"port": 80, "routerKind": "RadixTree", "rules": [{"paths": [
            {"path": "/{a}/{a}", "backend": "p"},
            {"path": "/{a:(}", "backend": "p"},
            {"path": "/{a}", "rewriteTarget": "/{b}", "backend": "p"},
            {"path": "/a/*", "rewriteTarget": "/*", "backend": "p"},
            {"pathPrefix": "/x", "backend": "p"},
            {"path": "/{a}", "rewriteTarget": "/{a}".repeat(70), "backend": "p"},
        ]}]}),
        &[
            "rules[0].paths[0].path",
            "rules[0].paths[1].path",
            "rules[0].paths[2].rewriteTarget",
            "rules[0].paths[3].rewriteTarget",
            "rules[0].paths[4].path",
            "rules[0].paths[5].rewriteTarget",
        ],
    );
    check(json!({"port": 80, "routerKind": "Other"}), &["routerKind"]);
    let warnings = gateway.plane.validate(
        "HTTPServer",
        &json!({"port": 80, "cacheSize": 5, "accessLogFormat": "{{No}}", "rules": [
            {"paths": [{"backend": "p", "setHeaders": {"X": "$nothing"}}]},
        ]}),
    );
    assert_eq!(
        warnings.unwrap(),
        [
            "cacheSize: has no effect: look-ups need no cache",
            "rules[0].paths[0].setHeaders.X: $nothing stands for nothing",
            "accessLogFormat: {{No}} stands for nothing",
        ]
    );
}

/// Every example of the manual is good, and each on its own.
#[test]
fn the_examples_of_the_manual_are_accepted() {
    accepted(include_str!("../../../../../docs/http-server.md"));
    accepted(include_str!("../../../../../docs/auto-cert.md"));
    accepted(include_str!("../../../../../docs/tracing.md"));
}

fn accepted(page: &str) {
    let gateway = Gateway::new();
    let examples: Vec<&str> = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() > 2);
    for example in examples {
        let spec: Value =
            serde_yaml_ng::from_str(&fill(example)).unwrap_or_else(|error| panic!("{error} in {example}"));
        let kind = spec["kind"].as_str().unwrap();
        match gateway.plane.validate(kind, &spec) {
            Ok(warnings) => assert!(warnings.is_empty(), "{warnings:?} in {example}"),
            Err(problems) => panic!("{problems:?} in {example}"),
        }
    }
}
