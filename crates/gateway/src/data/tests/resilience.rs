//! Pools, policies, health checks and copies of the proxy, end to end.

use std::{
    io::Write,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use serde_json::{Value, json};
use tidegate_base::{Holder, clock};

use super::{
    Gateway, WAIT, body, connect, read_until, status, talk,
    upstream::{Then, upstream},
};

/// Says its name.
fn named(name: &'static str) -> SocketAddr {
    upstream(move |_| (format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()), Then::Keep))
}

fn server(address: SocketAddr) -> Value {
    json!({"url": format!("http://{address}")})
}

fn gateway(pools: Value, extra: Value, resilience: Value) -> Gateway {
    let mut proxy = json!({"name": "proxy", "kind": "Proxy", "pools": pools});
    proxy.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let mut gateway = Gateway::new();
    gateway.set("p", "Pipeline", json!({"filters": [proxy], "resilience": resilience}));
    let server = json!({"port": 0, "address": "127.0.0.1", "rules": [{"paths": [{"backend": "p"}]}]});
    gateway.set("s", "HTTPServer", server);
    gateway.apply_all();
    gateway
}

fn get(gateway: &Gateway, headers: &str) -> String {
    gateway.ask(&format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{headers}\r\n"))
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until: Instant = clock::now() + WAIT;
    while !done() {
        assert!(clock::now() < until, "in vain: {what}");
        thread::yield_now();
    }
}

/// Answers each request by what the list says of its number; the last goes on for ever.
fn scripted(answers: &'static [&'static str]) -> (SocketAddr, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let address = upstream(move |received| {
        count.fetch_add(1, Ordering::SeqCst);
        let head = answers.get(received.number).or(answers.last()).unwrap();
        let text = received.body;
        (format!("HTTP/1.1 {head}Content-Length: {}\r\n\r\n{text}", text.len()), Then::Keep)
    });
    (address, seen)
}

#[test]
fn keys_of_filters_and_policies_match_in_any_case() {
    let (address, asked) = scripted(&["500 No\r\n", "200 OK\r\n"]);
    let retry = json!({"Name": "again", "KIND": "Retry", "MaxAttempts": 2, "waitduration": "1ms"});
    let proxy = json!({
        "NAME": "proxy", "Kind": "Proxy", "kInD": null,
        "Pools": [{"Servers": [{"URL": format!("http://{address}")}], "retrypolicy": "again"}],
    });
    // An exact key wins, whatever stands beside it.
    let exact = json!({"KIND": "Proxy", "kind": "ResponseAdaptor", "Kind": "Mock", "name": "exact", "Name": "other"});
    let mut gateway = Gateway::new();
    let flow = json!([{"Filter": "proxy"}, {"FILTER": "exact"}]);
    gateway.set("p", "Pipeline", json!({"Filters": [proxy, exact], "FLOW": flow, "Resilience": [retry]}));
    let server = json!({"port": 0, "address": "127.0.0.1", "Rules": [{"PATHS": [{"Backend": "p"}]}]});
    gateway.set("s", "HTTPServer", server);
    gateway.apply_all();
    assert_eq!((gateway.status("/"), asked.load(Ordering::SeqCst)), (200, 2));
}

#[test]
fn a_canary_takes_what_fits_its_filter() {
    let filter = json!({"headers": {"X-Canary": {"regex": "^(on|yes)$"}}});
    let pools = json!([{"servers": [server(named("canary"))], "filter": filter}, {"servers": [server(named("main"))]}]);
    let gateway = gateway(pools, json!({}), json!([]));
    for (headers, expected) in [("", "main"), ("X-Canary: on\r\n", "canary"), ("X-Canary: one\r\n", "main")] {
        assert_eq!(body(&get(&gateway, headers)), expected, "{headers}");
    }
}

#[test]
fn a_canary_takes_its_part_of_the_requests() {
    let filter = json!({"policy": "headerHash", "headerHashKey": "X-User", "permil": 500});
    let pools = json!([{"servers": [server(named("main"))]}, {"servers": [server(named("canary"))], "filter": filter}]);
    let gateway = gateway(pools, json!({}), json!([]));
    // FNV-1 of "a" is 0x050c5d7e, 711 modulo 1000, of "foobar" 0x31f0b262, 538, and of nothing 0x811c9dc5, 261.
    let of = |hash: u32| if hash % 1000 < 500 { "canary" } else { "main" };
    for (user, hash) in [("a", 0x050c_5d7e), ("foobar", 0x31f0_b262), ("", 0x811c_9dc5)] {
        assert_eq!(body(&get(&gateway, &format!("X-User: {user}\r\n"))), of(hash), "{user}");
    }
}

