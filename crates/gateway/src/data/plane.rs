//! Objects, built and swapped.

use std::{
    collections::BTreeMap,
    io::Write,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::Ordering},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use tidegate_base::{Budget, Holder, Lease};
use tidegate_http::{
    conn::Presence,
    io::{Handle, Rings, SpawnError},
};
use tidegate_pipeline::{CustomData, Deps, METADATA, Pipeline, Registry, Report, Resolver, stored_form};

use super::{
    access::{self, Writer},
    apply::{read_pipeline, read_server},
    background::Background,
    compile::{Compiled, With},
    global::{GlobalFilter, GlobalFilterSpec},
    metadata::describe,
    metrics::Metrics,
    server::Server,
    service::sweep,
    spec::{PipelineSpec, stored_server},
    status::View,
};
use crate::{
    acme::{self, AUTO_CERT_MANAGER, AutoCert, Book, Lookups, Manager, Settings},
    listener::Listener,
    objects::{FilterInfo, ObjectStatus, Plane, Problem, Review, Texts},
};

pub(super) const HTTP_SERVER: &str = "HTTPServer";
pub(super) const PIPELINE: &str = "Pipeline";
pub(super) const GLOBAL_FILTER: &str = "GlobalFilter";

/// Counters of one HTTPServer, summed over its threads, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub connections: u64,
    pub requests: u64,
    pub bad_heads: u64,
    pub no_memory: u64,
    pub timeouts: u64,
    pub panics: u64,
}

/// Longest wait for the addresses of new names before the pipelines that use them take over.
const NAMES_MAX: Duration = Duration::from_secs(1);

/// Runs HTTPServers and Pipelines on the I/O threads. When it is dropped, its listeners close, without a wait for it: the
/// last holder may be on an I/O thread.
pub struct DataPlane {
    pub(super) inner: Arc<Inner>,
    background: Background,
}

pub(super) struct Inner {
    pub(super) handle: Handle,
    pub(super) registry: Registry,
    pub(super) deps: Deps,
    pub(super) state: Mutex<State>,
    /// What is told to who asks, without a wait for the state.
    pub(super) view: ArcSwap<View>,
    /// Threads that serve a listener, closed ones with connections included.
    pub(super) at_work: Presence,
    /// Exporters of spans, those of servers that are gone included.
    pub(super) exporting: Presence,
    /// Where requests are logged.
    pub(super) log: OnceLock<Arc<Writer>>,
    /// Whether listeners speak HTTP/2 in the clear.
    pub(super) h2c: bool,
    pub(super) book: Arc<Book>,
    lookups: Lookups,
    manager: Mutex<Manager>,
    _rings: Option<Rings>,
}

#[derive(Default)]
pub(super) struct State {
    /// Shared with the view of them.
    pub(super) pipelines: Arc<BTreeMap<String, Arc<Pipeline>>>,
    pub(super) globals: BTreeMap<String, Arc<GlobalFilter>>,
    pub(super) servers: BTreeMap<String, Running>,
    /// What the AutoCertManager is to do, if there is one.
    pub(super) managed: Option<Settings>,
    /// The newest spec of each object, whether it could be built or not.
    pub(super) specs: BTreeMap<String, Known>,
    /// Pays for what is built of each object.
    pub(super) leases: BTreeMap<String, Lease>,
}

/// An object as it was given last, and how that ended.
pub(super) struct Known {
    /// None where it is to be tried again.
    pub(super) text: Option<Bytes>,
    pub(super) kind: String,
    pub(super) status: ObjectStatus,
}

/// An HTTPServer of which a spec could be built.
pub(super) struct Running {
    pub(super) server: Arc<Server>,
    pub(super) compiled: Compiled,
    pub(super) listener: Result<Listener, String>,
}

/// What a data plane may have besides.
#[derive(Default)]
pub struct Options {
    /// Records of the store, for filters that look something up there.
    pub custom_data: Option<Arc<dyn CustomData>>,
    /// Where certificates are kept that come by themselves; without it an AutoCertManager does not run.
    pub auto_cert: Option<AutoCert>,
    /// Listeners speak HTTP/2 in the clear to who begins with its preface, as tests and benches do. The reference has no such
    /// thing, so no server of ours has it.
    pub h2c: bool,
    /// A system call for each read and write, also where the kernel would take them in batches.
    pub disable_io_uring: bool,
}

impl DataPlane {
    /// # Errors
    /// When an I/O thread takes no task, or the system no thread.
    pub fn new(handle: Handle, budget: Budget, registry: Registry) -> std::io::Result<Self> {
        Self::with(handle, budget, registry, Options::default())
    }

