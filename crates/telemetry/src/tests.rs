//! Spans of requests as far as their queues.

use std::{rc::Rc, sync::Arc, time::Duration};

use serde_json::{Value as Json, json};
use tidegate_base::{Budget, ByteSize, Holder, Limits, Profile, clock};
use tidegate_http::{
    conn::Presence,
    io::Threads,
    message::{Known, RequestHead},
    upstream::Endpoint,
};
use tidegate_pipeline::{Deps, METADATA, Report, TraceSpan, decode};

use crate::{
    Counters, Counts, Incoming, RequestSpan, Setup, Spec, Tracer,
    context::SpanContext,
    ids::{SpanId, TraceId},
    queue::{Queue, QueueLimits},
    span::{Finished, Kind, Recording, Span, Value},
};

pub(crate) fn budget() -> Budget {
    Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap())
}

pub(crate) fn spec(json: &Json) -> Spec {
    let mut report = Report::default();
    let spec = decode::<Spec>(json, "", METADATA, &mut report);
    spec.unwrap_or_else(|| panic!("{}", report.problems))
}

/// A tracer with its exporters on an I/O thread.
pub(crate) struct Site {
    pub(crate) tracer: Option<Tracer>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) budget: Budget,
    present: Presence,
    threads: Option<Threads>,
}

impl Site {
    pub(crate) fn new(json: &Json) -> Self {
        let budget = budget();
        let threads = Threads::start(1, "io").unwrap();
        let (mut report, counters, present) = (Report::default(), Arc::default(), Presence::default());
        let setup = Setup::new(&spec(json), "tracing", &Deps::new(budget.clone(), 1), &mut report);
        let setup = setup.unwrap_or_else(|| panic!("{}", report.problems));
        let tracer = setup.start("server", &threads.handle(), &counters, &present);
        Self { tracer: Some(tracer), counters, budget, present, threads: Some(threads) }
    }

    pub(crate) fn begin(&self, headers: &[(&str, &str)]) -> Rc<RequestSpan> {
        let mut head = RequestHead::default();
        head.set_path(b"/some/path");
        head.set_query(b"secret=1");
        head.headers.append_known(Known::Host, b"shop.test:8080");
        headers.iter().for_each(|(name, value)| head.headers.append(name, value.as_bytes()));
        let peer = "192.0.2.7:4711".parse().unwrap();
        let client = "198.51.100.1".parse().unwrap();
        let incoming = Incoming { head: &head, client: Some(client), peer: Some(peer), secure: true };
        self.tracer.as_ref().unwrap().begin(&incoming)
    }

    /// A request with one call. Gives the headers that the call has.
    pub(crate) fn serve(&self, headers: &[(&str, &str)], status: u16) -> RequestHead {
        let span = self.begin(headers);
        let endpoint = Endpoint::parse("http://127.0.0.1:9095/base").unwrap();
        let mut head = RequestHead::default();
        span.call("call".into(), &endpoint, 1, &mut head).end(Ok(status));
        span.end(status);
        head
    }

    /// Closes and waits until the exporters have ended.
    pub(crate) fn close(&mut self) {
        self.tracer.take().unwrap().close();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(self.present.gone());
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counters.counts().next().map_or(Counts::default(), |(_, counts)| counts)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.tracer = None;
        self.threads.take().unwrap().stop();
        if !std::thread::panicking() {
            assert_eq!(self.budget.used(Holder::Gateway), 0, "every lease came back");
        }
    }
}

fn context() -> SpanContext {
    let (trace, span) = (TraceId::random(), SpanId::random());
    SpanContext { trace, span, sampled: true, debug: false, state: None }
}

/// The attributes that are kept of these, and how many are not.
fn recorded(limits: &Json, attributes: Vec<(&'static str, Value)>) -> (Vec<(&'static str, Value)>, u32) {
    let (limits, budget) = (serde_json::from_value(limits.clone()).unwrap(), budget());
    let span = Span::new(context(), "s".into(), Kind::Server, Duration::ZERO);
    let finished = Recording::begin(span, attributes, limits, &budget).unwrap().finish(Duration::ZERO).unwrap();
    assert_eq!(budget.used(Holder::Gateway), finished.bytes);
    let Finished { span, .. } = finished;
    (span.attributes, span.attributes_dropped)
}

