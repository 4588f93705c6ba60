//! Objects that change while traffic flows.

use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tidegate_base::Holder;

use super::{
    Gateway, WAIT, body, connect, read_all, read_until, status,
    upstream::{Then, upstream},
};
use crate::objects::Plane;

fn mock(text: &str) -> Value {
    json!({"filters": [{"name": "m", "kind": "Mock", "rules": [{"match": {}, "code": 200, "body": text}]}]})
}

fn server(port: u16, backend: &str) -> Value {
    json!({"port": port, "address": "127.0.0.1", "rules": [{"paths": [{"backend": backend}]}]})
}

#[test]
fn a_swap_under_load_loses_no_request() {
    let address = upstream(|_| ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nend".into(), Then::Keep));
    let mut gateway = Gateway::with_proxy(address, json!({}));
    gateway.set("mock", "Pipeline", mock("end"));
    gateway.apply_all();
    let (done, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let target = gateway.address();
    thread::scope(|scope| {
        for client in 0..4 {
            let (done, served) = (&done, &served);
            scope.spawn(move || {
                let mut stream = connect(target);
                let mut count = 0;
                while !done.load(Ordering::SeqCst) {
                    // Some keep their connection, others make a new one now and then.
                    if client % 2 == 0 && count % 10 == 9 {
                        stream = connect(target);
                    }
                    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
                    assert_eq!(status(&read_until(&mut stream, "end")), 200);
                    count += 1;
                    served.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for round in 0..100 {
            // The pipeline that is used, its filters, and the connection settings change in turn.
            let backend = if round % 2 == 0 { "mock" } else { "p" };
            let mut spec = server(0, backend);
            spec["keepAliveTimeout"] = json!(format!("{}s", 10 + round % 7));
            gateway.set("s", "HTTPServer", spec);
            let pool = json!({"servers": [{"url": format!("http://{address}")}], "timeout": format!("{}s", 5 + round)});
            gateway.set("p", "Pipeline", json!({"filters": [{"name": "proxy", "kind": "Proxy", "pools": [pool]}]}));
            gateway.apply_all();
            let seen = served.load(Ordering::SeqCst);
            while served.load(Ordering::SeqCst) < seen + 5 {
                thread::yield_now();
            }
        }
        done.store(true, Ordering::SeqCst);
    });
    assert_eq!(gateway.address(), target, "a chosen port stays");
    let served = served.load(Ordering::SeqCst) as u64;
    assert_eq!(gateway.plane.counters()["s"].requests, served);
}

#[test]
fn a_spec_that_fails_leaves_the_old_one_running() {
    let mut gateway = Gateway::with_filter(json!({"name": "m", "kind": "Mock", "rules": [{"match": {}, "code": 201}]}));
    gateway.set(
        "p",
        "Pipeline",
        json!({"filters": [{"name": "m", "kind": "Mock", "rules": [{"match": {}, "code": 99}]}]}),
    );
    gateway.set("s", "HTTPServer", json!({"port": "x"}));
    let statuses = gateway.apply();
    assert_eq!(statuses["p"].error.as_deref(), Some("filters[0].rules[0].code: must be 200 to 599"));
    assert_eq!(statuses["s"].error.as_deref(), Some("port: must be of type integer"));
    assert_eq!(gateway.status("/"), 201);
    assert_eq!(gateway.plane.statuses(), statuses);
    gateway.set("other", "MeshController", json!({}));
    assert!(gateway.apply()["other"].error.as_deref().unwrap().contains("not supported"));
}

#[test]
fn a_taken_port_fails_and_is_taken_when_free() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut gateway = Gateway::new();
    gateway.set("p", "Pipeline", mock("x"));
    gateway.set("s", "HTTPServer", server(port, "p"));
    let error = gateway.apply()["s"].error.clone().unwrap();
    assert!(error.starts_with(&format!("cannot listen on 127.0.0.1:{port}: ")), "{error}");
    drop(taken);
    gateway.plane.retry();
    assert_eq!(gateway.plane.statuses()["s"].error, None);
    assert_eq!(gateway.status("/"), 200);
    // Another HTTPServer is refused the same port.
    gateway.set("t", "HTTPServer", server(port, "p"));
    assert!(gateway.apply()["t"].error.is_some());
}

#[test]
fn requests_in_flight_finish_when_their_server_goes() {
    let (asked, wait) = std::sync::mpsc::sync_channel(1);
    let (answer, go) = std::sync::mpsc::sync_channel::<()>(1);
    let go = std::sync::Mutex::new(go);
    let address = upstream(move |_| {
        asked.send(()).unwrap();
        go.lock().unwrap().recv().unwrap();
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate".into(), Then::Keep)
    });
    let mut gateway = Gateway::with_proxy(address, json!({}));
    let target = gateway.address();
    let (mut busy, mut idle) = (connect(target), connect(target));
    busy.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    wait.recv_timeout(super::WAIT).unwrap();
    gateway.remove("s");
    gateway.remove("p");
    gateway.apply_all();
    assert!(TcpStream::connect(target).is_err(), "the port is closed when apply returns");
    assert_eq!(idle.read(&mut [0; 8]).unwrap(), 0, "idle connections end at once");
    answer.send(()).unwrap();
    let late = read_all(&mut busy);
    assert!(body(&late) == "late" && late.contains("Connection: close"), "{late}");
}

#[test]
fn ports_change_hands_in_one_apply() {
    let mut gateway = Gateway::new();
    gateway.set("a", "Pipeline", mock("a"));
    gateway.set("b", "Pipeline", mock("b"));
    gateway.set("s", "HTTPServer", server(0, "a"));
    gateway.set("t", "HTTPServer", server(0, "b"));
    gateway.apply_all();
    let port = |name: &str| gateway.plane.address(name).unwrap().port();
    let (s, t) = (port("s"), port("t"));
    gateway.set("s", "HTTPServer", server(t, "a"));
    gateway.set("t", "HTTPServer", server(s, "b"));
    gateway.apply_all();
    let ask = |port: u16| {
        super::talk(([127, 0, 0, 1], port).into(), "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    };
    assert_eq!((body(&ask(t)), body(&ask(s))), ("a", "b"));
}

#[test]
fn connections_beyond_the_limit_wait_their_turn() {
    let mut gateway = Gateway::new();
    gateway.set("p", "Pipeline", mock("end"));
    let mut spec = server(0, "p");
    spec["maxConnections"] = json!(1);
    gateway.set("s", "HTTPServer", spec);
    gateway.apply_all();
    let mut first = connect(gateway.address());
    first.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    read_until(&mut first, "end");
    let mut second = connect(gateway.address());
    second.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    // The first still works while the second waits.
    first.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    read_until(&mut first, "end");
    drop(first);
    read_until(&mut second, "end");
}

#[test]
fn validation_finds_every_problem_and_builds_nothing() {
    let gateway = Gateway::new();
    let fields = |kind: &str, spec: Value| match gateway.plane.validate(kind, &spec) {
        Ok(warnings) => warnings,
        Err(problems) => problems.into_iter().map(|problem| problem.field).collect(),
    };
    let server = json!({
        "name": "s", "kind": "HTTPServer", "port": 80, "https": true, "ipFilter": {}, "maxConnections": 0, "address": "x",
        "rules": [{"host": "a*b", "paths": [{"path": "x", "methods": ["get"], "headers": [{"key": "X"}]}]}],
    });
    assert_eq!(
        fields("HTTPServer", server),
        [
            "maxConnections",
            "address",
            "https",
            "rules[0].host",
            "rules[0].paths[0].path",
            "rules[0].paths[0].methods[0]",
            "rules[0].paths[0].backend",
            "rules[0].paths[0].headers[0]",
        ]
    );
    let pipeline = json!({
        "flow": [{"filter": "x"}, {"filter": "m", "jumpIf": {"wrong": "END"}}],
        "filters": [
            {"name": "m", "kind": "Mock", "rules": [{"match": {}, "code": 1}]},
            {"name": "m", "kind": "None"},
            {"name": "END", "kind": "Proxy", "pools": []},
        ],
        "resilience": [{"kind": "Retry"}],
    });
    assert_eq!(
        fields("Pipeline", pipeline),
        [
            "resilience[0].name",
            "filters[0].rules[0].code",
            "filters[1].name",
            "filters[1].kind",
            "filters[2].name",
            "filters[2].pools",
            "flow[0].filter",
            "flow[1].jumpIf.wrong",
        ]
    );
    let warned = json!({"PORT": 80, "cacheSize": 5, "unknown": 1});
    assert_eq!(fields("HTTPServer", warned).len(), 3, "warnings, and no problem");
    assert_eq!(fields("Nothing", json!({})), ["kind"]);
}

#[test]
fn a_raised_limit_of_connections_takes_effect_at_once() {
    let mut gateway = Gateway::with_filter(json!({"name": "m", "kind": "Mock", "rules": [{"match": {}, "code": 201}]}));
    let limited = |limit: u32| {
        let mut spec = server(0, "p");
        spec["maxConnections"] = json!(limit);
        spec
    };
    gateway.set("s", "HTTPServer", limited(1));
    gateway.apply_all();
    let ask = |stream: &mut TcpStream| stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let mut first = connect(gateway.address());
    ask(&mut first);
    read_until(&mut first, "\r\n\r\n");
    let mut others: Vec<TcpStream> = (0..4).map(|_| connect(gateway.address())).collect();
    others.iter_mut().for_each(ask);
    // An edit of anything else counts the connections that are there.
    let mut spec = limited(1);
    spec["keepAliveTimeout"] = json!("33s");
    gateway.set("s", "HTTPServer", spec);
    gateway.apply_all();
    for stream in &mut others {
        stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        stream.set_read_timeout(Some(WAIT)).unwrap();
    }
    assert_eq!(gateway.plane.counters()["s"].requests, 1);
    gateway.set("s", "HTTPServer", limited(5));
    gateway.apply_all();
    for stream in &mut others {
        assert_eq!(status(&read_until(stream, "\r\n\r\n")), 201);
    }
}

#[test]
fn an_edit_of_a_pipeline_keeps_the_addresses_of_its_names() {
    let address = upstream(|_| ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nend".into(), Then::Keep));
    let url = format!("http://localhost:{}", address.port());
    let mut gateway = Gateway::with_proxy(address, json!({}));
    for round in 1..200 {
        let pool = json!({"servers": [{"url": url}], "timeout": format!("{round}s")});
        gateway.set("p", "Pipeline", json!({"filters": [{"name": "proxy", "kind": "Proxy", "pools": [pool]}]}));
        gateway.apply_all();
        assert_eq!(gateway.status("/"), 200, "right after edit {round}");
    }
}

#[test]
fn a_drain_finishes_what_was_asked_and_its_end_can_be_waited_for() {
    let (go, gone) = std::sync::mpsc::sync_channel::<()>(1);
    let gone = std::sync::Mutex::new(gone);
    let address = upstream(move |_| {
        gone.lock().unwrap().recv().unwrap();
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nend".into(), Then::Keep)
    });
    let gateway = Gateway::with_proxy(address, json!({}));
    let target = gateway.address();
    let mut idle = connect(target);
    let mut busy = connect(target);
    busy.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    while gateway.plane.counters()["s"].requests == 0 {
        thread::yield_now();
    }
    gateway.plane.drain();
    assert!(TcpStream::connect(target).is_err());
    assert_eq!(read_all(&mut idle), "");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut finished = Box::pin(gateway.plane.finished());
    assert!(futures_util::FutureExt::now_or_never(&mut finished).is_none());
    go.send(()).unwrap();
    let answer = read_all(&mut busy);
    assert!(status(&answer) == 200 && body(&answer) == "end", "{answer}");
    runtime.block_on(finished);
}

#[test]
fn what_is_built_is_paid_for_and_without_memory_the_old_one_runs() {
    let mut gateway = Gateway::with_filter(json!({"name": "m", "kind": "Mock", "rules": [{"match": {}, "code": 201}]}));
    let small = gateway.plane.statuses()["s"].bytes;
    let many = |count: usize| {
        let paths: Vec<Value> = (0..count).map(|n| json!({"path": format!("/{n}"), "backend": "p"})).collect();
        json!({"port": 0, "address": "127.0.0.1", "rules": [{"paths": paths}]})
    };
    gateway.set("s", "HTTPServer", many(1000));
    gateway.apply_all();
    let large = gateway.plane.statuses()["s"].bytes;
    assert!(small > 0 && large > 100 * small, "{small} {large}");
    let room = gateway.budget.room(Holder::Gateway);
    let full = gateway.budget.try_lease(Holder::Gateway, room - (256 << 10)).unwrap();
    gateway.set("s", "HTTPServer", many(1001));
    let told = gateway.apply()["s"].error.clone().unwrap();
    assert!(told.contains("no memory"), "{told}");
    assert_eq!(gateway.plane.statuses()["s"].bytes, large);
    assert_eq!((gateway.status("/999"), gateway.status("/1000")), (201, 404));
    drop(full);
    gateway.apply_all();
    assert_eq!(gateway.status("/1000"), 201);
}
