//! Global filters, and the access log.

use std::{
    io,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tidegate_base::clock;

use super::{Gateway, WAIT, body, status};
use crate::objects::Plane;

/// Answers requests that have the header `name`, and ends the flow there when it is `stop`; else the flow goes on to its
/// end, also behind an answer.
fn part(name: &str) -> Value {
    let rule = |value: &str| json!([{"match": {"headers": {name: {"exact": value}}}, "code": 200, "headers": {"X-Last": name}, "body": name}]);
    json!({
        "flow": [
            {"filter": "stop"},
            {"filter": "go", "jumpIf": {"mocked": "rest"}},
            {"filter": "rest"},
        ],
        "filters": [
            {"name": "stop", "kind": "Mock", "rules": rule("stop")},
            {"name": "go", "kind": "Mock", "rules": rule("go")},
            {"name": "rest", "kind": "Mock", "rules": rule("never")},
        ],
    })
}

fn server(global: &str) -> Value {
    json!({"port": 0, "address": "127.0.0.1", "globalFilter": global, "rules": [{"paths": [{"backend": "p"}]}]})
}

fn check(gateway: &Gateway, cases: &[(&str, &str)]) {
    for (headers, expected) in cases {
        let lines: String = headers.split_whitespace().map(|pair| format!("{}\r\n", pair.replace('=', ": "))).collect();
        let answer = gateway.ask(&format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}Connection: close\r\n\r\n"));
        assert_eq!(format!("{} {}", status(&answer), body(&answer)), *expected, "{headers}");
    }
}

#[test]
fn a_global_filter_runs_around_the_pipelines_of_its_servers() {
    let mut gateway = Gateway::new();
    gateway.set("p", "Pipeline", part("P"));
    gateway.set("s", "HTTPServer", server("g"));
    gateway.apply_all();
    // A name that does not exist has no effect.
    check(&gateway, &[("B=stop P=go", "200 P"), ("B=go", "503 ")]);
    let global = |before: bool, pipeline: bool| {
        json!({
            "beforePipeline": part("B"), "afterPipeline": part("A"),
            "fallthrough": {"beforePipeline": before, "pipeline": pipeline},
        })
    };
    // It comes when the pipeline has long been built.
    gateway.set("g", "GlobalFilter", global(false, false));
    gateway.apply_all();
    check(
        &gateway,
        &[
            ("P=go", "200 P"),
            ("B=go P=go A=go", "200 A"),
            ("B=go P=go", "200 P"),
            ("B=stop P=go A=go", "200 B"),
            ("P=stop A=go", "200 P"),
            ("A=stop", "200 A"),
            ("", "503 "),
        ],
    );
    gateway.set("g", "GlobalFilter", global(true, false));
    gateway.apply_all();
    check(&gateway, &[("B=stop P=go", "200 P"), ("B=stop P=stop A=go", "200 P"), ("B=stop P=go A=go", "200 A")]);
    gateway.set("g", "GlobalFilter", global(true, true));
    gateway.apply_all();
    check(&gateway, &[("B=stop P=stop A=go", "200 A")]);
    // The flow may be empty, and END may end it without an answer.
    let mock = json!([{"name": "m", "kind": "Mock", "rules": [{"match": {}, "code": 201}]}]);
    gateway.set("g", "GlobalFilter", json!({"beforePipeline": {"filters": []}, "afterPipeline": {"filters": mock}}));
    gateway.apply_all();
    check(&gateway, &[("P=go", "201 "), ("P=stop", "200 P")]);
    gateway.set("g", "GlobalFilter", json!({"beforePipeline": {"flow": [{"filter": "END"}], "filters": []}}));
    gateway.apply_all();
    check(&gateway, &[("P=go", "503 ")]);
    gateway.remove("g");
    gateway.apply_all();
    check(&gateway, &[("B=stop P=go", "200 P")]);
}

#[test]
fn problems_of_a_global_filter_have_their_fields() {
    let gateway = Gateway::new();
    let fields = |spec: Value| match gateway.plane.validate("GlobalFilter", &spec) {
        Ok(warnings) => warnings,
        Err(problems) => problems.into_iter().map(|problem| problem.field).collect(),
    };
    assert_eq!(fields(json!({})), [""]);
    assert_eq!(
        fields(json!({
            "beforePipeline": {"flow": [{"filter": "x"}], "filters": []},
            "afterPipeline": {"filters": [{"name": "m", "kind": "EndOfFlow"}]},
        })),
        ["beforePipeline.flow[0].filter", "afterPipeline.filters[0].kind"]
    );
    assert_eq!(
        fields(json!({"beforePipeline": {"filters": [], "more": 1}})),
        ["beforePipeline.more: is not known and has no effect"]
    );
}

/// A sink that can be looked into.
#[derive(Clone, Default)]
pub(super) struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines once there are `count`: one is written behind its answer, which the client may see first.
pub(super) fn lines_of(gateway: &Gateway, sink: &Sink, count: usize) -> Vec<String> {
    let until = clock::now() + WAIT;
    loop {
        gateway.plane.flush_access_log();
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if lines.len() >= count {
            return lines;
        }
        assert!(clock::now() < until, "{lines:#?}");
        std::thread::yield_now();
    }
}

#[test]
fn what_is_relayed_counts() {
    let mut gateway = Gateway::with_proxy(super::upstream::echo(), json!({}));
    let sink = Sink::default();
    gateway.log_access(sink.clone());
    let mut spec = server("");
    spec["accessLogFormat"] = json!("{{StatusCode}} {{ReqSize}} {{RespSize}}");
    gateway.set("s", "HTTPServer", spec);
    gateway.apply_all();
    let text = "x".repeat(100_000);
    let request = format!("POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n{text}");
    let answer = gateway.ask(&request);
    assert_eq!(lines_of(&gateway, &sink, 1), [format!("200 {} {}", request.len(), answer.len())]);
}

#[test]
fn every_answer_is_logged_as_the_format_says() {
    let mut gateway = Gateway::new();
    let sink = Sink::default();
    gateway.log_access(sink.clone());
    gateway.set("p", "Pipeline", part("P"));
    let mut spec = server("");
    spec["accessLogFormat"] = json!(
        "{{RemoteAddr}} {{RealIP}} {{Method}} {{URI}} {{Proto}} {{StatusCode}} {{ReqSize}} {{RespSize}} {{RespHeaders}} {{Tags}}"
    );
    spec["rules"] = json!([{"paths": [{"path": "/new", "backend": "none"}, {"pathPrefix": "/p", "backend": "p", "rewriteTarget": "/q"}]}]);
    gateway.set("s", "HTTPServer", spec);
    gateway.apply();
    let long = "x".repeat(600);
    let mut expected = Vec::new();
    for (request, said) in [
        ("GET /p?a=1 HTTP/1.1\r\nHost: h\r\nP: go\r\n", "GET /p?a=1 HTTP/1.1 200"),
        ("PUT /p HTTP/1.0\r\nX-Real-Ip: 8.8.8.8\r\nContent-Length: 5\r\n", "PUT /p HTTP/1.0 503"),
        ("GET /new HTTP/1.1\r\nHost: h\r\n", "GET /new HTTP/1.1 503"),
        ("GET /other HTTP/1.1\r\nHost: h\r\n", "GET /other HTTP/1.1 404"),
        (&format!("GET /{long} HTTP/1.1\r\nHost: h\r\n"), &format!("GET /{}... HTTP/1.1 404", "x".repeat(511))),
    ] {
        let request = format!("{request}Connection: close\r\n\r\n");
        let answer = gateway.ask(&request);
        let client = if request.contains("X-Real-Ip") { "8.8.8.8" } else { "127.0.0.1" };
        let (headers, tags) = match request.contains(" /p") {
            true if request.contains("P: go") => {
                ("X-Last: P; Content-Type: text/plain; charset=utf-8", "pipeline(p): stop(T)->go(mocked,T)->rest(T)")
            }
            true => ("", "pipeline(p): stop(T)->go(T)->rest(T)"),
            false => ("", ""),
        };
        expected.push(format!("{client} {said} {} {} {headers} {tags}", request.len(), answer.len()));
    }
    let lines = lines_of(&gateway, &sink, expected.len());
    let times = regex::Regex::new(r"[0-9.]+(ns|µs|ms|s)\)").unwrap();
    for (line, expected) in lines.iter().zip(&expected) {
        let (peer, rest) = line.split_once(' ').unwrap();
        assert!(peer.starts_with("127.0.0.1:"), "{line}");
        assert_eq!(times.replace_all(rest, "T)"), *expected);
    }
    assert_eq!(gateway.plane.access_lines_dropped(), 0);
}