    /// # Errors
    /// As [`DataPlane::new`].
    pub fn with(handle: Handle, budget: Budget, registry: Registry, options: Options) -> std::io::Result<Self> {
        let Options { custom_data, auto_cert, h2c, disable_io_uring } = options;
        let failed = |error: SpawnError| std::io::Error::other(error);
        for thread in 0..handle.count() {
            handle.spawn(thread, sweep).map_err(failed)?;
        }
        let rings = if disable_io_uring {
            None
        } else {
            Some(Rings::install(&handle, &budget, Holder::Gateway).map_err(failed)?)
        };
        let resolver = Arc::new(Resolver::default());
        let book = Book::new(budget.clone());
        let manager = Mutex::new(Manager::new(auto_cert, Arc::clone(&book), budget.clone()));
        let deps = Deps {
            resolver: Some(Arc::clone(&resolver)),
            io: Some(handle.clone()),
            custom_data,
            ..Deps::new(budget, handle.count())
        };
        let inner = Arc::new(Inner {
            handle,
            registry,
            deps,
            state: Mutex::default(),
            view: ArcSwap::default(),
            at_work: Presence::default(),
            exporting: Presence::default(),
            log: OnceLock::new(),
            h2c,
            lookups: book.lookups(),
            book,
            manager,
            _rings: rings,
        });
        let background = Background::start(Arc::downgrade(&inner), resolver)?;
        Ok(Self { inner, background })
    }

    /// Has requests logged to `sink`, a line for each, by a thread that writes them together: at the latest after 2 s. To be
    /// called before the first apply. Takes half a MiB of the budget.
    ///
    /// # Errors
    /// When no memory is free for it, the system has no thread, or there is a log already.
    pub fn log_access(&self, sink: impl Write + Send + 'static) -> std::io::Result<()> {
        let lease = self.inner.deps.budget.try_lease(Holder::Gateway, access::BYTES);
        let lease = lease.ok_or_else(|| std::io::Error::other("no memory is free for the access log"))?;
        let writer = Arc::new(Writer::start(sink, lease)?);
        self.inner.log.set(writer).map_err(|_| std::io::Error::other("there is an access log already"))
    }

    /// Waits until what has been logged is with the sink. Blocks: not for an I/O thread.
    pub fn flush_access_log(&self) {
        if let Some(writer) = self.inner.log.get() {
            writer.flush();
        }
    }

    /// Lines of the access log that found no room, since the start.
    pub fn access_lines_dropped(&self) -> u64 {
        self.inner.log.get().map_or(0, |writer| writer.dropped())
    }

    /// Where an HTTPServer listens.
    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        let state = self.inner.state();
        state.servers.get(name).and_then(|running| running.listener.as_ref().ok()).map(Listener::address)
    }

    /// Counters of each HTTPServer.
    pub fn counters(&self) -> BTreeMap<String, Counters> {
        let state = self.inner.state();
        state.servers.iter().map(|(name, running)| (name.clone(), count(&running.server))).collect()
    }

    /// How each object stands now. Differs from what [`Plane::apply`] returned when a port was taken then and is free now.
    pub fn statuses(&self) -> BTreeMap<String, ObjectStatus> {
        self.inner.state().statuses()
    }

    /// Tries again to open what could not be opened, as happens by itself every 10 s.
    pub fn retry(&self) {
        self.inner.retry();
    }

    /// Closes every listener. Connections end after the request they serve, at the latest after 30 s, which
    /// [`DataPlane::finished`] waits for. Blocks until the sockets are closed: not for an I/O thread.
    pub fn drain(&self) {
        let servers = std::mem::take(&mut self.inner.state().servers);
        let listeners: Vec<Listener> = servers.into_values().filter_map(|running| running.listener.ok()).collect();
        listeners.iter().for_each(Listener::stop);
        listeners.into_iter().for_each(Listener::close);
    }

    /// Waits until the last connection of every closed listener is gone, where [`DataPlane::drain`] came before, and then until what is left
    /// of spans is exported, at most two seconds. From any thread; cancel safe, so that a second signal can cut the wait short.
    pub async fn finished(&self) {
        self.inner.at_work.gone().await;
        // Nobody makes spans any more.
        self.inner.view.load().stop_tracing();
        self.inner.exporting.gone().await;
    }
}

