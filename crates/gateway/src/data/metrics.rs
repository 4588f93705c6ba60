//! Metrics of servers and pools, a piece at a time: they grow with the backends and pools that were asked for something.

use std::{collections::VecDeque, sync::Arc};

use tidegate_base::clock;
use tidegate_pipeline::{
    Pipeline,
    stats::{PerThread, PoolTraffic, Traffic, TrafficSum},
};

use super::{
    plane::HTTP_SERVER,
    stats::metrics::{BACKEND_FAMILIES, POOL_FAMILIES, Page, SERVER_GAUGES, backend, pool},
    status::View,
};

/// Bytes after which a piece is passed on.
const PIECE: usize = 16 << 10;

/// What became of the spans of traced servers. The reference has nothing of the kind.
const SPAN_FAMILIES: [(&str, &str); 3] = [
    ("httpserver_spans_exported_total", "Spans that were sent, and taken as far as that is told."),
    ("httpserver_spans_dropped_total", "Spans that found no room."),
    ("httpserver_spans_failed_total", "Spans of batches that were not taken."),
];

/// Gives the text of Prometheus in pieces of some KiB.
pub struct Metrics {
    view: Arc<View>,
    /// Names of servers.
    servers: Vec<String>,
    /// What each of them counted, in the order of [`SERVER_GAUGES`]: summed up over the threads once, at its first gauge.
    sums: Vec<[f64; SERVER_GAUGES.len()]>,
    /// Pipelines with their names.
    pipelines: Vec<(String, Arc<Pipeline>)>,
    page: Page,
    step: Step,
    /// What is still to be told of the server or pipeline at hand.
    backends: VecDeque<(Box<str>, Arc<PerThread<Traffic>>)>,
    pools: VecDeque<(String, PoolTraffic)>,
}

/// What comes next: a family, and the object within it.
enum Step {
    /// Family 0 is their health, the others are [`SERVER_GAUGES`].
    Gauges {
        family: usize,
        server: usize,
    },
    /// Families [`SPAN_FAMILIES`].
    Spans {
        family: usize,
        server: usize,
    },
    Backends {
        family: usize,
        server: usize,
    },
    Pools {
        family: usize,
        pipeline: usize,
    },
    End,
}

impl Metrics {
    pub(super) fn new(view: Arc<View>, labels: &[(&str, &str)]) -> Self {
        let servers = view.servers.keys().cloned().collect();
        let all = view.pipelines.iter().chain(&view.generated);
        let pipelines = all.map(|(name, pipeline)| (name.clone(), Arc::clone(pipeline))).collect();
        let page = Page::new(labels);
        let (backends, pools) = (VecDeque::new(), VecDeque::new());
        Self {
            view,
            servers,
            sums: Vec::new(),
            pipelines,
            page,
            step: Step::Gauges { family: 0, server: 0 },
            backends,
            pools,
        }
    }

    fn gauge(&mut self, family: usize, server: usize) -> Step {
        let health = ("httpserver_health", "Whether the server listens.");
        let (metric, number) = if family == 0 { health } else { SERVER_GAUGES[family - 1] };
        if server == 0 {
            self.page.family(metric, "gauge", number);
        }
        let Some(name) = self.servers.get(server) else {
            let next = family + 1;
            let more = next <= SERVER_GAUGES.len();
            return if more { Step::Gauges { family: next, server: 0 } } else { Step::Spans { family: 0, server: 0 } };
        };
        if let Some(shown) = self.view.servers.get(name) {
            if family == 0 {
                let sum = shown.server.counted.sum(clock::now());
                let of =
                    |wanted: &str| sum.numbers().find(|(known, _)| *known == wanted).map_or(0.0, |(_, value)| value);
                self.sums.push(SERVER_GAUGES.map(|(_, number)| of(number)));
            }
            let labels = [("httpServerName", name.as_str()), ("kind", HTTP_SERVER)];
            let value = match family {
                0 => f64::from(u8::from(shown.open)),
                _ => self.sums.get(server).map_or(0.0, |sum| sum[family - 1]),
            };
            self.page.series(metric, &labels, value);
        }
        Step::Gauges { family, server: server + 1 }
    }

