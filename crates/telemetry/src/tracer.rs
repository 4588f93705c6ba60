//! Makes spans of requests, and of the calls that come of them.

use std::{
    cell::RefCell,
    fmt,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tidegate_base::{Budget, clock};
use tidegate_http::{
    message::{Headers, RequestHead},
    upstream::Endpoint,
};
use tidegate_pipeline::{CallSpan, TraceSpan};

use crate::{
    attributes::{ERROR, STATUS, of_call, of_request},
    context::{Extracted, SpanContext},
    ids::{SpanId, TraceId},
    propagation::{extract, inject},
    queue::Queue,
    sampler::Sampler,
    span::{Kind, Recording, Span, Value},
    spec::{HeaderFormat, SpanLimits},
};

/// What the outer span of a request is called that came through Cloudflare.
const CLOUDFLARE: &str = "cloudflare";

/// Makes the spans of one server and hands them to its exporters. Cheap to clone; when the last clone is gone it closes.
#[derive(Clone)]
pub struct Tracer(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    /// Name of the server, and of its spans.
    pub(crate) name: Arc<str>,
    pub(crate) format: HeaderFormat,
    pub(crate) sampler: Sampler,
    pub(crate) limits: SpanLimits,
    pub(crate) budget: Budget,
    /// Of each exporter.
    pub(crate) queues: Box<[Arc<Queue>]>,
    pub(crate) closing: AtomicBool,
    /// Recorded requests that have not ended. Exporters that close wait for them.
    pub(crate) open: Arc<AtomicUsize>,
}

/// What a request tells of itself.
pub struct Incoming<'a> {
    pub head: &'a RequestHead,
    /// Who sent it first, as far as that is known.
    pub client: Option<IpAddr>,
    /// The other end of its connection.
    pub peer: Option<SocketAddr>,
    pub secure: bool,
}

impl Tracer {
    /// Begins the span of a request.
    pub fn begin(&self, incoming: &Incoming<'_>) -> Rc<RequestSpan> {
        let shared = &self.0;
        let told = extract(shared.format, &incoming.head.headers);
        let trace = told.parent.map_or_else(TraceId::random, |(trace, _)| trace);
        let sampled = shared.sampler.takes(trace, &told);
        let Extracted { parent, debug, state, .. } = told;
        let context = SpanContext { trace, span: SpanId::random(), sampled, debug, state };
        let (start, wall) = (clock::now(), clock::wall());
        let mut inner = Open { span: None, outer: None };
        let counted = sampled && !shared.queues.is_empty();
        if counted {
            let parent = parent.map(|(_, span)| span);
            let outer = cloudflare(&incoming.head.headers).map(|(ray, since)| {
                let mut span = Span::new(context.child(), CLOUDFLARE.into(), Kind::Internal, since.min(wall));
                (span.parent, span.is_remote) = (parent, parent.is_some());
                (span, vec![("cf.ray", Value::Text(ray))])
            });
            let mut span = Span::new(context.clone(), Arc::clone(&shared.name), Kind::Server, wall);
            match &outer {
                Some((outer, _)) => span.parent = Some(outer.context.span),
                None => (span.parent, span.is_remote) = (parent, parent.is_some()),
            }
            let attributes = of_request(incoming.head, incoming.client, incoming.peer, incoming.secure);
            inner.span = shared.record(span, attributes);
            inner.outer = outer.and_then(|(span, attributes)| shared.record(span, attributes));
            shared.open.fetch_add(1, Ordering::AcqRel);
        }
        Rc::new(RequestSpan { tracer: self.clone(), context, start, wall, counted, open: RefCell::new(inner) })
    }

    /// Has what waits exported, for at most two seconds, and ends the exporters. Requests that are open may still add their spans in
    /// that time; later ones are dropped and counted.
    pub fn close(&self) {
        self.0.close();
    }
}

impl Shared {
    fn record(&self, span: Span, attributes: Vec<(&'static str, Value)>) -> Option<Recording> {
        let recording = Recording::begin(span, attributes, self.limits, &self.budget);
        if recording.is_none() {
            self.queues.iter().for_each(|queue| queue.count().dropped(1));
        }
        recording
    }

    fn finish(&self, recording: Recording, end: Duration) {
        let Some(finished) = recording.finish(end) else {
            return self.queues.iter().for_each(|queue| queue.count().dropped(1));
        };
        let finished = Arc::new(finished);
        self.queues.iter().for_each(|queue| queue.push(&finished));
    }

    fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.queues.iter().for_each(|queue| queue.close());
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").field("name", &self.0.name).finish_non_exhaustive()
    }
}

