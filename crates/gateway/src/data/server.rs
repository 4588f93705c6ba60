//! What a listener's threads share, and what a spec changes while it runs.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tidegate_base::Budget;
use tidegate_http::{
    h1::{Config, Stats},
    message::Method,
    tls,
};
use tidegate_pipeline::regexp::Regexp;
use tidegate_pipeline::{
    Pipeline,
    stats::{PerThread, Traffic},
};
use tidegate_telemetry::{Counters, Tracer};

use super::{
    access::Access,
    address::IpFilter,
    conditions::{AllConditions, Asked},
    global::GlobalFilter,
    permits::Permits,
    rewrite::Rewrite,
    stats::ServerStats,
    variables::Template,
};
use crate::{
    acme::Book,
    router::{Found, Ordered, Trees},
};

/// The compiled rules of a server, by the kind of its router.
pub(crate) enum Router {
    Ordered(Ordered),
    Trees(Trees),
}

impl Router {
    /// `path` with its escapes decoded.
    pub(crate) fn find(&self, host: &[u8], path: &[u8], method: Method, asked: &mut Asked<'_>) -> Found {
        match self {
            Self::Ordered(router) => router.find(host, path, method, asked),
            Self::Trees(router) => router.find(host, path, method, asked),
        }
    }
}

/// One state of a server: never changed, replaced whole.
pub(crate) struct Routes {
    pub(crate) router: Arc<Router>,
    pub(crate) conditions: Arc<AllConditions>,
    /// By number of the path.
    pub(crate) targets: Arc<[Target]>,
    /// By number of the path; `None` where the pipeline does not exist.
    pub(crate) pipelines: Box<[Option<Arc<Pipeline>>]>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) global: Option<Arc<GlobalFilter>>,
    /// Where requests are logged, if they are.
    pub(crate) access: Option<Access>,
    /// What is counted of each backend, by [`Target::number`].
    pub(super) counted: Box<[Arc<PerThread<Traffic>>]>,
    /// What new connections are encrypted with, if they are.
    pub(crate) tls: Option<tls::Server>,
    /// Makes spans of requests, if they are traced.
    pub(crate) tracer: Option<Tracer>,
}

/// Where requests of a path go, and how they change on the way.
pub(crate) struct Target {
    pub(crate) backend: String,
    /// Number of the backend among those of the server.
    pub(crate) number: usize,
    pub(crate) rewrite: Option<Rewrite>,
    pub(crate) set_headers: Box<[(String, Template)]>,
    /// Whose groups the headers refer to.
    pub(crate) groups: Option<Regexp>,
    /// `None`: no limit, and bodies may be as slow as they are.
    pub(crate) body_bytes_max: Option<u64>,
}

/// What connections are made with.
pub(crate) struct Settings {
    pub(crate) connection: Config,
    pub(crate) connections_max: usize,
    pub(crate) forwarded_for: bool,
    pub(crate) ip_filter: Option<IpFilter>,
}

/// The part of an HTTPServer that its threads share.
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) budget: Budget,
    pub(crate) routes: Arc<ArcSwap<Routes>>,
    pub(crate) permits: Arc<Permits>,
    /// Counters of each thread.
    pub(crate) stats: Mutex<Vec<Arc<Stats>>>,
    pub(crate) counted: ServerStats,
    /// What became of its spans.
    pub(crate) spans: Arc<Counters>,
    /// Whether clients may begin with HTTP/2 in the clear.
    pub(crate) h2c: bool,
    /// What answers challenges of certificates.
    pub(crate) book: Arc<Book>,
}

impl Server {
    /// Makes `routes` what the next requests and connections use.
    pub(crate) fn swap(&self, routes: Routes) {
        self.permits.set_limit(routes.settings.connections_max);
        self.routes.store(Arc::new(routes));
    }

    pub(crate) fn add_stats(&self, stats: Arc<Stats>) {
        let mut all = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        // What threads count no more is added to the first of those.
        let mut kept: Option<Arc<Stats>> = None;
        all.retain(|old| match (&kept, Arc::strong_count(old)) {
            (None, 1) => {
                kept = Some(Arc::clone(old));
                true
            }
            (Some(sum), 1) => {
                sum.absorb(old);
                false
            }
            _ => true,
        });
        all.push(stats);
    }
}
