//! Tracing of an HTTPServer: its exporters run from when the server does until its `tracing` changes.

use std::sync::Arc;

use tidegate_http::{conn::Presence, io::Handle};
use tidegate_telemetry::{Counters, Setup, Spec, Tracer};

/// The key `tracing`, checked, and then running.
pub(super) struct Trace {
    spec: Spec,
    bytes: u64,
    setup: Option<Setup>,
    tracer: Option<Tracer>,
}

/// What exporters are started with.
pub(crate) struct Start<'a> {
    pub(crate) io: &'a Handle,
    pub(crate) counters: &'a Arc<Counters>,
    /// Those that have not ended.
    pub(crate) exporting: &'a Presence,
}

impl Trace {
    pub(super) fn new(setup: Setup) -> Self {
        Self { spec: setup.spec().clone(), bytes: setup.bytes(), setup: Some(setup), tracer: None }
    }

    /// See [`Setup::bytes`].
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Nothing where it runs.
    pub(super) fn start(&mut self, name: &str, start: &Start<'_>) {
        if let Some(setup) = self.setup.take() {
            self.tracer = Some(setup.start(name, start.io, start.counters, start.exporting));
        }
    }

    pub(super) fn stop(&self) {
        if let Some(tracer) = &self.tracer {
            tracer.close();
        }
    }

    /// Goes on with the exporters of `before` where nothing about tracing has changed. Whether it does.
    pub(super) fn adopt(&mut self, before: &Self) -> bool {
        let same = self.spec == before.spec && before.tracer.is_some();
        if same {
            self.setup = None;
            self.tracer.clone_from(&before.tracer);
        }
        same
    }

    pub(super) fn tracer(&self) -> Option<Tracer> {
        self.tracer.clone()
    }
}
