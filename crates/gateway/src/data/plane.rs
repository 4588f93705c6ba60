//! Objects, built and swapped.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, atomic::Ordering},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde_json::Value;
use tidegate_base::{Budget, Holder, Lease};
use tidegate_http::{
    conn::Presence,
    io::{Handle, SpawnError},
};
use tidegate_pipeline::{Deps, METADATA, Pipeline, Registry, Report, Resolver, decode};

use super::{
    background::Background,
    permits::Permits,
    server::{Compiled, Server},
    service::sweep,
    spec::{HttpServerSpec, PipelineSpec},
};
use crate::{
    listener::Listener,
    objects::{Given, ObjectStatus, Plane, Problem, Texts, Unread},
};

const HTTP_SERVER: &str = "HTTPServer";
const PIPELINE: &str = "Pipeline";

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
    inner: Arc<Inner>,
    background: Background,
}

pub(super) struct Inner {
    handle: Handle,
    registry: Registry,
    deps: Deps,
    state: Mutex<State>,
    /// Threads that serve a listener, closed ones with connections included.
    at_work: Presence,
}

#[derive(Default)]
struct State {
    pipelines: BTreeMap<String, Arc<Pipeline>>,
    servers: BTreeMap<String, Running>,
    /// The newest spec of each object, whether it could be built or not.
    specs: BTreeMap<String, Known>,
    /// Pays for what is built of each object.
    leases: BTreeMap<String, Lease>,
}

/// An object as it was given last, and how that ended.
struct Known {
    /// None where it is to be tried again.
    text: Option<Bytes>,
    kind: String,
    status: ObjectStatus,
}

/// An HTTPServer of which a spec could be built.
struct Running {
    server: Arc<Server>,
    compiled: Compiled,
    listener: Result<Listener, String>,
}

impl DataPlane {
    /// # Errors
    /// When an I/O thread takes no task, or the system no thread.
    pub fn new(handle: Handle, budget: Budget, registry: Registry) -> std::io::Result<Self> {
        for thread in 0..handle.count() {
            handle.spawn(thread, sweep).map_err(|error: SpawnError| std::io::Error::other(error))?;
        }
        let resolver = Arc::new(Resolver::default());
        let deps = Deps {
            resolver: Some(Arc::clone(&resolver)),
            io: Some(handle.clone()),
            ..Deps::new(budget, handle.count())
        };
        let inner = Arc::new(Inner { handle, registry, deps, state: Mutex::default(), at_work: Presence::default() });
        let background = Background::start(Arc::downgrade(&inner), resolver)?;
        Ok(Self { inner, background })
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

    /// Waits until the last connection of every closed listener is gone, where [`DataPlane::drain`] came before. From any
    /// thread; cancel safe, so that a second signal can cut the wait short.
    pub async fn finished(&self) {
        self.inner.at_work.gone().await;
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
        vec![HTTP_SERVER, PIPELINE]
    }

    fn filters(&self) -> Vec<&'static str> {
        self.inner.registry.iter().map(|kind| kind.name()).collect()
    }

    fn validate(&self, kind: &str, spec: &Value) -> Result<Vec<String>, Vec<Problem>> {
        let mut report = Report::default();
        match kind {
            HTTP_SERVER => drop(read_server(spec, &mut report)),
            PIPELINE => {
                // Checked without the means to register anything.
                let deps = Deps { resolver: None, io: None, ..self.inner.deps.clone() };
                drop(read_pipeline(spec, &self.inner.registry, &deps, &mut report));
            }
            _ => report.problems.add("kind", format!("\"{kind}\" is not supported yet")),
        }
        let problems = report.problems.iter().map(|problem| Problem::new(&problem.field, &problem.message));
        let problems: Vec<Problem> = problems.collect();
        if problems.is_empty() { Ok(report.warnings) } else { Err(problems) }
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
        state.statuses()
    }
}

fn read_server(spec: &Value, report: &mut Report) -> Option<Compiled> {
    let spec: HttpServerSpec = decode(spec, "", METADATA, report)?;
    spec.check(report);
    report.problems.is_empty().then(|| Compiled::new(&spec))
}

fn read_pipeline(spec: &Value, registry: &Registry, deps: &Deps, report: &mut Report) -> Option<Pipeline> {
    let spec: PipelineSpec = decode(spec, "", METADATA, report)?;
    spec.check(report);
    let filters: Vec<Value> = spec.filters.into_iter().map(Value::Object).collect();
    Pipeline::build(&spec.flow, &filters, &spec.resilience, registry, deps, report)
}

