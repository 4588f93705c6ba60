//! What is counted of requests, and how it is told.

use serde_json::json;

use super::{Gateway, upstream};
use crate::objects::Plane;

fn metrics(gateway: &Gateway) -> String {
    let pieces = gateway.plane.metrics(&[("clusterName", "c"), ("clusterRole", "primary"), ("instanceName", "m")]);
    pieces.inspect(|piece| assert!(piece.len() < 64 << 10)).collect()
}

#[test]
fn a_server_tells_what_was_asked_of_it() {
    let mut gateway = Gateway::with_proxy(upstream::echo(), json!({}));
    let mut server = json!({"port": 0, "address": "127.0.0.1", "rules": [{"paths": [
        {"path": "/ok", "backend": "p"}, {"pathPrefix": "/users", "backend": "p"}, {"path": "/gone", "backend": "none"},
    ]}]});
    gateway.set("s", "HTTPServer", server.clone());
    gateway.apply();
    let (mut asked, mut answered) = (0, 0);
    let mut ask = |gateway: &Gateway, path: &str, expected: u16| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let answer = gateway.ask(&request);
        assert_eq!(super::status(&answer), expected);
        asked += request.len();
        answered += answer.len();
    };
    (0..20).for_each(|number| ask(&gateway, &format!("/users/{number}"), 200));
    (0..5).for_each(|_| ask(&gateway, "/ok", 200));
    ask(&gateway, "/gone", 503);
    ask(&gateway, "/else", 404);
    // What was counted survives an edit.
    server["maxConnections"] = json!(100);
    gateway.set("s", "HTTPServer", server);
    gateway.apply();
    ask(&gateway, "/ok", 200);

    let status = gateway.plane.numbers("s");
    assert_eq!((&status["count"], &status["errCount"]), (&json!(28), &json!(2)), "{status:?}");
    assert_eq!((&status["reqSize"], &status["respSize"]), (&json!(asked), &json!(answered)));
    assert!(status["min"].as_f64() > Some(0.0) && status["max"].as_f64() >= status["p99"].as_f64());
    let top: Vec<(&str, u64)> = status["topN"]
        .as_array()
        .unwrap()
        .iter()
        .map(|path| (path["path"].as_str().unwrap(), path["count"].as_u64().unwrap()))
        .collect();
    assert_eq!(top, [("/users/*", 20), ("/ok", 6), ("/else", 1), ("/gone", 1)]);
    let status = gateway.plane.numbers("p");
    let pool = &status["filters"]["proxy"]["mainPool"]["stat"];
    assert_eq!((&pool["count"], &pool["errCount"]), (&json!(26), &json!(0)), "{status:?}");
    assert!(gateway.plane.numbers("none").is_empty());

    let text = metrics(&gateway);
    let common =
        "clusterName=\"c\",clusterRole=\"primary\",instanceName=\"m\",httpServerName=\"s\",kind=\"HTTPServer\"";
    let backend = format!("{common},routerKind=\"\",backend=\"p\"");
    for line in [
        format!("httpserver_health{{{common}}} 1"),
        format!("httpserver_total_requests{{{backend}}} 26"),
        format!("httpserver_total_responses{{{backend}}} 26"),
        format!("httpserver_total_error_requests{{{backend}}} 0"),
        format!("httpserver_total_error_requests{{{common},routerKind=\"\",backend=\"none\"}} 1"),
        format!("httpserver_requests_duration_bucket{{{backend},le=\"+Inf\"}} 26"),
        format!("httpserver_requests_size_bytes_bucket{{{backend},le=\"200\"}} 26"),
        format!("httpserver_requests_size_bytes_count{{{backend}}} 26"),
        "proxy_total_connections{clusterName=\"c\",clusterRole=\"primary\",instanceName=\"m\",proxyName=\"proxy#proxy#main\",\
             kind=\"Proxy\",loadBalancePolicy=\"roundRobin\",filterPolicy=\"\",pipelineName=\"p\"} 26"
            .to_owned(),
        "# TYPE httpserver_responses_size_bytes_percentage summary".to_owned(),
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }
    let families: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let mut once = families.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!((families.len(), once.len()), (37, 37));
}

#[test]
fn a_server_without_requests_has_no_series_of_backends() {
    let gateway = Gateway::with_proxy(upstream::echo(), json!({}));
    assert!(!metrics(&gateway).contains("backend="));
    assert_eq!(gateway.plane.numbers("s")["count"], 0);
}
