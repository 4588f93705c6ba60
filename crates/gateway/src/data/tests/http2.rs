//! HTTP/2 through an HTTPServer, a Pipeline and a Proxy, with the client of `h2`.

use std::{
    io::Write,
    sync::mpsc::{Receiver, sync_channel},
    thread,
};

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use serde_json::json;
use tidegate_testkit::pki::{Authority, base64};

use super::{
    Gateway, connect,
    global::{Sink, lines_of},
    read_all,
    upstream::{Then, echo, upstream},
};

/// Runs a client with one connection.
pub(super) fn with_client<F: Future<Output = ()>>(gateway: &Gateway, work: impl FnOnce(SendRequest<Bytes>) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let address = gateway.address();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        work(client.ready().await.unwrap()).await;
        connection.abort();
    });
}

pub(super) async fn ask(
    client: &mut SendRequest<Bytes>,
    method: &str,
    path: &str,
    body: &'static str,
) -> (u16, String) {
    let request = Request::builder().method(method).uri(format!("http://h{path}")).body(()).unwrap();
    let (answer, mut stream) = client.send_request(request, body.is_empty()).unwrap();
    if !body.is_empty() {
        stream.send_data(body.into(), true).unwrap();
    }
    let (head, mut stream) = answer.await.unwrap().into_parts();
    let mut seen = Vec::new();
    while let Some(piece) = stream.data().await {
        let piece = piece.unwrap();
        stream.flow_control().release_capacity(piece.len()).unwrap();
        seen.extend_from_slice(&piece);
    }
    (head.status.as_u16(), String::from_utf8(seen).unwrap())
}

fn server(format: &str) -> serde_json::Value {
    let paths =
        json!([{"path": "/small", "backend": "p", "clientMaxBodySize": 3}, {"pathPrefix": "/p", "backend": "p"}]);
    json!({"port": 0, "address": "127.0.0.1", "rules": [{"host": "h", "paths": paths}], "accessLogFormat": format})
}

fn proxy(upstream: std::net::SocketAddr) -> serde_json::Value {
    let pool = json!({"servers": [{"url": format!("http://{upstream}")}]});
    json!({"filters": [{"name": "proxy", "kind": "Proxy", "pools": [pool]}]})
}

#[test]
fn requests_pass_rules_filters_and_the_log_as_others_do() {
    let mut gateway = Gateway::with_h2c();
    let sink = Sink::default();
    gateway.log_access(sink.clone());
    gateway.set("p", "Pipeline", proxy(echo()));
    gateway.set("s", "HTTPServer", server("{{Method}} {{URI}} {{Proto}} {{StatusCode}}"));
    gateway.apply_all();
    with_client(&gateway, |mut client| async move {
        assert_eq!(ask(&mut client, "GET", "/p?a=1", "").await, (200, "GET /p?a=1 HTTP/1.1 []".into()));
        assert_eq!(ask(&mut client, "POST", "/p", "hello").await, (200, "POST /p HTTP/1.1 [hello]".into()));
        assert_eq!(ask(&mut client, "HEAD", "/p", "").await, (200, String::new()));
        assert_eq!(ask(&mut client, "POST", "/small", "hello").await.0, 413);
        assert_eq!(ask(&mut client, "GET", "/none", "").await.0, 404);
    });
    let mut lines = lines_of(&gateway, &sink, 5);
    lines.sort_unstable();
    let expected = [
        "GET /none HTTP/2.0 404",
        "GET /p?a=1 HTTP/2.0 200",
        "HEAD /p HTTP/2.0 200",
        "POST /p HTTP/2.0 200",
        "POST /small HTTP/2.0 413",
    ];
    assert_eq!(lines, expected);
    assert_eq!(gateway.plane.counters()["s"].requests, 5);
}

#[test]
fn a_request_that_waits_outlives_an_edit_of_its_pipeline() {
    let (asked, arrived) = sync_channel(1);
    let (go, gone) = sync_channel::<()>(1);
    let gone = std::sync::Mutex::new(gone);
    let slow = upstream(move |_| {
        asked.send(()).unwrap();
        let gone: &Receiver<()> = &gone.lock().unwrap();
        gone.recv().unwrap();
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold".into(), Then::Keep)
    });
    let mut gateway = Gateway::with_h2c();
    gateway.set("p", "Pipeline", proxy(slow));
    gateway.set("s", "HTTPServer", server(""));
    gateway.apply_all();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(gateway.address()).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let (mut one, mut two) = (client.clone(), client);
        let waiting = tokio::spawn(async move { ask(&mut one, "GET", "/p", "").await });
        while arrived.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        let new = upstream(|_| ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew".into(), Then::Keep));
        gateway.set("p", "Pipeline", proxy(new));
        gateway.apply_all();
        assert_eq!(ask(&mut two, "GET", "/p", "").await, (200, "new".into()));
        go.send(()).unwrap();
        assert_eq!(waiting.await.unwrap(), (200, "old".into()));
    });
}