    fn spans(&mut self, family: usize, server: usize) -> Step {
        let (metric, help) = SPAN_FAMILIES[family];
        if server == 0 {
            self.page.family(metric, "counter", help);
        }
        let Some(name) = self.servers.get(server) else {
            let next = family + 1;
            let more = next < SPAN_FAMILIES.len();
            return if more {
                Step::Spans { family: next, server: 0 }
            } else {
                Step::Backends { family: 0, server: 0 }
            };
        };
        for (exporter, counts) in self.view.servers.get(name).iter().flat_map(|shown| shown.server.spans.counts()) {
            let labels = [("httpServerName", name.as_str()), ("kind", HTTP_SERVER), ("exporter", exporter)];
            let value = [counts.exported, counts.dropped, counts.failed][family];
            self.page.series(metric, &labels, value as f64);
        }
        Step::Spans { family, server: server + 1 }
    }

    fn backend(&mut self, family: usize, server: usize) -> Step {
        if server == 0 && self.backends.is_empty() {
            let (name, kind, help) = BACKEND_FAMILIES[family];
            self.page.family(name, kind, help);
        }
        let Some(name) = self.servers.get(server) else {
            let next = family + 1;
            let more = next < BACKEND_FAMILIES.len();
            return if more {
                Step::Backends { family: next, server: 0 }
            } else {
                Step::Pools { family: 0, pipeline: 0 }
            };
        };
        let Some(shown) = self.view.servers.get(name) else { return Step::Backends { family, server: server + 1 } };
        if self.backends.is_empty() {
            self.backends = shown.server.counted.asked_backends().into();
        }
        while self.page.text.len() < PIECE {
            let Some((backend_name, traffic)) = self.backends.pop_front() else { break };
            let labels = [
                ("httpServerName", name.as_str()),
                ("kind", HTTP_SERVER),
                ("routerKind", shown.router_kind),
                ("backend", &*backend_name),
            ];
            backend(&mut self.page, family, &labels, &TrafficSum::of(&traffic));
        }
        Step::Backends { family, server: if self.backends.is_empty() { server + 1 } else { server } }
    }

    fn pool(&mut self, family: usize, pipeline: usize) -> Step {
        if pipeline == 0 && self.pools.is_empty() {
            let (name, kind, help) = POOL_FAMILIES[family];
            self.page.family(name, kind, help);
        }
        let Some((name, built)) = self.pipelines.get(pipeline) else {
            let next = family + 1;
            return if next < POOL_FAMILIES.len() { Step::Pools { family: next, pipeline: 0 } } else { Step::End };
        };
        if self.pools.is_empty() {
            let asked = built.pools().into_iter().filter(|(_, pool)| !pool.traffic.is_empty());
            self.pools = asked.map(|(filter, pool)| (format!("proxy#{filter}#{}", pool.name), pool)).collect();
        }
        while self.page.text.len() < PIECE {
            let Some((proxy, told)) = self.pools.pop_front() else { break };
            let labels = [
                ("proxyName", proxy.as_str()),
                ("kind", "Proxy"),
                ("loadBalancePolicy", told.balance),
                ("filterPolicy", told.filter),
                // The reference has none: pools of one name in several pipelines share their series there.
                ("pipelineName", name.as_str()),
            ];
            pool(&mut self.page, family, &labels, &TrafficSum::of(&told.traffic));
        }
        Step::Pools { family, pipeline: if self.pools.is_empty() { pipeline + 1 } else { pipeline } }
    }
}

impl Iterator for Metrics {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        while self.page.text.len() < PIECE {
            self.step = match self.step {
                Step::Gauges { family, server } => self.gauge(family, server),
                Step::Spans { family, server } => self.spans(family, server),
                Step::Backends { family, server } => self.backend(family, server),
                Step::Pools { family, pipeline } => self.pool(family, pipeline),
                Step::End => break,
            };
        }
        let piece = std::mem::take(&mut self.page.text);
        (!piece.is_empty()).then_some(piece)
    }
}
