//! From the spec of a server to what its threads use.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tidegate_base::Holder;
use tidegate_http::h1::Config;
use tidegate_pipeline::{Deps, Pipeline, Registry, Report};
use tidegate_telemetry::Setup;

use super::{
    access::{Access, Format, Writer},
    address::IpFilter,
    conditions::AllConditions,
    generated::{self, Generated},
    global::GlobalFilter,
    paths::{Paths, REGEXP_BYTES},
    server::{Router, Routes, Settings, Target},
    spec::HttpServerSpec,
    stats::ServerStats,
    tls::Offer,
    trace::{Start, Trace},
};
use crate::{
    acme::Lookups,
    router::{Ordered, Trees},
};

/// Most bytes of a request's body unless a spec says otherwise.
const BODY_BYTES_MAX: u64 = 4 << 20;

/// A spec, compiled: all of it but the pipelines.
pub(crate) struct Compiled {
    pub(crate) address: SocketAddr,
    router: Arc<Router>,
    conditions: Arc<AllConditions>,
    targets: Arc<[Target]>,
    /// Names of the pipelines that targets name, sorted.
    backends: Box<[Box<str>]>,
    /// Pipelines of its own.
    pub(super) generated: Generated,
    /// As the spec has it.
    router_kind: &'static str,
    settings: Arc<Settings>,
    global: String,
    format: Arc<Format>,
    regexps: usize,
    tls: Option<Offer>,
    trace: Option<Trace>,
}

/// What a spec is compiled with.
pub(crate) struct With<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) deps: &'a Deps,
    pub(crate) lookups: &'a Lookups,
}

/// What there is for servers to refer to.
pub(crate) struct Parts<'a> {
    pub(crate) pipelines: &'a BTreeMap<String, Arc<Pipeline>>,
    pub(crate) globals: &'a BTreeMap<String, Arc<GlobalFilter>>,
    pub(crate) log: Option<&'a Arc<Writer>>,
}

impl Compiled {
    /// `None` when the report has problems.
    pub(crate) fn new(name: &str, spec: &HttpServerSpec, with: &With<'_>, report: &mut Report) -> Option<Self> {
        spec.check(report);
        let tls = Offer::new(spec, with.lookups, report);
        let trace =
            spec.tracing.as_ref().and_then(|spec| Setup::new(spec, "tracing", with.deps, report)).map(Trace::new);
        let of_server = body_limit(spec.client_max_body_size).unwrap_or(Some(BODY_BYTES_MAX));
        let mut paths = Paths::new(spec, of_server, report);
        let ip_filter = spec.ip_filter.as_ref().map(|spec| IpFilter::new(spec, "ipFilter", &mut report.problems));
        let generated = generated::build(name, spec, with.registry, with.deps, report);
        generated::assign(name, spec, &mut paths.targets);
        let unknown = |name: &str| report.warn("accessLogFormat", &format!("{{{{{name}}}}} stands for nothing"));
        let format = Arc::new(Format::new(&spec.access_log_format, unknown));
        if !report.problems.is_empty() {
            return None;
        }
        // A dual-stack socket where none is named, as the reference has it.
        let ip = spec.address.parse().unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let connection = Config {
            holder: Holder::Gateway,
            idle_timeout: spec.keep_alive_timeout.0.min(Duration::from_secs(24 * 3600)),
            keep_alive: spec.keep_alive,
            body_bytes_max: of_server.unwrap_or(u64::MAX),
            ..Config::default()
        };
        let router = match spec.is_tree() {
            true => Router::Trees(Trees::new(&paths.rules)),
            false => Router::Ordered(Ordered::new(&paths.rules)),
        };
        let backends = number(&mut paths.targets);
        Some(Self {
            generated,
            backends,
            router_kind: spec.known_router_kind(),
            address: SocketAddr::new(ip, spec.port),
            router: Arc::new(router),
            conditions: Arc::new(paths.conditions),
            targets: paths.targets.into(),
            settings: Arc::new(Settings {
                connection,
                connections_max: usize::try_from(spec.max_connections).unwrap_or(usize::MAX),
                forwarded_for: spec.x_forwarded_for,
                ip_filter,
            }),
            global: spec.global_filter.clone(),
            format,
            regexps: paths.regexps,
            tls,
            trace,
        })
    }

