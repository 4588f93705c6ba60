//! From texts of objects to what runs.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, TryLockError},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde_json::Value;
use tidegate_base::{Holder, Lease};
use tidegate_pipeline::{Deps, METADATA, Pipeline, Registry, Report, decode};
use tidegate_telemetry::Counters;

use super::{
    compile::{Compiled, Parts, With},
    global::GlobalFilter,
    permits::Permits,
    plane::{GLOBAL_FILTER, HTTP_SERVER, Inner, Known, PIPELINE, Running, State},
    server::Server,
    spec::{HttpServerSpec, PipelineSpec},
    stats::ServerStats,
    status::View,
    trace::Start,
};
use crate::{
    acme::{AUTO_CERT_MANAGER, Settings},
    listener::Listener,
    objects::{Given, ObjectStatus, SYSTEM_KINDS, Texts, Unread},
};

pub(super) fn read_server(name: &str, spec: &Value, with: &With<'_>, report: &mut Report) -> Option<Compiled> {
    let spec: HttpServerSpec = decode(spec, "", METADATA, report)?;
    Compiled::new(name, &spec, with, report)
}

pub(super) fn read_pipeline(
    name: &str,
    spec: &Value,
    registry: &Registry,
    deps: &Deps,
    report: &mut Report,
) -> Option<Pipeline> {
    let spec: PipelineSpec = decode(spec, "", METADATA, report)?;
    spec.build(name, registry, deps, report)
}

/// What a build came to, besides the pipelines.
pub(super) struct Built {
    servers: Vec<(String, Compiled)>,
    /// Servers that are no more.
    gone: Vec<String>,
}

impl Inner {
    /// Builds what is new or differs, and gives the servers among it. Pipelines are used once the servers are updated.
    pub(super) fn build(&self, state: &mut State, texts: &Texts) -> Built {
        // What is known comes back as a whole at the end: after a panic in between everything is built again.
        let mut before = std::mem::take(&mut state.specs);
        self.unmanage(state, |name| texts.contains_key(name));
        let (mut known, mut servers) = (BTreeMap::new(), Vec::new());
        for (name, text) in texts {
            let old = before.remove(name);
            let now = match old {
                Some(same) if same.text.as_ref() == Some(text) => same,
                old => self.build_one(state, &mut servers, name, text, old),
            };
            known.insert(name.clone(), now);
        }
        let is_manager = |name: &str| known.get(name).is_some_and(|known| known.kind == AUTO_CERT_MANAGER);
        self.unmanage(state, is_manager);
        state.specs = known;
        let State { pipelines, globals, servers: running, specs, leases, .. } = state;
        let is = |name: &str, kind: &str| specs.get(name).is_some_and(|known| known.kind == kind);
        if !pipelines.keys().all(|name| is(name, PIPELINE)) {
            Arc::make_mut(pipelines).retain(|name, _| is(name, PIPELINE));
        }
        globals.retain(|name, _| is(name, GLOBAL_FILTER));
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
        let mut again = false;
        let (kind, text) = match read {
            Ok((given, mut lease)) => {
                let (registry, deps) = (&self.registry, &self.deps);
                match given.kind.as_str() {
                    PIPELINE => {
                        if let Some(mut pipeline) = read_pipeline(name, &given.spec, registry, deps, &mut report) {
                            if let Some(before) = state.pipelines.get(name) {
                                pipeline.inherit(before);
                            }
                            Arc::make_mut(&mut state.pipelines).insert(name.to_owned(), Arc::new(pipeline));
                        }
                    }
                    GLOBAL_FILTER => {
                        if let Some(mut global) = GlobalFilter::read(name, &given.spec, registry, deps, &mut report) {
                            if let Some(before) = state.globals.get(name) {
                                global.inherit(before);
                            }
                            state.globals.insert(name.to_owned(), Arc::new(global));
                        }
                    }
                    AUTO_CERT_MANAGER => {
                        again = !self.manage(state, name, &given.spec, &mut lease, &mut report);
                    }
                    HTTP_SERVER => match read_server(name, &given.spec, &self.with(), &mut report) {
                        Some(compiled) if lease.try_grow(compiled.further_bytes()) => {
                            servers.push((name.to_owned(), compiled));
                        }
                        Some(_) => {
                            again = true;
                            report.problems.add("", Unread::NoRoom.to_string());
                        }
                        None => {}
                    },
                    // Runs by itself: there is nothing to build.
                    kind if SYSTEM_KINDS.contains(&kind) => {}
                    kind => report.problems.add("kind", format!("\"{kind}\" is not supported yet")),
                }
                if report.problems.is_empty() {
                    state.leases.insert(name.to_owned(), lease);
                }
                (given.kind, (!again).then(|| text.clone()))
            }
            Err(unread) => {
                report.problems.add("", unread.to_string());
                again = unread == Unread::NoRoom;
                // What runs of it, if anything does, is of the kind that it was.
                (old.map(|old| old.kind).unwrap_or_default(), (!again).then(|| text.clone()))
            }
        };
        let error = (!report.problems.is_empty()).then(|| report.problems.to_string());
        let mut status = ObjectStatus { error, warnings: report.warnings, ..ObjectStatus::default() };
        status.shorten();
        Known { text, kind, status }
    }

