//! Metrics in the text format of Prometheus, one family after another, object by object.

use std::fmt::Write as _;

use tidegate_pipeline::stats::{Distribution, MILLIS, SIZES, TrafficSum};

/// Quantiles of the summaries. Source: the reference.
const QUANTILES: [f64; 6] = [0.25, 0.5, 0.75, 0.9, 0.95, 0.99];

/// Text of metrics, under the labels that every series has.
pub(crate) struct Page {
    pub(crate) text: String,
    common: String,
}

impl Page {
    pub(crate) fn new(common: &[(&str, &str)]) -> Self {
        let mut page = Self { text: String::new(), common: String::new() };
        for (name, value) in common {
            let mut label = String::new();
            write_label(&mut label, name, value);
            page.common.push_str(&label);
        }
        page
    }

    /// Begins a family: all of its series must follow.
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n").expect("a string takes all");
    }

    pub(crate) fn series(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(name);
        self.text.push('{');
        self.text.push_str(&self.common);
        for (name, value) in labels {
            write_label(&mut self.text, name, value);
        }
        if self.text.ends_with(',') {
            self.text.pop();
        }
        writeln!(self.text, "}} {value}").expect("a string takes all");
    }

    fn histogram(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        bounds: &[f64; 10],
        count: u64,
        sum: f64,
        of: &Distribution,
    ) {
        let mut below = 0;
        let bucket = format!("{name}_bucket");
        for (bound, places) in bounds.iter().zip(of.places) {
            below += places;
            self.series(&bucket, &[labels, &[("le", &bound.to_string())]].concat(), below as f64);
        }
        self.series(&bucket, &[labels, &[("le", "+Inf")]].concat(), count as f64);
        self.series(&format!("{name}_sum"), labels, sum);
        self.series(&format!("{name}_count"), labels, count as f64);
    }

    fn summary(&mut self, name: &str, labels: &[(&str, &str)], scale: f64, count: u64, sum: f64, of: &Distribution) {
        for part in QUANTILES {
            let value = of.quantiles.at(part) / scale;
            self.series(name, &[labels, &[("quantile", &part.to_string())]].concat(), value);
        }
        self.series(&format!("{name}_sum"), labels, sum);
        self.series(&format!("{name}_count"), labels, count as f64);
    }
}

fn write_label(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push_str("=\"");
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push_str("\",");
}

/// Families of a server's backends.
pub(crate) const BACKEND_FAMILIES: [(&str, &str, &str); 9] = [
    ("httpserver_total_requests", "counter", "Requests that found a backend."),
    ("httpserver_total_responses", "counter", "Responses to them."),
    ("httpserver_total_error_requests", "counter", "Those with a status of 400 or more."),
    ("httpserver_requests_duration", "histogram", "Time from the head of a request to the end of its response, ms."),
    ("httpserver_requests_size_bytes", "histogram", "Bytes of requests, heads included."),
    ("httpserver_responses_size_bytes", "histogram", "Bytes of responses, heads included."),
    ("httpserver_requests_duration_percentage", "summary", "Quantiles of the durations of late, ms."),
    ("httpserver_requests_size_bytes_percentage", "summary", "Quantiles of the sizes of late."),
    ("httpserver_responses_size_bytes_percentage", "summary", "Quantiles of the sizes of late."),
];

/// Writes family `number` of [`BACKEND_FAMILIES`] for one backend.
pub(crate) fn backend(page: &mut Page, number: usize, labels: &[(&str, &str)], sum: &TrafficSum) {
    let Some((name, ..)) = BACKEND_FAMILIES.get(number) else { return };
    let (took, count) = (sum.took.sum as f64 / 1e3, sum.count);
    match number {
        0 | 1 => page.series(name, labels, count as f64),
        2 => page.series(name, labels, sum.errors as f64),
        3 => page.histogram(name, labels, &MILLIS, count, took, &sum.took),
        4 => page.histogram(name, labels, &SIZES, count, sum.received.sum as f64, &sum.received),
        5 => page.histogram(name, labels, &SIZES, count, sum.sent.sum as f64, &sum.sent),
        6 => page.summary(name, labels, 1e3, count, took, &sum.took),
        7 => page.summary(name, labels, 1.0, count, sum.received.sum as f64, &sum.received),
        _ => page.summary(name, labels, 1.0, count, sum.sent.sum as f64, &sum.sent),
    }
}

/// Families of a proxy's pools.
pub(crate) const POOL_FAMILIES: [(&str, &str, &str); 6] = [
    ("proxy_total_connections", "counter", "Requests that were sent to a pool."),
    ("proxy_total_error_connections", "counter", "Those that failed or were answered by a status of 400 or more."),
    ("proxy_request_body_size", "histogram", "Bytes of requests to a pool, heads included."),
    ("proxy_response_body_size", "histogram", "Bytes of bodies of a pool's answers, as far as they were announced."),
    ("proxy_request_body_size_percentage", "summary", "Quantiles of the sizes of late."),
    ("proxy_response_body_size_percentage", "summary", "Quantiles of the sizes of late."),
];

/// Writes family `number` of [`POOL_FAMILIES`] for one pool.
pub(crate) fn pool(page: &mut Page, number: usize, labels: &[(&str, &str)], sum: &TrafficSum) {
    let Some((name, ..)) = POOL_FAMILIES.get(number) else { return };
    let count = sum.count;
    match number {
        0 => page.series(name, labels, count as f64),
        1 => page.series(name, labels, sum.errors as f64),
        2 => page.histogram(name, labels, &SIZES, count, sum.received.sum as f64, &sum.received),
        3 => page.histogram(name, labels, &SIZES, count, sum.sent.sum as f64, &sum.sent),
        4 => page.summary(name, labels, 1.0, count, sum.received.sum as f64, &sum.received),
        _ => page.summary(name, labels, 1.0, count, sum.sent.sum as f64, &sum.sent),
    }
}

/// The gauges of a server, and what they are in a snapshot.
pub(crate) const SERVER_GAUGES: [(&str, &str); 21] = [
    ("httpserver_m1", "m1"),
    ("httpserver_m5", "m5"),
    ("httpserver_m15", "m15"),
    ("httpserver_m1_err", "m1Err"),
    ("httpserver_m5_err", "m5Err"),
    ("httpserver_m15_err", "m15Err"),
    ("httpserver_m1_err_percent", "m1ErrPercent"),
    ("httpserver_m5_err_percent", "m5ErrPercent"),
    ("httpserver_m15_err_percent", "m15ErrPercent"),
    ("httpserver_min", "min"),
    ("httpserver_max", "max"),
    ("httpserver_mean", "mean"),
    ("httpserver_p25", "p25"),
    ("httpserver_p50", "p50"),
    ("httpserver_p75", "p75"),
    ("httpserver_p95", "p95"),
    ("httpserver_p98", "p98"),
    ("httpserver_p99", "p99"),
    ("httpserver_p999", "p999"),
    ("httpserver_req_size", "reqSize"),
    ("httpserver_resp_size", "respSize"),
];