#[test]
fn weights_share_the_requests_out() {
    let mut servers = [server(named("a!")), server(named("b!"))];
    servers[0]["weight"] = json!(1);
    servers[1]["weight"] = json!(99);
    let pools = json!([{"servers": servers, "loadBalance": {"policy": "weightedRandom"}}]);
    let gateway = gateway(pools, json!({}), json!([]));
    let mut client = connect(gateway.address());
    let mut heavy = 0;
    for _ in 0..200 {
        client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        heavy += usize::from(body(&read_until(&mut client, "!")) == "b!");
    }
    assert!(heavy > 170, "{heavy} of 200");
}

#[test]
fn a_session_stays_with_its_server() {
    let servers = ["a", "b", "c"].map(|name| server(named(name)));
    let pools = json!([{"servers": servers, "loadBalance": {"stickySession": {"mode": "DurationBased"}}}]);
    let gateway = gateway(pools, json!({}), json!([]));
    let first = get(&gateway, "");
    let cookie = first.lines().find_map(|line| line.strip_prefix("Set-Cookie: ")).unwrap();
    let cookie = cookie.split(';').next().unwrap();
    assert!(cookie.starts_with("EG_SESSION=") && cookie.len() == 91, "{first}");
    for _ in 0..5 {
        assert_eq!(body(&get(&gateway, &format!("Cookie: {cookie}\r\n"))), body(&first));
    }
    let forged = cookie.replace(&cookie[cookie.len() - 8..], "00000000");
    let others: Vec<String> = (0..3).map(|_| get(&gateway, &format!("Cookie: {forged}\r\n"))).collect();
    assert!(others.iter().any(|answer| body(answer) != body(&first)), "a cookie that nobody signed binds to nothing");
}

#[test]
fn a_failed_attempt_is_repeated_with_its_body_and_leaves_nothing_behind() {
    let (address, seen) =
        scripted(&["503 No\r\nX-First: 1\r\n", "502 No\r\nX-Second: 1\r\n", "200 OK\r\nX-Third: 1\r\n"]);
    let pools = json!([{"servers": [server(address)], "retryPolicy": "r"}]);
    let policy = json!([{"name": "r", "kind": "Retry", "waitDuration": "1ms", "backOffPolicy": "EXPONENTIAL"}]);
    let gateway = gateway(pools, json!({}), policy);
    let answer = gateway.ask("POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello");
    assert!(status(&answer) == 200 && body(&answer) == "hello" && answer.contains("X-Third"), "{answer}");
    assert!(!answer.contains("X-First") && !answer.contains("X-Second"), "{answer}");
    assert_eq!(answer.matches("Content-Length").count(), 1, "{answer}");
    assert_eq!(seen.load(Ordering::SeqCst), 3);
}

#[test]
fn the_last_failure_is_passed_on() {
    let (address, seen) = scripted(&["503 No\r\nX-Up: 1\r\n"]);
    let pools = json!([{"servers": [server(address)], "retryPolicy": "r"}]);
    let policy = json!([{"name": "r", "kind": "Retry", "waitDuration": "1ms", "maxAttempts": 2}]);
    let gateway = gateway(pools, json!({}), policy);
    let chunked = "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let answer = gateway.ask(&format!("POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{chunked}"));
    assert!(status(&answer) == 503 && body(&answer) == "abc" && answer.matches("X-Up").count() == 1, "{answer}");
    assert_eq!(seen.load(Ordering::SeqCst), 2);
}

