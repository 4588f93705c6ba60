//! From a spec to exporters that can be started.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::Duration,
};

use tidegate_base::Budget;
use tidegate_http::{
    conn::Presence,
    io::Handle,
    tls::{Client, ClientSettings, Roots},
    upstream::Protocol,
};
use tidegate_pipeline::{Deps, Problems, Report};

use crate::{
    counters::{Counters, KINDS},
    export::{self, Agent, Collector, EXPORTER_BYTES, Exporter, Job, Otlp, Resource, Site, Zipkin},
    queue::{QUEUE_BYTES_MAX, Queue, QueueLimits},
    sampler::Sampler,
    spec::{
        BatchLimits, Compression, ExporterSpec, HeaderFormat, JaegerMode, JaegerSpec, OtlpProtocol, OtlpSpec, Spec,
    },
    tracer::{Shared, Tracer},
};

/// Most attributes of a service, and their bytes: each batch has all of them, and so has each packet.
const ATTRIBUTES_MAX: usize = 128;
const ATTRIBUTE_BYTES_MAX: usize = 16 << 10;
/// Most spans that may wait.
const SPANS_MAX: u32 = 64 << 10;

/// A spec that was checked. Nothing of it runs yet.
pub struct Setup {
    spec: Spec,
    exporters: Vec<(usize, Exporter)>,
    tls: Option<Client>,
    budget: Budget,
}

impl Setup {
    /// What is wrong stands below `at`. `None` when there are problems.
    pub fn new(spec: &Spec, at: &str, deps: &Deps, report: &mut Report) -> Option<Self> {
        let before = report.problems.iter().count();
        check(spec, at, report);
        let mut build = Build { deps, exporters: Vec::new(), secure: None };
        let problems = &mut report.problems;
        match (&spec.exporter, &spec.zipkin) {
            (Some(exporter), _) => build.all(exporter, &format!("{at}.exporter"), problems),
            (None, Some(old)) if !old.disable_report => {
                let place = place(&old.hostport);
                build.zipkin(&old.server_url, place, &format!("{at}.zipkin.serverURL"), problems);
            }
            (None, _) => {}
        }
        let tls = build.secure.take().and_then(|field| tls(field, problems));
        let (exporters, budget) = (build.exporters, deps.budget.clone());
        (problems.iter().count() == before).then(|| Self { spec: spec.clone(), exporters, tls, budget })
    }

    pub const fn spec(&self) -> &Spec {
        &self.spec
    }

    /// What it takes beside spans that wait and batches on their way.
    pub fn bytes(&self) -> u64 {
        let slots = u64::from(self.spec.batch_limits.max_queue_size) * 2 * size_of::<usize>() as u64;
        self.exporters.len() as u64 * (EXPORTER_BYTES + slots)
    }

    /// Starts the exporters, each on one of the I/O threads; `present` knows of them until they have ended. Where a thread takes no task, what is
    /// for its exporter is dropped and counted.
    pub fn start(self, name: &str, io: &Handle, counters: &Arc<Counters>, present: &Presence) -> Tracer {
        let spec = &self.spec;
        let limits = limits(&spec.batch_limits);
        let timeout = Duration::from_millis(spec.batch_limits.export_timeout.into());
        let attributes = if spec.attributes.is_empty() { &spec.tags } else { &spec.attributes };
        let resource = Arc::new(Resource {
            service: spec.service_name.clone(),
            attributes: attributes.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        });
        let (name, open): (Arc<str>, _) = (name.into(), Arc::new(AtomicUsize::new(0)));
        let mut queues = Vec::new();
        for (number, (kind, exporter)) in self.exporters.into_iter().enumerate() {
            let queue = Arc::new(Queue::new(limits, Arc::clone(counters), kind));
            let job = Job {
                names: (Arc::clone(&name), KINDS[kind]),
                exporter,
                queue: Arc::clone(&queue),
                resource: Arc::clone(&resource),
                budget: self.budget.clone(),
                tls: self.tls.clone(),
                timeout,
                open: Arc::clone(&open),
                present: present.enter(),
            };
            if let Err(error) = io.spawn(number % io.count().max(1), move || export::run(job)) {
                tracing::warn!(server = %name, exporter = KINDS[kind], %error, "an exporter of spans is not started");
                queue.end();
            }
            queues.push(queue);
        }
        let old = spec.zipkin.as_ref().filter(|_| spec.exporter.is_none());
        Tracer(Arc::new(Shared {
            name,
            format: if old.is_some() { HeaderFormat::B3 } else { spec.header_format },
            sampler: Sampler::new(old.map_or(spec.sample_rate, |old| old.sample_rate)),
            limits: spec.span_limits,
            budget: self.budget,
            queues: queues.into(),
            closing: AtomicBool::new(false),
            open,
        }))
    }
}