#[test]
fn a_server_as_easegress_has_it_speaks_no_http2_in_the_clear() {
    let gateway = Gateway::with_proxy(echo(), json!({}));
    let mut stream = connect(gateway.address());
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    assert!(read_all(&mut stream).starts_with("HTTP/1.1 505 "));
}

#[test]
fn http1_is_served_beside_it() {
    let mut gateway = Gateway::with_h2c();
    gateway.set("p", "Pipeline", proxy(echo()));
    gateway.set("s", "HTTPServer", server(""));
    gateway.apply_all();
    let served = thread::scope(|scope| {
        let one = scope.spawn(|| gateway.status("/p"));
        with_client(&gateway, |mut client| async move {
            assert_eq!(ask(&mut client, "GET", "/p", "").await.0, 200);
        });
        one.join().unwrap()
    });
    assert_eq!(served, 200);
}

/// What a gateway behind another one is asked by, with a request, copies of it, and checks of its health.
#[test]
fn servers_are_asked_by_the_protocol_of_their_pool() {
    let authority = Authority::new();
    let certificate = authority.pair(&["127.0.0.1"]);
    for (protocol, secure, expected) in [
        (None, true, "HTTP/1.1"),
        (Some("auto"), true, "HTTP/2.0"),
        (Some("http2"), true, "HTTP/2.0"),
        (Some("auto"), false, "HTTP/1.1"),
        (Some("http2"), false, "HTTP/2.0"),
        (Some("http1"), false, "HTTP/1.1"),
    ] {
        let mut behind = Gateway::with_h2c();
        let sink = Sink::default();
        behind.log_access(sink.clone());
        behind.set(
            "p",
            "Pipeline",
            json!({"filters": [{"name": "m", "kind": "Mock", "rules": [{"match": {}, "code": 200, "body": "here"}]}]}),
        );
        let mut spec = json!({"port": 0, "address": "127.0.0.1", "rules": [{"paths": [{"backend": "p"}]}], "accessLogFormat": "{{URI}} {{Proto}}"});
        if secure {
            let tls =
                json!({"https": true, "certBase64": base64(&certificate.cert), "keyBase64": base64(&certificate.key)});
            spec.as_object_mut().unwrap().extend(tls.as_object().unwrap().clone());
        }
        behind.set("s", "HTTPServer", spec);
        behind.apply_all();
        let url = format!("{}://{}", if secure { "https" } else { "http" }, behind.address());
        let pool = |more: serde_json::Value| {
            let mut pool = json!({"servers": [{"url": url}]});
            pool.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            if let Some(protocol) = protocol {
                pool["protocol"] = protocol.into();
            }
            pool
        };
        let filter = json!({"policy": "random", "permil": 1000});
        let front = Gateway::with_filter(json!({
            "name": "proxy", "kind": "Proxy", "mirrorPool": pool(json!({"filter": filter})),
            "pools": [pool(json!({"healthCheck": {"interval": "20ms", "uri": "/health"}}))],
        }));
        for _ in 0..3 {
            assert_eq!(front.status("/asked"), 200, "{protocol:?} {secure}");
        }
        let mut seen = (0, 0);
        while seen.0 < 6 || seen.1 < 2 {
            let lines = lines_of(&behind, &sink, 8);
            assert!(lines.iter().all(|line| line.ends_with(expected)), "{protocol:?} {secure}: {lines:?}");
            let count = |path: &str| lines.iter().filter(|line| line.starts_with(path)).count();
            seen = (count("/asked "), count("/health "));
            thread::yield_now();
        }
    }
}

/// A WebSocket needs a connection of its own, and a server that cannot speak HTTP/2 is none where it must.
#[test]
fn what_http2_cannot_carry_goes_as_it_can_or_fails() {
    let wrong = Gateway::with_filter(json!({
        "name": "proxy", "kind": "Proxy",
        "pools": [{"protocol": "http2", "servers": [{"url": format!("http://{}", echo())}]}],
    }));
    assert_eq!(wrong.status("/"), 503);
    let mut gateway = Gateway::new();
    let pool = json!({"protocol": "http3", "servers": [{"url": "http://127.0.0.1:1"}]});
    gateway.set("p", "Pipeline", json!({"filters": [{"name": "proxy", "kind": "Proxy", "pools": [pool]}]}));
    let refused = gateway.apply()["p"].error.clone();
    let expected = r#"filters[0].pools[0].protocol: must be one of "http1", "http2", "auto""#;
    assert_eq!(refused.as_deref(), Some(expected));
}