/// The ray of a request from Cloudflare, and when it came there.
fn cloudflare(headers: &Headers) -> Option<(Box<str>, Duration)> {
    let text = |name: &str| headers.find(name).and_then(|text| std::str::from_utf8(text).ok());
    let ray = text("cf-ray").filter(|ray| !ray.is_empty())?;
    let (seconds, millis) = (text("x-ts-sec")?, text("x-ts-msec")?);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // The second is the milliseconds' part, and stands behind the first as it is.
    let since = (digits(seconds) && digits(millis)).then(|| [seconds, millis].concat().parse().ok()).flatten()?;
    Some((ray.into(), Duration::from_millis(since)))
}

/// A request in its trace. Dropped before its end, its span says so.
pub struct RequestSpan {
    tracer: Tracer,
    context: SpanContext,
    start: Instant,
    wall: Duration,
    /// Among those that are open.
    counted: bool,
    open: RefCell<Open>,
}

struct Open {
    span: Option<Recording>,
    outer: Option<Recording>,
}

impl RequestSpan {
    /// Ends it with the status that the client was sent.
    pub fn end(&self, status: u16) {
        self.finish(|span| {
            span.add(STATUS, Value::Number(status.into()));
            if status >= 500 {
                fail(span, Value::Text(status.to_string().into()));
            }
        });
    }

    fn finish(&self, last: impl Fn(&mut Recording)) {
        let Open { span, outer } = &mut *self.open.borrow_mut();
        let end = self.wall + clock::now().saturating_duration_since(self.start);
        if let Some(mut span) = span.take() {
            last(&mut span);
            self.tracer.0.finish(span, end);
        }
        if let Some(outer) = outer.take() {
            self.tracer.0.finish(outer, end);
        }
    }
}

impl Drop for RequestSpan {
    fn drop(&mut self) {
        self.finish(|span| fail(span, Value::Known("cancelled")));
        if self.counted {
            let shared = &self.tracer.0;
            let before = shared.open.fetch_sub(1, Ordering::AcqRel);
            if before == 1 && shared.closing.load(Ordering::Acquire) {
                shared.queues.iter().for_each(|queue| queue.wake());
            }
        }
    }
}

fn fail(span: &mut Recording, reason: Value) {
    span.span.failed = true;
    span.add(ERROR, reason);
}

impl TraceSpan for RequestSpan {
    fn call(&self, name: Arc<str>, endpoint: &Endpoint, resend: u32, head: &mut RequestHead) -> Box<dyn CallSpan> {
        let shared = &self.tracer.0;
        let context = self.context.child();
        inject(shared.format, &context, &mut head.headers);
        let (start, wall) = (clock::now(), clock::wall());
        let recording = self.counted.then(|| {
            let mut span = Span::new(context, name, Kind::Client, wall);
            span.parent = Some(self.context.span);
            shared.record(span, of_call(head, endpoint, resend))
        });
        Box::new(Calling { tracer: self.tracer.clone(), start, wall, recording: recording.flatten() })
    }
}

/// A call on its way. Dropped before its end, its span says so.
struct Calling {
    tracer: Tracer,
    start: Instant,
    wall: Duration,
    recording: Option<Recording>,
}

impl Calling {
    fn finish(&mut self, last: impl FnOnce(&mut Recording)) {
        if let Some(mut span) = self.recording.take() {
            last(&mut span);
            self.tracer.0.finish(span, self.wall + clock::now().saturating_duration_since(self.start));
        }
    }
}

impl CallSpan for Calling {
    fn end(mut self: Box<Self>, answer: Result<u16, &'static str>) {
        self.finish(|span| match answer {
            Ok(status) => {
                span.add(STATUS, Value::Number(status.into()));
                if status >= 500 {
                    fail(span, Value::Text(status.to_string().into()));
                }
            }
            Err(reason) => fail(span, Value::Known(reason)),
        });
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        self.finish(|span| fail(span, Value::Known("cancelled")));
    }
}
