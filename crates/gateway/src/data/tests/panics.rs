//! A filter with a bug: one request's error, and nobody else's.

use std::io::Write;

use serde_json::json;
use tidegate_pipeline::{Context, Deps, Filter, FilterKind, Kind, Outcome, Problems, Registry, Step};

use super::{
    Gateway, connect,
    http2::{ask, with_client},
    read_until, status,
    upstream::{Then, upstream},
};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Config {
    /// Whether it panics after it has waited, not at once.
    late: bool,
}

/// Panics.
struct Bug(Config);

impl Filter for Bug {
    const KIND: &'static str = "Bug";
    const RESULTS: &'static [&'static str] = &[];
    const EXAMPLE: &'static str = "";
    type Config = Config;

    fn new(config: Config, _: &Deps) -> Result<Self, Problems> {
        Ok(Self(config))
    }

    fn handle<'a>(&'a self, _: &'a mut Context) -> Step<'a> {
        assert!(self.0.late, "asked for by the test");
        Step::Wait(Box::pin(async {
            tokio::task::yield_now().await;
            assert!(!self.0.late, "asked for by the test");
            Outcome::Next
        }))
    }
}

static BUG: &dyn FilterKind = &Kind::<Bug>::new();

/// `/now` and `/late` panic, everything else goes to the upstream.
fn configure(gateway: &mut Gateway, upstream: std::net::SocketAddr) {
    for (name, late) in [("now", false), ("late", true)] {
        gateway.set(name, "Pipeline", json!({"filters": [{"name": "bug", "kind": "Bug", "late": late}]}));
    }
    let pool = json!({"servers": [{"url": format!("http://{upstream}")}]});
    gateway.set("p", "Pipeline", json!({"filters": [{"name": "proxy", "kind": "Proxy", "pools": [pool]}]}));
    let paths = json!([{"path": "/now", "backend": "now"}, {"path": "/late", "backend": "late"}, {"backend": "p"}]);
    gateway.set("s", "HTTPServer", json!({"port": 0, "address": "127.0.0.1", "rules": [{"paths": paths}]}));
    gateway.apply_all();
}

fn kinds() -> Registry {
    let kinds: Vec<&'static dyn FilterKind> = tidegate_filters::KINDS.iter().copied().chain([BUG]).collect();
    Registry::new(&kinds)
}

/// An upstream that answers `/slow` once it is asked for `/go`.
fn held() -> std::net::SocketAddr {
    let gate = std::sync::Arc::new((std::sync::Mutex::new(false), std::sync::Condvar::new()));
    upstream(move |received| {
        let (open, opened) = &*gate;
        match received.line.split(' ').nth(1) {
            Some("/go") => {
                *open.lock().unwrap() = true;
                opened.notify_all();
            }
            _ => drop(opened.wait_timeout_while(open.lock().unwrap(), super::WAIT, |open| !*open).unwrap()),
        }
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".into(), Then::Keep)
    })
}

#[test]
fn a_filter_that_panics_is_one_500_and_the_end_of_its_connection() {
    let mut gateway = Gateway::with_kinds(kinds());
    configure(&mut gateway, held());
    let mut other = connect(gateway.address());
    other.write_all(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    for path in ["/now", "/late"] {
        // What is behind it on its connection is not served.
        let answer = gateway.ask(&format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\nGET /go HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(status(&answer), 500, "{answer}");
        assert!(answer.contains("\r\nConnection: close\r\n") && answer.matches("HTTP/1.1 ").count() == 1, "{answer}");
    }
    assert_eq!(gateway.plane.counters()["s"].panics, 2);
    assert_eq!(gateway.status("/go"), 200);
    assert!(read_until(&mut other, "ok").starts_with("HTTP/1.1 200 "), "it waited through both");
}

#[test]
fn a_filter_that_panics_is_the_500_of_its_stream_and_the_others_go_on() {
    let mut gateway = Gateway::with_data(kinds(), None, None, true);
    configure(&mut gateway, held());
    with_client(&gateway, |mut client| async move {
        let mut other = client.clone();
        let slow = async { ask(&mut other, "GET", "/slow", "").await };
        let rest = async {
            let mut seen = Vec::new();
            for path in ["/now", "/late", "/go"] {
                seen.push(ask(&mut client, "GET", path, "").await.0);
            }
            seen
        };
        let (slow, seen) = futures_util::future::join(slow, rest).await;
        assert_eq!(seen, [500, 500, 200]);
        assert_eq!(slow, (200, "ok".into()), "it waited through both, on the same connection");
    });
    assert_eq!(gateway.plane.counters()["s"].panics, 2);
}