#[test]
fn a_streamed_body_is_sent_once() {
    let (address, seen) = scripted(&["503 No\r\n"]);
    let pools = json!([{"servers": [server(address)], "retryPolicy": "r"}]);
    let policy = json!([{"name": "r", "kind": "Retry", "waitDuration": "1ms"}]);
    let mut gateway = gateway(pools, json!({}), policy);
    let rules = json!([{"paths": [{"backend": "p"}]}]);
    let streaming = json!({"port": 0, "address": "127.0.0.1", "clientMaxBodySize": -1, "rules": rules});
    gateway.set("s", "HTTPServer", streaming);
    gateway.apply_all();
    let post = "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(status(&gateway.ask(post)), 503);
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    assert_eq!(status(&get(&gateway, "")), 503);
    assert_eq!(seen.load(Ordering::SeqCst), 4, "a request without a body is repeated");
}

#[test]
fn a_client_that_leaves_ends_the_retries() {
    let (address, seen) = scripted(&["503 No\r\n"]);
    let pools = json!([{"servers": [server(address)], "retryPolicy": "r"}]);
    let policy = json!([{"name": "r", "kind": "Retry", "waitDuration": "1h", "maxAttempts": 9}]);
    let gateway = gateway(pools, json!({}), policy);
    let mut client = connect(gateway.address());
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    wait_until("the first attempt", || seen.load(Ordering::SeqCst) == 1);
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(read_until(&mut client, "\r\n\r\n").starts_with("HTTP/1.1 503 "), "what there was is its answer");
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}

#[test]
fn a_breaker_opens_tries_again_and_closes() {
    let well = Arc::new(AtomicBool::new(false));
    let (up, seen) = (Arc::clone(&well), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&seen);
    let address = upstream(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let line = if up.load(Ordering::SeqCst) { "200 OK" } else { "500 No" };
        (format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n"), Then::Keep)
    });
    let pools = json!([{"servers": [server(address)], "circuitBreakerPolicy": "b", "retryPolicy": "r"}]);
    let policies = json!([
        {"name": "b", "kind": "CircuitBreaker", "slidingWindowSize": 4, "minimumNumberOfCalls": 2,
         "permittedNumberOfCallsInHalfOpenState": 1, "waitDurationInOpenState": "50ms"},
        {"name": "r", "kind": "Retry", "maxAttempts": 2, "waitDuration": "1ms"},
    ]);
    let gateway = gateway(pools, json!({}), policies);
    let ask = || status(&get(&gateway, ""));
    assert_eq!([ask(), ask()], [500, 500]);
    assert_eq!(seen.load(Ordering::SeqCst), 4, "a call is one sample, whatever its attempts");
    // Open: it answers by itself until the wait is over, and one failed call opens it anew.
    wait_until("a call is refused", || ask() == 503);
    wait_until("a call is let through", || ask() == 500);
    well.store(true, Ordering::SeqCst);
    wait_until("it closes", || ask() == 200);
    assert_eq!([ask(), ask(), ask()], [200; 3]);
}

#[test]
fn an_attempt_that_takes_too_long_ends() {
    let address = upstream(|_| {
        thread::park_timeout(WAIT);
        (String::new(), Then::Close)
    });
    let pools = json!([{"servers": [server(address), server(named("fast"))], "timeout": "50ms", "retryPolicy": "r"}]);
    let policy = json!([{"name": "r", "kind": "Retry", "waitDuration": "1ms", "maxAttempts": 2}]);
    let gateway = gateway(pools, json!({}), policy);
    let answer = get(&gateway, "");
    assert!(status(&answer) == 200 && body(&answer) == "fast", "the time is that of one attempt: {answer}");
    let once = json!([{"servers": [server(address)], "timeout": "50ms", "retryPolicy": "r"}]);
    let once = self::gateway(once, json!({}), json!([{"name": "r", "kind": "Retry", "maxAttempts": 1}]));
    assert_eq!(status(&get(&once, "")), 408);
}

