//! Requests in their traces: from the client's headers over the Proxy to its server, and the spans of that.

use std::{
    io::Write,
    net::SocketAddr,
    sync::{
        Mutex,
        mpsc::{Receiver, sync_channel},
    },
};

use serde_json::{Value, json};

use super::{
    Gateway, WAIT, body, connect, read_until, status,
    upstream::{Received, Then, upstream},
};
use crate::objects::Plane;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A server that tells what it was asked, and answers its requests in turn with these statuses, the last one for ever.
fn told(statuses: &'static [u16]) -> (SocketAddr, Receiver<Received>) {
    let (tell, told) = sync_channel(64);
    let tell = Mutex::new(tell);
    let address = upstream(move |received| {
        let status = statuses.get(received.number).or(statuses.last()).unwrap();
        let answer = format!("HTTP/1.1 {status} S\r\nContent-Length: 3\r\n\r\nend");
        tell.lock().unwrap().send(received).unwrap();
        (answer, Then::Keep)
    });
    (address, told)
}

/// A collector of Zipkin's.
struct Collector {
    address: SocketAddr,
    told: Receiver<Received>,
}

impl Collector {
    fn new() -> Self {
        let (address, told) = told(&[202]);
        Self { address, told }
    }

    fn tracing(&self, more: Value) -> Value {
        let zipkin = json!({"endpoint": format!("http://{}/api/v2/spans", self.address)});
        let limits = json!({"batchTimeout": 1});
        let mut tracing = json!({"serviceName": "shop", "batchLimits": limits, "exporter": {"zipkin": zipkin}});
        tracing.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        tracing
    }

    /// So many spans, by their names and in the order in which they ended.
    fn spans(&self, count: usize) -> Vec<Value> {
        let mut spans = Vec::new();
        while spans.len() < count {
            let received = self.told.recv_timeout(WAIT).unwrap();
            assert!(received.line.starts_with("POST /api/v2/spans "), "{}", received.line);
            spans.extend(serde_json::from_str::<Vec<Value>>(&received.body).unwrap());
        }
        assert_eq!(spans.len(), count, "{spans:?}");
        spans
    }
}

fn server(tracing: Value) -> Value {
    json!({"port": 0, "address": "127.0.0.1", "tracing": tracing, "rules": [{"paths": [{"backend": "p"}]}]})
}

/// A server that is traced before a Proxy.
fn gateway(upstream: SocketAddr, tracing: Value, pool: Value) -> Gateway {
    let mut gateway = Gateway::with_proxy(upstream, pool);
    gateway.set("s", "HTTPServer", server(tracing));
    gateway.apply_all();
    gateway
}

fn ask(gateway: &Gateway, headers: &str) -> u16 {
    status(&gateway.ask(&format!("GET /a?b=c HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{headers}\r\n")))
}

fn header<'a>(received: &'a Received, name: &str) -> Vec<&'a str> {
    received.headers.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
}

