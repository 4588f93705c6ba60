//! What a listener's threads share, and what a spec changes while it runs.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use tidegate_base::{Budget, Holder};
use tidegate_http::h1::{Config, Stats};
use tidegate_pipeline::Pipeline;

use super::{
    permits::Permits,
    spec::{HttpServerSpec, PathSpec},
};
use crate::router::{Path, Router, Rule};

/// Most bytes of a request's body unless a spec says otherwise.
const BODY_BYTES_MAX: u64 = 4 << 20;

/// One state of a server: never changed, replaced whole.
pub(crate) struct Routes {
    pub(crate) router: Arc<Router>,
    /// By number of the path.
    pub(crate) targets: Arc<[Target]>,
    /// By number of the path; `None` where the pipeline does not exist.
    pub(crate) pipelines: Box<[Option<Arc<Pipeline>>]>,
    pub(crate) settings: Arc<Settings>,
}

/// Where requests of a path go, and how they change on the way.
pub(crate) struct Target {
    pub(crate) backend: String,
    pub(crate) prefix: String,
    pub(crate) rewrite: String,
    /// `None`: no limit, and bodies may be as slow as they are.
    pub(crate) body_bytes_max: Option<u64>,
}

/// What connections are made with.
pub(crate) struct Settings {
    pub(crate) connection: Config,
    pub(crate) connections_max: usize,
    pub(crate) forwarded_for: bool,
}

/// The part of an HTTPServer that its threads share.
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) budget: Budget,
    pub(crate) routes: Arc<ArcSwap<Routes>>,
    pub(crate) permits: Arc<Permits>,
    /// Counters of each thread.
    pub(crate) stats: Mutex<Vec<Arc<Stats>>>,
}

impl Server {
    /// Makes `routes` what the next requests and connections use.
    pub(crate) fn swap(&self, routes: Routes) {
        self.permits.set_limit(routes.settings.connections_max);
        self.routes.store(Arc::new(routes));
    }

    pub(crate) fn add_stats(&self, stats: Arc<Stats>) {
        let mut all = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(stats);
    }
}

/// A spec, compiled: all of it but the pipelines.
pub(crate) struct Compiled {
    pub(crate) address: SocketAddr,
    router: Arc<Router>,
    targets: Arc<[Target]>,
    settings: Arc<Settings>,
}

impl Compiled {
    pub(crate) fn new(spec: &HttpServerSpec) -> Self {
        let limit = |size: i64| match size {
            0 => None,
            size => Some(u64::try_from(size).ok()),
        };
        let of_server = limit(spec.client_max_body_size).unwrap_or(Some(BODY_BYTES_MAX));
        let target = |path: &PathSpec| Target {
            backend: path.backend.clone(),
            prefix: path.path_prefix.clone(),
            rewrite: path.rewrite_target.clone(),
            body_bytes_max: limit(path.client_max_body_size).unwrap_or(of_server),
        };
        let path = |path: &PathSpec| Path {
            exact: path.path.clone(),
            prefix: path.path_prefix.clone(),
            methods: path.method_bits(),
        };
        let rules: Vec<Rule> = spec
            .rules
            .iter()
            .map(|rule| Rule { hosts: rule.patterns(), paths: rule.paths.iter().map(path).collect() })
            .collect();
        // A dual-stack socket where none is named, as the reference has it.
        let ip = spec.address.parse().unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let connection = Config {
            holder: Holder::Gateway,
            idle_timeout: spec.keep_alive_timeout.0.min(Duration::from_secs(24 * 3600)),
            keep_alive: spec.keep_alive,
            body_bytes_max: of_server.unwrap_or(u64::MAX),
            ..Config::default()
        };
        Self {
            address: SocketAddr::new(ip, spec.port),
            router: Arc::new(Router::new(&rules)),
            targets: spec.rules.iter().flat_map(|rule| &rule.paths).map(target).collect(),
            settings: Arc::new(Settings {
                connection,
                connections_max: usize::try_from(spec.max_connections).unwrap_or(usize::MAX),
                forwarded_for: spec.x_forwarded_for,
            }),
        }
    }

    /// Joins it with the pipelines there are.
    pub(crate) fn join(&self, pipelines: &BTreeMap<String, Arc<Pipeline>>) -> Routes {
        Routes {
            router: Arc::clone(&self.router),
            targets: Arc::clone(&self.targets),
            pipelines: self.targets.iter().map(|target| pipelines.get(&target.backend).cloned()).collect(),
            settings: Arc::clone(&self.settings),
        }
    }

    /// Names of pipelines that do not exist.
    pub(crate) fn missing(&self, pipelines: &BTreeMap<String, Arc<Pipeline>>) -> Vec<String> {
        let missing = self.targets.iter().filter(|target| !pipelines.contains_key(&target.backend));
        let mut names: Vec<String> = missing.map(|target| target.backend.clone()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}