    /// What its regular expressions, keys and exporters take, beside what the rest of it does.
    pub(crate) fn further_bytes(&self) -> u64 {
        self.regexps as u64 * REGEXP_BYTES
            + self.tls.as_ref().map_or(0, Offer::bytes)
            + self.trace.as_ref().map_or(0, Trace::bytes)
    }

    /// Whether its listener is another than that of `before`. Certificates are for new connections alone.
    pub(crate) fn moves_from(&self, before: &Self) -> bool {
        self.address != before.address || self.tls.is_some() != before.tls.is_some()
    }

    /// Starts what it needs beside the threads that serve.
    pub(crate) fn start(&mut self, name: &str, start: &Start<'_>) {
        if let Some(trace) = &mut self.trace {
            trace.start(name, start);
        }
    }

    /// Ends what it has started.
    pub(crate) fn stop(&self) {
        if let Some(trace) = &self.trace {
            trace.stop();
        }
    }

    /// Takes over from an earlier spec what lives on, and ends what does not.
    pub(crate) fn adopt(&mut self, before: &Self) {
        let adopts = self.trace.as_mut().zip(before.trace.as_ref()).is_some_and(|(trace, before)| trace.adopt(before));
        if !adopts {
            before.stop();
        }
        if let (Some(tls), Some(before)) = (&mut self.tls, &before.tls) {
            tls.adopt(before);
        }
        generated::inherit(&mut self.generated, &before.generated);
    }

    /// Joins it with what there is of what it names.
    pub(crate) fn join(&self, parts: &Parts<'_>, counted: &ServerStats) -> Routes {
        counted.keep(|name| self.backends.binary_search_by(|known| (**known).cmp(name)).is_ok());
        let find = |name: &str| self.generated.get(name).or_else(|| parts.pipelines.get(name)).cloned();
        let access = |writer: &Arc<Writer>| Access { format: Arc::clone(&self.format), writer: Arc::clone(writer) };
        Routes {
            router: Arc::clone(&self.router),
            conditions: Arc::clone(&self.conditions),
            targets: Arc::clone(&self.targets),
            pipelines: self.targets.iter().map(|target| find(&target.backend)).collect(),
            settings: Arc::clone(&self.settings),
            global: parts.globals.get(&self.global).cloned(),
            access: parts.log.map(access),
            counted: self.backends.iter().map(|name| counted.backend(name)).collect(),
            tls: self.tls.as_ref().map(|tls| tls.server.clone()),
            tracer: self.trace.as_ref().and_then(Trace::tracer),
        }
    }

    pub(crate) const fn router_kind(&self) -> &'static str {
        self.router_kind
    }

    /// Names of pipelines that do not exist.
    pub(crate) fn missing(&self, pipelines: &BTreeMap<String, Arc<Pipeline>>) -> Vec<String> {
        let missing = self
            .targets
            .iter()
            .filter(|target| !pipelines.contains_key(&target.backend) && !self.generated.contains_key(&target.backend));
        let mut names: Vec<String> = missing.map(|target| target.backend.clone()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// Numbers the backends of `targets`, and gives their names.
fn number(targets: &mut [Target]) -> Box<[Box<str>]> {
    let mut names: Vec<Box<str>> = targets.iter().map(|target| target.backend.as_str().into()).collect();
    names.sort_unstable();
    names.dedup();
    for target in targets {
        target.number = names.binary_search_by(|known| (**known).cmp(&target.backend)).unwrap_or(0);
    }
    names.into()
}

/// `None`: the spec says nothing. `Some(None)`: no limit.
pub(super) fn body_limit(size: i64) -> Option<Option<u64>> {
    (size != 0).then(|| u64::try_from(size).ok())
}
