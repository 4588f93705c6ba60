//! What the node tells of its servers and pipelines when it is asked: statuses and metrics.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use serde_json::{Map, Value, json};
use tidegate_base::clock;
use tidegate_pipeline::{Pipeline, stats::Snapshot};

use super::{
    plane::{DataPlane, HTTP_SERVER, PIPELINE, Running, State},
    server::Server,
    stats::metrics::{BACKEND_FAMILIES, Page, SERVER_GAUGES, backend},
};

/// Who writes the metrics.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a> {
    pub cluster: &'a str,
    pub role: &'a str,
    pub member: &'a str,
}

impl DataPlane {
    /// Status of an HTTPServer or Pipeline as the reference writes it; `None` for what is neither, or does not run here.
    pub fn status(&self, name: &str) -> Option<Value> {
        let state = self.inner.state();
        let kind = state.specs.get(name)?.kind.clone();
        let error = state.specs.get(name).and_then(|known| known.status.error.clone());
        if kind == HTTP_SERVER {
            let (mut status, server) = server_head(&state, name, error);
            // Summed up without the lock.
            drop(state);
            if let Some(server) = server {
                let now = clock::now();
                status.extend(server.counted.sum(now).to_map());
                status.insert("topN".to_owned(), server.counted.top(now));
            }
            return Some(Value::Object(status));
        }
        if kind != PIPELINE {
            return None;
        }
        let pipeline: Option<Arc<Pipeline>> = state.pipelines.get(name).cloned();
        drop(state);
        let filters = pipeline.map(|pipeline| pipeline.statuses()).unwrap_or_default();
        Some(json!({"health": error.unwrap_or_default(), "filters": filters}))
    }

    /// Metrics of servers and pools in the text format of Prometheus, a piece at a time: `write` gets some KiB each, and may
    /// stop it by `false`. At most as large as the servers and backends that were asked for something.
    pub fn metrics(&self, labels: Labels<'_>, mut write: impl FnMut(&str) -> bool) {
        let servers: Vec<(Arc<Server>, bool, &'static str)> = {
            let state = self.inner.state();
            state
                .servers
                .values()
                .map(|running| (Arc::clone(&running.server), running.listener.is_ok(), running.compiled.router_kind()))
                .collect()
        };
        let common = [("clusterName", labels.cluster), ("clusterRole", labels.role), ("instanceName", labels.member)];
        let mut page = Page::new(&common);
        let mut flush = |page: &mut Page, least: usize| {
            let go_on = page.text.len() < least || write(&page.text);
            if page.text.len() >= least {
                page.text.clear();
            }
            go_on
        };
        page.family("httpserver_health", "gauge", "Whether the server listens.");
        for (server, open, _) in &servers {
            let labels = [("httpServerName", server.name.as_str()), ("kind", HTTP_SERVER)];
            page.series("httpserver_health", &labels, f64::from(u8::from(*open)));
        }
        let now = clock::now();
        let sums: Vec<BTreeMap<&str, f64>> = servers.iter().map(|(server, ..)| numbers(server, now)).collect();
        for (metric, name) in SERVER_GAUGES {
            page.family(metric, "gauge", name);
            for ((server, ..), sum) in servers.iter().zip(&sums) {
                let labels = [("httpServerName", server.name.as_str()), ("kind", HTTP_SERVER)];
                page.series(metric, &labels, sum.get(name).copied().unwrap_or(0.0));
            }
            if !flush(&mut page, PIECE) {
                return;
            }
        }
        for (number, (name, kind, help)) in BACKEND_FAMILIES.iter().enumerate() {
            page.family(name, kind, help);
            for (server, _, router) in &servers {
                for (name, sum) in server.counted.sum_backends() {
                    let labels = [
                        ("httpServerName", server.name.as_str()),
                        ("kind", HTTP_SERVER),
                        ("routerKind", router),
                        ("backend", &*name),
                    ];
                    backend(&mut page, number, &labels, &sum);
                    if !flush(&mut page, PIECE) {
                        return;
                    }
                }
            }
        }
        flush(&mut page, 1);
    }
}

/// Bytes after which a piece of the metrics is passed on.
const PIECE: usize = 16 << 10;

fn numbers(server: &Server, now: Instant) -> BTreeMap<&'static str, f64> {
    let sum: Snapshot = server.counted.sum(now);
    sum.numbers().collect()
}

fn server_head(state: &State, name: &str, error: Option<String>) -> (Map<String, Value>, Option<Arc<Server>>) {
    let running: Option<&Running> = state.servers.get(name);
    let (word, failure) = match running.map(|running| &running.listener) {
        Some(Ok(_)) => ("running", None),
        Some(Err(why)) => ("failed", Some(why.clone())),
        None => ("nil", None),
    };
    let failure = error.or(failure).unwrap_or_default();
    let mut status = Map::new();
    status.insert("name".to_owned(), json!(name));
    status.insert("health".to_owned(), json!(failure));
    status.insert("state".to_owned(), json!(word));
    status.insert("error".to_owned(), json!(failure));
    (status, running.map(|running| Arc::clone(&running.server)))
}