#[test]
fn a_mirror_gets_copies_of_what_fits_its_filter() {
    let copies: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&copies);
    let shadow = upstream(move |received| {
        kept.lock().unwrap().push(format!("{} [{}]", received.line, received.body));
        ("HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops".into(), Then::Keep)
    });
    let mirror = json!({"servers": [server(shadow)], "filter": {"headers": {"X-Shadow": {"prefix": "t"}}}});
    let pools = json!([{"servers": [server(super::upstream::echo())]}]);
    let gateway = gateway(pools, json!({"mirrorPool": mirror}), json!([]));
    let post = |path: &str, headers: &str| {
        let rest = format!("Connection: close\r\n{headers}Content-Length: 5\r\n\r\nhello");
        gateway.ask(&format!("POST {path} HTTP/1.1\r\nHost: h\r\n{rest}"))
    };
    assert_eq!(body(&post("/one", "")), "POST /one HTTP/1.1 [hello]");
    assert_eq!(body(&post("/two", "X-Shadow: test\r\n")), "POST /two HTTP/1.1 [hello]");
    assert_eq!(body(&post("/three", "X-Shadow: test\r\n")), "POST /three HTTP/1.1 [hello]");
    wait_until("two copies", || copies.lock().unwrap().len() == 2);
    let mut seen = copies.lock().unwrap().clone();
    seen.sort();
    assert_eq!(seen, ["POST /three HTTP/1.1 [hello]", "POST /two HTTP/1.1 [hello]"]);
}

#[test]
fn a_mirror_that_does_not_answer_delays_nobody() {
    let shadow = upstream(|_| {
        thread::park_timeout(WAIT);
        (String::new(), Then::Close)
    });
    let filter = json!({"policy": "random", "permil": 1000});
    let mirror = json!({"servers": [server(shadow)], "filter": filter, "timeout": "200ms"});
    let gateway = gateway(json!([{"servers": [server(named("main"))]}]), json!({"mirrorPool": mirror}), json!([]));
    let idle = gateway.budget.used(Holder::Gateway);
    // More than may be on their way: the rest is dropped.
    let mut client = connect(gateway.address());
    for _ in 0..200 {
        client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        read_until(&mut client, "main");
    }
    drop(client);
    wait_until("leases of the copies are back", || gateway.budget.used(Holder::Gateway) <= idle + (64 << 10));
}

#[test]
fn servers_that_fail_their_checks_get_no_requests() {
    let well = Arc::new(AtomicBool::new(false));
    let up = Arc::clone(&well);
    let ill = upstream(move |received| {
        let bad = received.line.starts_with("GET /health") && !up.load(Ordering::SeqCst);
        let line = if bad { "500 Ill" } else { "200 OK" };
        (format!("HTTP/1.1 {line}\r\nContent-Length: 3\r\n\r\nill"), Then::Keep)
    });
    let check = json!({"interval": "10ms", "timeout": "5s", "uri": "/health"});
    let pool = |servers: Value| json!([{"servers": servers, "healthCheck": check}]);
    let gateway = gateway(pool(json!([server(ill), server(named("fit"))])), json!({}), json!([]));
    let seen = || (0..4).map(|_| body(&get(&gateway, "")).to_owned()).collect::<Vec<_>>();
    wait_until("one server is left", || seen() == ["fit"; 4]);
    well.store(true, Ordering::SeqCst);
    wait_until("it is back", || seen().contains(&"ill".to_owned()));
    well.store(false, Ordering::SeqCst);
    let alone = self::gateway(pool(json!([server(ill)])), json!({}), json!([]));
    wait_until("none is left", || status(&talk(alone.address(), "GET / HTTP/1.0\r\n\r\n")) == 503);
}

#[test]
fn policies_that_do_not_exist_are_refused_at_once() {
    use crate::objects::Plane;
    let gateway = Gateway::new();
    let pool = |extra: Value| {
        let mut pool = json!({"servers": [{"url": "http://127.0.0.1:1"}]});
        pool.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({
            "filters": [{"name": "x", "kind": "Proxy", "pools": [pool]}],
            "resilience": [{"name": "r", "kind": "Retry"}, {"name": "b", "kind": "CircuitBreaker", "slidingWindowSize": 200}],
        })
    };
    let fields = |extra: Value| match gateway.plane.validate("Pipeline", &pool(extra)) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.into_iter().map(|problem| problem.field).collect(),
    };
    assert!(fields(json!({"retryPolicy": "r", "circuitBreakerPolicy": "b"})).is_empty());
    assert_eq!(fields(json!({"retryPolicy": "none"})), ["filters[0].pools[0].retryPolicy"]);
    assert_eq!(fields(json!({"circuitBreakerPolicy": "r"})), ["filters[0].pools[0].circuitBreakerPolicy"]);
}
