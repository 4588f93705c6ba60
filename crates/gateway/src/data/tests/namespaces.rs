//! Several requests and responses in one context, data, and what survives an edit.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use tidegate_pipeline::{Context, Deps, Filter, FilterKind, Kind, Outcome, Problems, Registry, Step};

use super::{Gateway, body, status, upstream};

/// Takes the request of another namespace, its response, or both.
struct Take(TakeConfig);

#[derive(Deserialize, JsonSchema)]
struct TakeConfig {
    #[serde(default)]
    request: String,
    #[serde(default)]
    response: String,
}

impl Filter for Take {
    const KIND: &'static str = "Take";
    const RESULTS: &'static [&'static str] = &["none"];
    const EXAMPLE: &'static str = "";
    const WITHOUT_REQUEST: bool = true;
    type Config = TakeConfig;

    fn new(config: TakeConfig, _: &Deps) -> Result<Self, Problems> {
        Ok(Self(config))
    }

    fn handle<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let request = self.0.request.is_empty() || cx.share_request(&self.0.request);
        let response = self.0.response.is_empty() || cx.share_response(&self.0.response);
        Step::Done(if request && response { Outcome::Next } else { Outcome::Result("none") })
    }
}

/// Counts requests, over edits, and tells what it knows in a header.
struct Count(Arc<AtomicU64>);

impl Filter for Count {
    const KIND: &'static str = "Count";
    const RESULTS: &'static [&'static str] = &[];
    const EXAMPLE: &'static str = "";
    type Config = serde_json::Map<String, serde_json::Value>;

    fn new(_: Self::Config, _: &Deps) -> Result<Self, Problems> {
        Ok(Self(Arc::default()))
    }

    fn handle<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let count = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        let data = cx.data("PIPELINE").map(ToString::to_string).unwrap_or_default();
        let namespace = cx.namespace().to_owned();
        cx.reject(200).set("X-Count", format!("{count} {namespace} {data}").as_bytes());
        Step::Done(Outcome::Next)
    }

    fn inherit(&mut self, previous: &Self) {
        self.0 = Arc::clone(&previous.0);
    }
}

static KINDS: &[&dyn FilterKind] = &[&Kind::<Take>::new(), &Kind::<Count>::new()];

fn gateway() -> Gateway {
    let kinds: Vec<&'static dyn FilterKind> = KINDS.iter().chain(tidegate_filters::KINDS).copied().collect();
    let mut gateway = Gateway::with_kinds(Registry::new(&kinds));
    let server = json!({"port": 0, "address": "127.0.0.1", "rules": [{"paths": [{"backend": "p"}]}]});
    gateway.set("s", "HTTPServer", server);
    gateway
}

fn proxy(name: &str, upstream: std::net::SocketAddr) -> serde_json::Value {
    json!({"name": name, "kind": "Proxy", "pools": [{"servers": [{"url": format!("http://{upstream}")}]}]})
}

#[test]
fn one_request_asks_two_servers_and_answers_with_the_second() {
    let mut gateway = gateway();
    gateway.set(
        "p",
        "Pipeline",
        json!({
            "flow": [
                {"filter": "take-request", "namespace": "a"},
                {"filter": "first", "namespace": "a"},
                {"filter": "second"},
                {"filter": "first", "alias": "again", "namespace": "a"},
                {"filter": "take-response"},
            ],
            "filters": [
                {"name": "take-request", "kind": "Take", "request": "DEFAULT"},
                proxy("first", upstream::echo()),
                proxy("second", upstream::echo()),
                {"name": "take-response", "kind": "Take", "response": "a"},
            ],
        }),
    );
    gateway.apply_all();
    let text = "x".repeat(50_000);
    let request = format!("POST /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 50000\r\n\r\n{text}");
    let answer = gateway.ask(&request);
    assert_eq!(status(&answer), 200, "{answer:.200}");
    assert!(body(&answer).contains(&text), "every server got the whole body");
}

#[test]
fn a_namespace_without_a_request_is_an_error_of_the_server() {
    let mut gateway = gateway();
    gateway.set(
        "p",
        "Pipeline",
        json!({
            "flow": [{"filter": "proxy", "namespace": "a"}],
            "filters": [proxy("proxy", upstream::echo())],
        }),
    );
    gateway.apply_all();
    assert_eq!(gateway.status("/"), 500);
}

#[test]
fn counts_and_data_stand_where_filters_look_for_them() {
    let mut gateway = gateway();
    let pipeline = |number: u64| {
        json!({
            "flow": [{"filter": "count", "namespace": "DEFAULT"}],
            "filters": [{"name": "count", "kind": "Count", "edit": number}],
            "data": {"n": number},
        })
    };
    for number in 1..4 {
        gateway.set("p", "Pipeline", pipeline(number));
        gateway.apply_all();
        let answer = gateway.ask("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        assert!(answer.contains(&format!("X-Count: {number} DEFAULT {{\"n\":{number}}}\r\n")), "{answer}");
    }
}