#[test]
fn a_server_is_asked_below_the_span_of_the_call() {
    let (address, asked) = told(&[200]);
    let collector = Collector::new();
    let gateway = gateway(address, collector.tracing(json!({})), json!({}));
    let headers = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\ntracestate: a=1,b=2\r\nUser-Agent: curl\r\n");
    assert_eq!(ask(&gateway, &headers), 200);
    let [call, server] = &collector.spans(2)[..] else { panic!() };
    assert_eq!(
        (&server["traceId"], &server["parentId"], &server["name"]),
        (&json!(TRACE), &json!(PARENT), &json!("s"))
    );
    assert_eq!(
        (&call["traceId"], &call["parentId"], &call["name"]),
        (&json!(TRACE), &server["id"], &json!("proxy#proxy#main"))
    );
    let tags = &server["tags"];
    let of = |name: &str| tags[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(of("url.path"), "/a");
    assert_eq!(of("http.response.status_code"), "200");
    assert_eq!(of("client.address"), "127.0.0.1");
    assert_eq!(of("user_agent.original"), "curl");
    assert_eq!(call["tags"]["url.full"], json!(format!("http://{address}/a")));
    let received = asked.recv_timeout(WAIT).unwrap();
    let passed = format!("00-{TRACE}-{}-01", call["id"].as_str().unwrap());
    assert_eq!(header(&received, "traceparent"), [passed]);
    assert_eq!(header(&received, "tracestate"), ["a=1,b=2"]);
}

#[test]
fn a_trace_begins_where_no_header_is_good() {
    let (address, asked) = told(&[200]);
    let collector = Collector::new();
    let gateway = gateway(address, collector.tracing(json!({})), json!({"spanName": "orders"}));
    ask(&gateway, &format!("traceparent: 00-{TRACE}-{}-01\r\ntracestate: a=1\r\n", "0".repeat(16)));
    let [call, server] = &collector.spans(2)[..] else { panic!() };
    assert!(server.get("parentId").is_none() && server["traceId"] != json!(TRACE), "{server}");
    assert_eq!((&call["name"], &call["traceId"]), (&json!("orders"), &server["traceId"]));
    let received = asked.recv_timeout(WAIT).unwrap();
    assert_eq!(header(&received, "traceparent").len(), 1);
    assert_eq!(header(&received, "tracestate"), [""; 0], "it belongs to a trace that is not gone on with");
}

#[test]
fn contexts_travel_as_b3() {
    let (address, asked) = told(&[200]);
    let collector = Collector::new();
    let gateway = gateway(address, collector.tracing(json!({"headerFormat": "b3"})), json!({}));
    ask(
        &gateway,
        &format!("X-B3-TraceId: {TRACE}\r\nX-B3-SpanId: {PARENT}\r\nX-B3-Sampled: 1\r\ntraceparent: own\r\n"),
    );
    let [call, server] = &collector.spans(2)[..] else { panic!() };
    assert_eq!((&server["traceId"], &server["parentId"]), (&json!(TRACE), &json!(PARENT)));
    let received = asked.recv_timeout(WAIT).unwrap();
    assert_eq!(header(&received, "b3"), [format!("{TRACE}-{}-1", call["id"].as_str().unwrap())]);
    assert_eq!((header(&received, "x-b3-traceid").len(), header(&received, "traceparent")), (0, vec!["own"]));
}

#[test]
fn each_attempt_has_a_span() {
    let (address, asked) = told(&[503, 200]);
    let collector = Collector::new();
    let mut gateway = Gateway::new();
    let pool = json!({"servers": [{"url": format!("http://{address}")}], "retryPolicy": "r"});
    let retry = json!({"name": "r", "kind": "Retry", "maxAttempts": 2, "waitDuration": "1ms"});
    let filters = json!([{"name": "proxy", "kind": "Proxy", "pools": [pool]}]);
    gateway.set("p", "Pipeline", json!({"filters": filters, "resilience": [retry]}));
    gateway.set("s", "HTTPServer", server(collector.tracing(json!({}))));
    gateway.apply_all();
    assert_eq!(ask(&gateway, ""), 200);
    let [first, second, server] = &collector.spans(3)[..] else { panic!() };
    assert_eq!((&first["tags"]["error"], first["tags"].get("http.request.resend_count")), (&json!("true"), None));
    assert_eq!((second["tags"].get("error"), &second["tags"]["http.request.resend_count"]), (None, &json!("1")));
    assert!(server["tags"].get("error").is_none());
    for span in [first, second] {
        assert_eq!(span["parentId"], server["id"]);
        let received = asked.recv_timeout(WAIT).unwrap();
        let trace = server["traceId"].as_str().unwrap();
        assert_eq!(header(&received, "traceparent"), [format!("00-{trace}-{}-01", span["id"].as_str().unwrap())]);
    }
}

#[test]
fn a_server_that_cannot_be_asked_is_an_error_of_both_spans() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let collector = Collector::new();
    let gateway = gateway(dead, collector.tracing(json!({})), json!({}));
    assert_eq!(ask(&gateway, ""), 503);
    let [call, server] = &collector.spans(2)[..] else { panic!() };
    assert_eq!((&call["tags"]["error.type"], &server["tags"]["error.type"]), (&json!("connect"), &json!("503")));
}

#[test]
fn without_tracing_headers_are_the_clients() {
    let (address, asked) = told(&[200]);
    let gateway = Gateway::with_proxy(address, json!({}));
    ask(&gateway, "");
    let received = asked.recv_timeout(WAIT).unwrap();
    assert!(["traceparent", "tracestate", "b3"].iter().all(|name| header(&received, name).is_empty()), "{received:?}");
    ask(&gateway, "traceparent: mine\r\nb3: 0\r\n");
    let received = asked.recv_timeout(WAIT).unwrap();
    assert_eq!((header(&received, "traceparent"), header(&received, "b3")), (vec!["mine"], vec!["0"]));
}