impl State {
    fn statuses(&self) -> BTreeMap<String, ObjectStatus> {
        let status = |name: &String, known: &Known| {
            let mut status = known.status.clone();
            status.bytes = self.leases.get(name).map_or(0, Lease::bytes);
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

/// What a build came to, besides the pipelines.
struct Built {
    servers: Vec<(String, Compiled)>,
    /// Servers that are no more.
    gone: Vec<String>,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Builds what is new or differs, and gives the servers among it. Pipelines are used once the servers are updated.
    fn build(&self, state: &mut State, texts: &Texts) -> Built {
        // What is known comes back as a whole at the end: after a panic in between everything is built again.
        let mut before = std::mem::take(&mut state.specs);
        let (mut known, mut servers) = (BTreeMap::new(), Vec::new());
        for (name, text) in texts {
            let old = before.remove(name);
            let now = match old {
                Some(same) if same.text.as_ref() == Some(text) => same,
                old => self.build_one(state, &mut servers, name, text, old),
            };
            known.insert(name.clone(), now);
        }
        state.specs = known;
        let State { pipelines, servers: running, specs, leases } = state;
        let is = |name: &str, kind: &str| specs.get(name).is_some_and(|known| known.kind == kind);
        pipelines.retain(|name, _| is(name, PIPELINE));
        let gone = running.keys().filter(|name| !is(name, HTTP_SERVER)).cloned().collect();
        leases.retain(|name, _| specs.contains_key(name));
        Built { servers, gone }
    }

    fn build_one(
        &self,
        state: &mut State,
        servers: &mut Vec<(String, Compiled)>,
        name: &str,
        text: &Bytes,
        old: Option<Known>,
    ) -> Known {
        let mut report = Report::default();
        let read = Given::read(name, text, &self.deps.budget).and_then(|given| {
            let lease = self.deps.budget.try_lease(Holder::Gateway, given.built_bytes());
            Ok((given, lease.ok_or(Unread::NoRoom)?))
        });
        let (kind, text) = match read {
            Ok((given, lease)) => {
                match given.kind.as_str() {
                    PIPELINE => {
                        if let Some(pipeline) = read_pipeline(&given.spec, &self.registry, &self.deps, &mut report) {
                            state.pipelines.insert(name.to_owned(), Arc::new(pipeline));
                        }
                    }
                    HTTP_SERVER => {
                        let compiled = read_server(&given.spec, &mut report);
                        servers.extend(compiled.map(|compiled| (name.to_owned(), compiled)));
                    }
                    kind => report.problems.add("kind", format!("\"{kind}\" is not supported yet")),
                }
                if report.problems.is_empty() {
                    state.leases.insert(name.to_owned(), lease);
                }
                (given.kind, Some(text.clone()))
            }
            Err(unread) => {
                report.problems.add("", unread.to_string());
                let again = unread == Unread::NoRoom;
                // What runs of it, if anything does, is of the kind that it was.
                (old.map(|old| old.kind).unwrap_or_default(), (!again).then(|| text.clone()))
            }
        };
        let error = (!report.problems.is_empty()).then(|| report.problems.to_string());
        let mut status = ObjectStatus { error, warnings: report.warnings, bytes: 0 };
        status.shorten();
        Known { text, kind, status }
    }

    /// Swaps the routes of every server, and moves listeners whose address has changed: all of them are closed before the
    /// first is opened, so that ports can change hands.
    fn update_servers(&self, state: &mut State, built: Built) {
        for name in built.gone {
            if let Some(Running { listener: Ok(listener), .. }) = state.servers.remove(&name) {
                listener.close();
            }
        }
        let mut opening = Vec::new();
        for (name, compiled) in built.servers {
            let Some(running) = state.servers.get_mut(&name) else {
                let routes = compiled.join(&state.pipelines);
                let permits = Permits::new(routes.settings.connections_max);
                let routes = Arc::new(ArcSwap::new(Arc::new(routes)));
                let budget = self.deps.budget.clone();
                let server = Arc::new(Server { name: name.clone(), budget, routes, permits, stats: Mutex::default() });
                let listener = Err("is not open yet".to_owned());
                state.servers.insert(name.clone(), Running { server, compiled, listener });
                opening.push(name);
                continue;
            };
            // A port that was chosen for it stays.
            let moves = compiled.address != running.compiled.address;
            running.compiled = compiled;
            if moves && let Ok(listener) = std::mem::replace(&mut running.listener, Err("is moving".to_owned())) {
                listener.close();
            }
            if running.listener.is_err() {
                opening.push(name);
            }
        }
        // Pipelines may have changed under any of them.
        for running in state.servers.values() {
            running.server.swap(running.compiled.join(&state.pipelines));
        }
        for name in opening {
            if let Some(running) = state.servers.get_mut(&name) {
                self.open(running);
            }
        }
    }

    fn open(&self, running: &mut Running) {
        let address = running.compiled.address;
        running.listener = Listener::open(&self.handle, address, &running.server, &self.at_work)
            .map_err(|error| format!("cannot listen on {address}: {error}"));
        if let Err(error) = &running.listener {
            tracing::warn!(server = running.server.name, error, "an HTTPServer is not open");
        }
    }

    /// Tries again to open what could not be opened.
    pub(super) fn retry(&self) {
        // Whoever builds meanwhile may wait for the very thread that tries here, and opens listeners itself.
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        for running in state.servers.values_mut().filter(|running| running.listener.is_err()) {
            self.open(running);
        }
    }
}
