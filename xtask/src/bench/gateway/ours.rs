//! Our node and its objects.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tidegate_testkit::pki::{Pair, base64};
use tidegate_tests::{free_ports, until};

use super::fleet::{Job, Kind, Proxy, Running};
use crate::bench::{
    http,
    node::{Node, START_MAX},
};

/// Ports of both listeners.
#[derive(Clone, Copy)]
pub(super) struct Ports {
    pub(super) plain: u16,
    pub(super) secure: u16,
}

pub(super) fn start(build: Option<&Path>, job: Job<'_>) -> Result<Proxy> {
    let node = match build {
        Some(program) => Node::start_build(program, job.dir, job.budget)?,
        None => Node::start(job.dir, job.budget)?,
    };
    let [plain, secure] = free_ports()?;
    let ports = Ports { plain, secure };
    let pair = &job.certificate.pair;
    for object in [pipeline(job, 0), plain_server(job, ports, 0), secure_server(job, ports, pair, 0)] {
        let sent = http::post(&node.api, "/apis/v2/objects", &object.to_string());
        sent.with_context(|| format!("create {}", object["name"]))?;
    }
    // Objects take effect in the order of their creation, as the loader sees them.
    let secure = format!("127.0.0.1:{secure}");
    until(START_MAX, || std::net::TcpStream::connect(&secure).ok()).with_context(|| node.log())?;
    Ok(Proxy {
        kind: Kind::Tidegate,
        name: Kind::Tidegate.name().to_owned(),
        plain: format!("127.0.0.1:{plain}"),
        secure,
        running: Running::Node(node),
    })
}

/// The pipeline; each `edit` gives another specification of the same work.
pub(super) fn pipeline(job: Job<'_>, edit: usize) -> Value {
    let proxy = format!("proxy{edit}");
    let mut filters = vec![json!({
        "name": proxy, "kind": "Proxy", "serverMaxBodySize": -1,
        "pools": [{"servers": [{"url": format!("http://{}", job.backend.address)}]}],
    })];
    let mut flow = vec![json!({"filter": proxy})];
    if job.filters {
        filters
            .push(json!({"name": "adaptor", "kind": "RequestAdaptor", "header": {"set": {"X-Gateway": "tidegate"}}}));
        filters.push(json!({
            "name": "limiter", "kind": "RateLimiter", "defaultPolicyRef": "most", "urls": [{"url": {"prefix": "/"}}],
            "policies": [{"name": "most", "timeoutDuration": "100ms", "limitRefreshPeriod": "1s", "limitForPeriod": 1_000_000_000}],
        }));
        flow = vec![json!({"filter": "adaptor"}), json!({"filter": "limiter"}), json!({"filter": proxy})];
    }
    json!({"name": "bench", "kind": "Pipeline", "flow": flow, "filters": filters})
}

/// The listener without TLS; an `edit` adds a rule that nobody asks for.
pub(super) fn plain_server(job: Job<'_>, ports: Ports, edit: usize) -> Value {
    server("plain", ports.plain, job, edit)
}

pub(super) fn secure_server(job: Job<'_>, ports: Ports, pair: &Pair, edit: usize) -> Value {
    let mut spec = server("secure", ports.secure, job, edit);
    spec["https"] = json!(true);
    spec["certBase64"] = json!(base64(&pair.cert));
    spec["keyBase64"] = json!(base64(&pair.key));
    spec
}

fn server(name: &str, port: u16, job: Job<'_>, edit: usize) -> Value {
    let mut paths: Vec<Value> =
        (0..job.routes).map(|number| json!({"pathPrefix": format!("/svc{number}/api/"), "backend": "bench"})).collect();
    if edit > 0 {
        paths.push(json!({"path": format!("/edit{edit}"), "backend": "bench"}));
    }
    paths.push(json!({"pathPrefix": "/", "backend": "bench"}));
    json!({
        "name": name, "kind": "HTTPServer", "port": port, "address": "127.0.0.1", "xForwardedFor": true, "maxConnections": 10_240,
        "keepAliveTimeout": "300s", "clientMaxBodySize": -1, "rules": [{"paths": paths}],
    })
}