    /// Swaps the routes of every server, and moves listeners whose address has changed: all of them are closed before the
    /// first is opened, so that ports can change hands.
    pub(super) fn update_servers(&self, state: &mut State, built: Built) {
        for name in built.gone {
            let Some(Running { listener, compiled, .. }) = state.servers.remove(&name) else { continue };
            if let Ok(listener) = listener {
                listener.close();
            }
            compiled.stop();
        }
        let mut opening = Vec::new();
        let State { servers, pipelines, globals, .. } = state;
        let parts = Parts { pipelines, globals, log: self.log.get() };
        for (name, mut compiled) in built.servers {
            let Some(running) = servers.get_mut(&name) else {
                let (counted, spans) = (ServerStats::default(), Arc::default());
                compiled.start(&name, &self.start(&spans));
                let routes = compiled.join(&parts, &counted);
                let permits = Permits::new(routes.settings.connections_max);
                let routes = Arc::new(ArcSwap::new(Arc::new(routes)));
                let budget = self.deps.budget.clone();
                let (stats, h2c) = (Mutex::default(), self.h2c);
                let (stored, book) = (name.clone(), Arc::clone(&self.book));
                let server =
                    Arc::new(Server { name: stored, budget, routes, permits, stats, counted, spans, h2c, book });
                let listener = Err("is not open yet".to_owned());
                servers.insert(name.clone(), Running { server, compiled, listener });
                opening.push(name);
                continue;
            };
            // A port that was chosen for it stays.
            let moves = compiled.moves_from(&running.compiled);
            compiled.adopt(&running.compiled);
            compiled.start(&name, &self.start(&running.server.spans));
            running.compiled = compiled;
            if moves && let Ok(listener) = std::mem::replace(&mut running.listener, Err("is moving".to_owned())) {
                listener.close();
            }
            if running.listener.is_err() {
                opening.push(name);
            }
        }
        // Pipelines may have changed under any of them.
        for running in servers.values() {
            running.server.swap(running.compiled.join(&parts, &running.server.counted));
        }
        for name in opening {
            if let Some(running) = servers.get_mut(&name) {
                self.open(running);
            }
        }
    }

    fn start<'a>(&'a self, counters: &'a Arc<Counters>) -> Start<'a> {
        Start { io: &self.handle, counters, exporting: &self.exporting }
    }

    /// Makes a spec that of the one AutoCertManager. `false` when it is to be tried again.
    fn manage(&self, state: &mut State, name: &str, spec: &Value, lease: &mut Lease, report: &mut Report) -> bool {
        let Some(settings) = Settings::read(name, spec, report) else { return true };
        if let Some(other) = state.managed.as_ref().filter(|other| other.name() != name) {
            report.problems.add("kind", format!("there is an AutoCertManager already, \"{}\"", other.name()));
            return false;
        }
        if !lease.try_grow(settings.further_bytes()) {
            report.problems.add("", Unread::NoRoom.to_string());
            return false;
        }
        if state.managed.as_ref() != Some(&settings) {
            if let Err(error) = self.manager().set(Some(settings.clone())) {
                report.problems.add("", error.to_string());
                return true;
            }
            state.managed = Some(settings);
        }
        true
    }

    /// Gives certificates up where nobody wants them any more.
    fn unmanage(&self, state: &mut State, stays: impl Fn(&str) -> bool) {
        if state.managed.as_ref().is_some_and(|managed| !stays(managed.name())) {
            state.managed = None;
            if let Err(error) = self.manager().set(None) {
                tracing::error!(%error, "certificates are not given up");
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
        let mut tried = false;
        for running in state.servers.values_mut().filter(|running| running.listener.is_err()) {
            self.open(running);
            tried = true;
        }
        if tried {
            self.view.store(Arc::new(View::new(&state)));
        }
    }
}