#[test]
fn spans_keep_their_limits() {
    let values = || vec![("a", Value::Text("äöüß".into())), ("b", Value::Known("known")), ("c", Value::Number(12345))];
    let check = |limits: Json, expected: &[(&'static str, Value)], dropped| {
        assert_eq!(recorded(&limits, values()), (expected.to_vec(), dropped), "{limits}");
    };
    check(json!({}), &values(), 0);
    let text = |text: &str| Value::Text(text.into());
    check(
        json!({"attributeValueLengthLimit": 2}),
        &[("a", text("äö")), ("b", text("kn")), ("c", Value::Number(12345))],
        0,
    );
    check(json!({"attributeValueLengthLimit": 0}), &[("a", text("")), ("b", text("")), ("c", Value::Number(12345))], 0);
    check(json!({"attributeCountLimit": 1}), &values()[..1], 2);
    check(json!({"attributeCountLimit": 0}), &[], 3);
    check(json!({"attributeCountLimit": -1}), &values(), 0);
    let long = recorded(&json!({}), vec![("a", Value::Text("ü".repeat(5000).into()))]);
    assert_eq!(long.0, [("a", Value::Text("ü".repeat(2048).into()))], "4 KiB without a limit of the spec's");
}

fn finished(budget: &Budget) -> Arc<Finished> {
    let span = Span::new(context(), "s".into(), Kind::Server, Duration::ZERO);
    let limits = crate::SpanLimits::default();
    Arc::new(Recording::begin(span, Vec::new(), limits, budget).unwrap().finish(Duration::ZERO).unwrap())
}

fn queue(spans_max: usize, bytes_max: u64, counters: &Arc<Counters>) -> Queue {
    let limits = QueueLimits { spans_max, bytes_max, batch_max: 2, batch_timeout: Duration::from_secs(3600) };
    Queue::new(limits, Arc::clone(counters), 0)
}

#[test]
fn a_full_queue_drops_and_counts_by_spans_and_by_bytes() {
    let (budget, counters) = (budget(), Arc::default());
    let bytes = finished(&budget).bytes;
    for (spans_max, bytes_max) in [(3, u64::MAX), (100, 3 * bytes)] {
        let queue = queue(spans_max, bytes_max, &counters);
        let before = counters.of(0).get().dropped;
        (0..5).for_each(|_| queue.push(&finished(&budget)));
        assert_eq!(counters.of(0).get().dropped - before, 2);
        assert_eq!(budget.used(Holder::Gateway), 3 * bytes, "what is dropped has given its bytes back");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let batch = runtime.block_on(queue.batch(None, false));
        assert_eq!(batch.len(), 2, "a batch is whole before its time");
        drop(batch);
        queue.push(&finished(&budget));
        assert_eq!(counters.of(0).get().dropped - before, 2, "there is room again");
        queue.end();
        queue.push(&finished(&budget));
        assert_eq!(counters.of(0).get().dropped - before, 5, "what was left, and what came too late");
        assert_eq!(budget.used(Holder::Gateway), 0);
    }
}

#[test]
fn a_batch_waits_for_its_time_or_its_size() {
    let (budget, counters) = (budget(), Arc::default());
    let limits = |timeout| QueueLimits { spans_max: 9, bytes_max: u64::MAX, batch_max: 2, batch_timeout: timeout };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let soon = Queue::new(limits(Duration::from_millis(1)), Arc::clone(&counters), 0);
    soon.push(&finished(&budget));
    assert_eq!(runtime.block_on(soon.batch(None, false)).len(), 1, "alone, when its time has come");
    let late = Queue::new(limits(Duration::from_secs(3600)), counters, 0);
    late.push(&finished(&budget));
    assert_eq!(runtime.block_on(late.batch(Some(clock::now()), false)).len(), 0, "its time has not come");
    late.close();
    assert_eq!(runtime.block_on(late.batch(None, false)).len(), 1, "nothing waits in a queue that closes");
    assert_eq!(runtime.block_on(late.batch(None, false)).len(), 0);
}

#[test]
fn without_memory_a_span_is_dropped_and_its_context_goes_on() {
    let site = Site::new(&json!({"serviceName": "s", "exporter": {"zipkin": {"endpoint": "http://127.0.0.1:1"}}}));
    let all = site.budget.try_lease(Holder::Gateway, site.budget.room(Holder::Gateway)).unwrap();
    let head = site.serve(&[], 200);
    assert!(head.headers.find("traceparent").is_some_and(|parent| parent.ends_with(b"-01")));
    assert_eq!(site.counts(), Counts { dropped: 2, ..Counts::default() });
    drop(all);
}

#[test]
fn who_is_not_sampled_has_a_context_and_no_span() {
    let zipkin = json!({"endpoint": "http://127.0.0.1:1"});
    let site = Site::new(&json!({"serviceName": "s", "sampleRate": 0, "exporter": {"zipkin": zipkin}}));
    let parent = |head: &RequestHead| String::from_utf8(head.headers.find("traceparent").unwrap().to_vec()).unwrap();
    assert!(parent(&site.serve(&[], 200)).ends_with("-00"));
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let told = format!("00-{trace}-00f067aa0ba902b7-00");
    let passed = parent(&site.serve(&[("traceparent", &told), ("tracestate", "a=1")], 200));
    assert!(passed.starts_with(&format!("00-{trace}-")) && passed.ends_with("-00") && passed != told, "{passed}");
    assert_eq!(site.counts(), Counts::default());
}

#[test]
fn specs_that_are_refused() {
    let check = |json: Json, expected: &[&str]| {
        let mut report = Report::default();
        let spec = decode::<Spec>(&json, "tracing", METADATA, &mut report);
        if let Some(spec) = spec {
            assert!(Setup::new(&spec, "tracing", &Deps::new(budget(), 1), &mut report).is_none());
        }
        let found: Vec<String> =
            report.problems.iter().map(|problem| format!("{}: {}", problem.field, problem.message)).collect();
        assert_eq!(found, expected, "{json}");
    };
    let zipkin = json!({"zipkin": {"endpoint": "http://a"}});
    let with = |key: &str, value: Json| json!({"serviceName": "s", "exporter": zipkin, key: value});
    check(json!({"exporter": zipkin}), &["tracing.serviceName: is required"]);
    check(with("serviceName", json!("")), &["tracing.serviceName: must not be empty"]);
    check(json!({"serviceName": "s"}), &["tracing.exporter: exporter and zipkin must not both be missing"]);
    check(with("exporter", json!({})), &["tracing.exporter: must have at least one of jaeger, zipkin and otlp"]);
    check(with("sampleRate", json!(1.5)), &["tracing.sampleRate: must be 0 to 1"]);
    check(with("headerFormat", json!("b2")), &["tracing.headerFormat: must be one of \"trace-context\", \"b3\""]);
    check(
        with("batchLimits", json!({"maxQueueSize": 0, "exportTimeout": 0})),
        &[
            "tracing.batchLimits.maxQueueSize: must be 1 to 65536",
            "tracing.batchLimits.exportTimeout: must be at least 1",
        ],
    );
    let old = json!({"serverURL": "http://a", "sampleRate": 1});
    check(with("zipkin", old), &["tracing.zipkin: must not be given together with exporter"]);
    check(
        json!({"serviceName": "s", "attributes": {"a": "1"}, "tags": {"b": "2"}, "exporter": zipkin}),
        &["tracing.tags: must not be given together with attributes"],
    );
    let jaeger = |jaeger: Json| with("exporter", json!({ "jaeger": jaeger }));
    check(jaeger(json!({"mode": "other"})), &["tracing.exporter.jaeger.mode: must be one of \"agent\", \"collector\""]);
    check(jaeger(json!({"mode": "collector"})), &["tracing.exporter.jaeger.endpoint: must not be empty"]);
    check(
        jaeger(json!({"mode": "agent", "endpoint": "host"})),
        &["tracing.exporter.jaeger.endpoint: must be HOST:PORT of the agent"],
    );
    let no_url = "is no URL of a server: write http://HOST:PORT or https://HOST:PORT";
    check(
        with("exporter", json!({"otlp": {"protocol": "grpc", "endpoint": "a b", "insecure": true}})),
        &[&format!("tracing.exporter.otlp.endpoint: \"http://a b\" {no_url}")],
    );
}