fn count(server: &Server) -> Counters {
    let mut sum = Counters::default();
    for stats in server.stats.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        sum.connections += stats.connections.load(Ordering::Relaxed);
        sum.requests += stats.requests.load(Ordering::Relaxed);
        sum.bad_heads += stats.bad_heads.load(Ordering::Relaxed);
        sum.no_memory += stats.no_memory.load(Ordering::Relaxed);
        sum.timeouts += stats.timeouts.load(Ordering::Relaxed);
        sum.panics += stats.panics.load(Ordering::Relaxed);
    }
    sum
}

impl Plane for DataPlane {
    fn kinds(&self) -> Vec<&'static str> {
        vec![AUTO_CERT_MANAGER, GLOBAL_FILTER, HTTP_SERVER, PIPELINE]
    }

    fn filters(&self) -> Vec<&'static str> {
        self.inner.registry.iter().map(|kind| kind.name()).collect()
    }

    fn filter(&self, kind: &str) -> Option<FilterInfo> {
        self.inner.registry.find(kind).map(describe)
    }

    fn review(&self, kind: &str, spec: &Value) -> Review {
        let mut report = Report::default();
        // Checked without the means to register anything.
        let deps = Deps { resolver: None, io: None, custom_data: None, ..self.inner.deps.clone() };
        let stored = match kind {
            HTTP_SERVER => {
                drop(read_server("", spec, &With { deps: &deps, ..self.inner.with() }, &mut report));
                stored_server(spec)
            }
            PIPELINE => {
                drop(read_pipeline("", spec, &self.inner.registry, &deps, &mut report));
                stored_form::<PipelineSpec>(spec, METADATA)
            }
            GLOBAL_FILTER => {
                drop(GlobalFilter::read("", spec, &self.inner.registry, &deps, &mut report));
                stored_form::<GlobalFilterSpec>(spec, METADATA)
            }
            AUTO_CERT_MANAGER => {
                drop(Settings::read("", spec, &mut report));
                acme::stored(spec)
            }
            _ => {
                report.problems.add("kind", format!("\"{kind}\" is not supported yet"));
                Value::Null
            }
        };
        let problems = report.problems.iter().map(|problem| Problem::new(&problem.field, &problem.message));
        Review { problems: problems.collect(), warnings: report.warnings, stored }
    }

    fn template(&self, kind: &str) -> Value {
        match kind {
            HTTP_SERVER => stored_server(&json!({"port": 0})),
            PIPELINE => json!({"filters": []}),
            GLOBAL_FILTER => json!({"beforePipeline": {"filters": []}, "afterPipeline": {"filters": []}}),
            AUTO_CERT_MANAGER => acme::stored(&json!({"email": "", "domains": []})),
            _ => json!({}),
        }
    }

    fn numbers(&self, name: &str) -> Map<String, Value> {
        if let Some(domains) = self.inner.book.status(name) {
            return Map::from_iter([("domains".to_owned(), domains)]);
        }
        self.inner.view.load().numbers(name)
    }

    fn metrics(&self, labels: &[(&str, &str)]) -> Box<dyn Iterator<Item = String> + Send> {
        Box::new(Metrics::new(self.inner.view.load_full(), labels))
    }

    fn apply(&self, texts: &Texts) -> BTreeMap<String, ObjectStatus> {
        let mut state = self.inner.state();
        let built = self.inner.build(&mut state, texts);
        // A pipeline that takes over before its names have addresses would answer 503 where the old one did not.
        if let Some(resolver) = &self.inner.deps.resolver {
            self.background.wake();
            resolver.wait(NAMES_MAX);
        }
        self.inner.update_servers(&mut state, built);
        self.inner.view.store(Arc::new(View::new(&state)));
        state.statuses()
    }
}

impl State {
    fn statuses(&self) -> BTreeMap<String, ObjectStatus> {
        let status = |name: &String, known: &Known| {
            let mut status = known.status.clone();
            status.bytes = self.leases.get(name).map_or(0, Lease::bytes);
            status.kind.clone_from(&known.kind);
            if let Some(running) = self.servers.get(name) {
                if let (None, Err(error)) = (&status.error, &running.listener) {
                    status.error = Some(error.clone());
                }
                let missing = running.compiled.missing(&self.pipelines);
                status.warnings.extend(missing.iter().map(|name| format!("the pipeline \"{name}\" does not exist")));
                status.shorten();
            }
            (name.clone(), status)
        };
        self.specs.iter().map(|(name, known)| status(name, known)).collect()
    }
}

impl Inner {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn manager(&self) -> MutexGuard<'_, Manager> {
        self.manager.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What specs of servers are compiled with.
    pub(super) fn with(&self) -> With<'_> {
        With { registry: &self.registry, deps: &self.deps, lookups: &self.lookups }
    }
}