fn limits(given: &BatchLimits) -> QueueLimits {
    let spans = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    QueueLimits {
        spans_max: spans(given.max_queue_size),
        bytes_max: QUEUE_BYTES_MAX,
        batch_max: spans(given.max_export_batch_size.min(given.max_queue_size)),
        batch_timeout: Duration::from_millis(given.batch_timeout.into()),
    }
}

/// What concerns no exporter.
fn check(spec: &Spec, at: &str, report: &mut Report) {
    let problems = &mut report.problems;
    let rate = |rate: f64| (0.0..=1.0).contains(&rate);
    problems.require(!spec.service_name.is_empty(), format!("{at}.serviceName"), "must not be empty");
    problems.require(rate(spec.sample_rate), format!("{at}.sampleRate"), "must be 0 to 1");
    let both = !spec.attributes.is_empty() && !spec.tags.is_empty();
    problems.require(!both, format!("{at}.tags"), "must not be given together with attributes");
    for (field, map) in [("attributes", &spec.attributes), ("tags", &spec.tags)] {
        let bytes: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
        let few = map.len() <= ATTRIBUTES_MAX && bytes <= ATTRIBUTE_BYTES_MAX;
        let most = format!("must be at most {ATTRIBUTES_MAX}, with {ATTRIBUTE_BYTES_MAX} bytes in all");
        problems.require(few, format!("{at}.{field}"), most);
    }
    let name = spec.service_name.len() <= ATTRIBUTE_BYTES_MAX;
    problems.require(name, format!("{at}.serviceName"), format!("must have at most {ATTRIBUTE_BYTES_MAX} bytes"));
    let BatchLimits { max_queue_size, batch_timeout, export_timeout, max_export_batch_size } = spec.batch_limits;
    let queue = (1..=SPANS_MAX).contains(&max_queue_size);
    problems.require(queue, format!("{at}.batchLimits.maxQueueSize"), format!("must be 1 to {SPANS_MAX}"));
    for (field, number) in [
        ("batchTimeout", batch_timeout),
        ("exportTimeout", export_timeout),
        ("maxExportBatchSize", max_export_batch_size),
    ] {
        problems.require(number > 0, format!("{at}.batchLimits.{field}"), "must be at least 1");
    }
    match (&spec.exporter, &spec.zipkin) {
        (None, None) => problems.add(format!("{at}.exporter"), "exporter and zipkin must not both be missing"),
        (Some(_), Some(_)) => problems.add(format!("{at}.zipkin"), "must not be given together with exporter"),
        (None, Some(old)) => {
            problems.require(rate(old.sample_rate), format!("{at}.zipkin.sampleRate"), "must be 0 to 1");
            for (field, given) in [
                ("sameSpan", old.same_span),
                ("id128Bit", old.id_128_bit),
                ("hostport", !old.hostport.is_empty() && place(&old.hostport).is_none()),
            ] {
                if given {
                    let why = match field {
                        "sameSpan" => "has no effect: a server's span has a number of its own",
                        "id128Bit" => "has no effect: numbers of traces always have 128 bits",
                        _ => "has no effect: it is no address with a port",
                    };
                    report.warn(&format!("{at}.zipkin.{field}"), why);
                }
            }
        }
        (Some(_), None) => {}
    }
}

fn place(hostport: &str) -> Option<SocketAddr> {
    hostport.parse().ok()
}

/// Collectors are asked only where the system's authorities vouch for them.
fn tls(field: String, problems: &mut Problems) -> Option<Client> {
    let roots = Roots::of_system().map_err(|error| error.to_string());
    let client = roots.and_then(|roots| {
        let settings = ClientSettings { roots: Some(roots), identity: None, sessions: 1 };
        Client::new(settings).map_err(|error| error.to_string())
    });
    client.map_err(|error| problems.add(field, error)).ok()
}