#[test]
fn tracing_changes_while_connections_live() {
    let (address, _asked) = told(&[200]);
    let (first, second) = (Collector::new(), Collector::new());
    let mut gateway = gateway(address, first.tracing(json!({"batchLimits": {"batchTimeout": 3_600_000}})), json!({}));
    let target = gateway.address();
    let mut stream = connect(target);
    let mut serve = || {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        assert_eq!(status(&read_until(&mut stream, "end")), 200);
    };
    serve();
    // An edit of something else leaves what waits where it is.
    let mut spec = server(first.tracing(json!({"batchLimits": {"batchTimeout": 3_600_000}})));
    spec["xForwardedFor"] = json!(true);
    gateway.set("s", "HTTPServer", spec);
    gateway.apply_all();
    serve();
    gateway.set("s", "HTTPServer", server(second.tracing(json!({"serviceName": "other"}))));
    gateway.apply_all();
    assert_eq!(first.spans(4).len(), 4, "what waited goes out in one batch");
    serve();
    assert_eq!(second.spans(2)[1]["localEndpoint"]["serviceName"], json!("other"));
    gateway.set(
        "s",
        "HTTPServer",
        json!({"port": 0, "address": "127.0.0.1", "rules": [{"paths": [{"backend": "p"}]}]}),
    );
    gateway.apply_all();
    serve();
    assert_eq!(gateway.address(), target);
}

#[test]
fn what_waits_is_exported_when_the_server_goes_and_when_the_node_stops() {
    let (address, _asked) = told(&[200]);
    let collector = Collector::new();
    let waiting = || collector.tracing(json!({"batchLimits": {"batchTimeout": 3_600_000}}));
    let mut gateway = gateway(address, waiting(), json!({}));
    ask(&gateway, "");
    gateway.remove("s");
    gateway.apply_all();
    collector.spans(2);
    gateway.set("s", "HTTPServer", server(waiting()));
    gateway.apply_all();
    ask(&gateway, "");
    gateway.plane.drain();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(gateway.plane.finished());
    assert_eq!(collector.told.try_iter().count(), 1, "it has come before the end");
}

#[test]
fn metrics_tell_what_became_of_spans() {
    let (address, _asked) = told(&[200]);
    let collector = Collector::new();
    let gateway = gateway(address, collector.tracing(json!({})), json!({}));
    let page = || gateway.plane.metrics(&[]).collect::<String>();
    assert!(!page().contains("spans"), "nothing to tell");
    ask(&gateway, "");
    collector.spans(2);
    let line = "httpserver_spans_exported_total{httpServerName=\"s\",kind=\"HTTPServer\",exporter=\"zipkin\"} 2\n";
    // The answer of the collector is on its way.
    while !page().contains(line) {
        std::thread::yield_now();
    }
    assert!(
        page().contains(
            "httpserver_spans_failed_total{httpServerName=\"s\",kind=\"HTTPServer\",exporter=\"zipkin\"} 0\n"
        )
    );
}

#[test]
fn the_stored_spec_has_its_defaults_and_problems_have_their_fields() {
    let gateway = Gateway::new();
    let zipkin = json!({"endpoint": "http://127.0.0.1:9411"});
    let spec = server(json!({"serviceName": "s", "exporter": {"zipkin": zipkin}}));
    let review = gateway.plane.review("HTTPServer", &spec);
    assert!(review.problems.is_empty() && review.warnings.is_empty(), "{:?}", review.warnings);
    let stored = &review.stored["tracing"];
    assert_eq!((&stored["sampleRate"], &stored["headerFormat"]), (&json!(1.0), &json!("trace-context")));
    assert_eq!(stored["batchLimits"]["maxQueueSize"], json!(2048));
    assert_eq!(stored["spanLimits"]["attributeValueLengthLimit"], json!(-1));
    let review = gateway.plane.review("HTTPServer", &server(json!({"serviceName": "s", "sampleRate": 2})));
    let fields: Vec<_> = review.problems.iter().map(|problem| &*problem.field).collect();
    assert_eq!(fields, ["tracing.sampleRate", "tracing.exporter"]);
}

#[test]
fn a_mock_is_traced_without_a_call() {
    let collector = Collector::new();
    let mut gateway = Gateway::new();
    let mock = json!({"name": "m", "kind": "Mock", "rules": [{"match": {}, "code": 201, "body": "x"}]});
    gateway.set("p", "Pipeline", json!({ "filters": [mock] }));
    gateway.set("s", "HTTPServer", server(collector.tracing(json!({}))));
    gateway.apply_all();
    let answer = gateway.ask("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_eq!((status(&answer), body(&answer)), (201, "x"));
    assert_eq!(collector.spans(1)[0]["kind"], json!("SERVER"));
}
