//! What the node tells of its servers and pipelines when it is asked. Building and swapping are never waited for.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value, json};
use tidegate_base::clock;
use tidegate_pipeline::Pipeline;

use super::{generated::Generated, plane::State, server::Server};

/// Servers and pipelines as they run now.
#[derive(Default)]
pub(super) struct View {
    pub(super) servers: BTreeMap<String, Shown>,
    pub(super) pipelines: Arc<BTreeMap<String, Arc<Pipeline>>>,
    /// Those that servers have made.
    pub(super) generated: Generated,
}

pub(super) struct Shown {
    pub(super) server: Arc<Server>,
    pub(super) open: bool,
    pub(super) router_kind: &'static str,
}

impl View {
    pub(super) fn new(state: &State) -> Self {
        let shown = state.servers.iter().map(|(name, running)| {
            let (server, open) = (Arc::clone(&running.server), running.listener.is_ok());
            (name.clone(), Shown { server, open, router_kind: running.compiled.router_kind() })
        });
        let own = state.servers.values().flat_map(|running| &running.compiled.generated);
        let generated = own.map(|(name, pipeline)| (name.clone(), Arc::clone(pipeline))).collect();
        Self { servers: shown.collect(), pipelines: Arc::clone(&state.pipelines), generated }
    }

    /// Has spans that wait exported, and ends the exporters.
    pub(super) fn stop_tracing(&self) {
        for shown in self.servers.values() {
            if let Some(tracer) = &shown.server.routes.load().tracer {
                tracer.close();
            }
        }
    }

    /// What a server or pipeline has counted, as the reference writes it into its status.
    pub(super) fn numbers(&self, name: &str) -> Map<String, Value> {
        if let Some(Shown { server, .. }) = self.servers.get(name) {
            let now = clock::now();
            let mut map = server.counted.sum(now).to_map();
            map.insert("topN".to_owned(), server.counted.top(now));
            return map;
        }
        let mut map = Map::new();
        if let Some(pipeline) = self.pipelines.get(name) {
            map.insert("filters".to_owned(), json!(pipeline.statuses()));
        }
        map
    }
}