struct Build<'a> {
    deps: &'a Deps,
    exporters: Vec<(usize, Exporter)>,
    /// Field of the first collector that is asked over TLS.
    secure: Option<String>,
}

impl Build<'_> {
    fn all(&mut self, spec: &ExporterSpec, at: &str, problems: &mut Problems) {
        let some = spec.jaeger.is_some() || spec.zipkin.is_some() || spec.otlp.is_some();
        problems.require(some, at, "must have at least one of jaeger, zipkin and otlp");
        if let Some(jaeger) = &spec.jaeger {
            self.jaeger(jaeger, &format!("{at}.jaeger"), problems);
        }
        if let Some(zipkin) = &spec.zipkin {
            self.zipkin(&zipkin.endpoint, None, &format!("{at}.zipkin.endpoint"), problems);
        }
        if let Some(otlp) = &spec.otlp {
            self.otlp(otlp, &format!("{at}.otlp.endpoint"), problems);
        }
    }

    fn add(&mut self, kind: &str, exporter: Exporter) {
        let kind = KINDS.iter().position(|known| *known == kind).unwrap_or(0);
        self.exporters.push((kind, exporter));
    }

    fn site(&mut self, url: &str, path: &str, protocol: Protocol, at: &str, problems: &mut Problems) -> Option<Site> {
        let mut site = match Site::parse(url, path) {
            Ok(site) => site,
            Err(error) => {
                problems.add(at, error.to_string());
                return None;
            }
        };
        site.endpoint.set_protocol(protocol);
        if let Some(resolver) = &self.deps.resolver {
            resolver.register(&mut site.endpoint);
        }
        if site.endpoint.is_secure() {
            self.secure.get_or_insert_with(|| at.to_owned());
        }
        Some(site)
    }

    fn jaeger(&mut self, spec: &JaegerSpec, at: &str, problems: &mut Problems) {
        let field = format!("{at}.endpoint");
        if spec.endpoint.is_empty() {
            return problems.add(field, "must not be empty");
        }
        match spec.mode {
            JaegerMode::Collector => {
                if let Some(site) = self.site(&spec.endpoint, "/api/traces", Protocol::Http1, &field, problems) {
                    let site = site.with_query("format=jaeger.thrift");
                    self.add("jaeger", Exporter::Collector(Collector::new(site, &spec.username, &spec.password)));
                }
            }
            JaegerMode::Agent => {
                let port = spec.endpoint.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                if !port || spec.endpoint.contains('/') {
                    return problems.add(field, "must be HOST:PORT of the agent");
                }
                let url = format!("http://{}", spec.endpoint);
                if let Some(site) = self.site(&url, "/", Protocol::Http1, &field, problems) {
                    self.add("jaeger", Exporter::Agent(Agent { site }));
                }
            }
        }
    }

    fn zipkin(&mut self, url: &str, place: Option<SocketAddr>, at: &str, problems: &mut Problems) {
        if let Some(site) = self.site(url, "/api/v2/spans", Protocol::Http1, at, problems) {
            self.add("zipkin", Exporter::Zipkin(Zipkin { site, place }));
        }
    }

    fn otlp(&mut self, spec: &OtlpSpec, at: &str, problems: &mut Problems) {
        let scheme = match (spec.endpoint.contains("://"), spec.insecure) {
            (true, _) => "",
            (false, true) => "http://",
            (false, false) => "https://",
        };
        let (path, protocol) = match spec.protocol {
            OtlpProtocol::Http => ("/v1/traces", Protocol::Http1),
            OtlpProtocol::Grpc => ("/opentelemetry.proto.collector.trace.v1.TraceService/Export", Protocol::Http2),
        };
        let grpc = spec.protocol == OtlpProtocol::Grpc;
        if let Some(site) = self.site(&format!("{scheme}{}", spec.endpoint), path, protocol, at, problems) {
            let gzip = spec.compression == Compression::Gzip;
            self.add("otlp", Exporter::Otlp(Otlp { site, grpc, gzip }));
        }
    }
}
