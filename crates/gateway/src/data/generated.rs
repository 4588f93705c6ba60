//! Pipelines that an HTTPServer makes of the pools of its paths.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;
use tidegate_pipeline::{Deps, Parts, Pipeline, Registry, Report};

use super::{
    server::Target,
    spec::{HttpServerSpec, PathSpec},
};

/// By name: `GENERATED-<server>-<rule>-<path>`. They live and change with the server, and are no objects of their own.
pub(crate) type Generated = BTreeMap<String, Arc<Pipeline>>;

fn name(server: &str, rule: usize, path: usize) -> String {
    format!("GENERATED-{server}-{rule}-{path}")
}

/// Each path with its number in its rule and that of the rule, in the order of the spec.
fn paths(spec: &HttpServerSpec) -> impl Iterator<Item = (usize, usize, &PathSpec)> {
    let rules = spec.rules.iter().enumerate();
    rules.flat_map(|(rule, spec)| spec.paths.iter().enumerate().map(move |(path, spec)| (rule, path, spec)))
}

/// Builds a pipeline with one Proxy, `proxy`, for each pool. What is wrong with one goes to the report.
pub(super) fn build(
    server: &str,
    spec: &HttpServerSpec,
    registry: &Registry,
    deps: &Deps,
    report: &mut Report,
) -> Generated {
    let mut all = Generated::new();
    for (rule, path, spec) in paths(spec) {
        let Some(pool) = &spec.backend_pool else { continue };
        let (name, mut own) = (name(server, rule, path), Report::default());
        let filters = [json!({"name": "proxy", "kind": "Proxy", "pools": [pool]})];
        let parts = Parts { name: &name, filters: &filters, ..Parts::default() };
        let built = Pipeline::build(parts, registry, deps, &mut own);
        let at = format!("rules[{rule}].paths[{path}].backendPool");
        let field = |inner: &str| match inner.strip_prefix("filters[0].pools[0]") {
            Some(rest) => format!("{at}{rest}"),
            None => at.clone(),
        };
        for problem in own.problems.iter() {
            report.problems.add(field(&problem.field), problem.message.clone());
        }
        report.warnings.extend(own.warnings.iter().map(|warning| field(warning)));
        all.extend(built.map(|pipeline| (name, Arc::new(pipeline))));
    }
    all
}

/// Has the paths with pools, whose targets stand in the order of the spec, lead to the pipelines made of them.
pub(super) fn assign(server: &str, spec: &HttpServerSpec, targets: &mut [Target]) {
    for ((rule, path, spec), target) in paths(spec).zip(targets) {
        if spec.backend_pool.is_some() {
            target.backend = name(server, rule, path);
        }
    }
}

/// Has pipelines go on with what those of the same path counted.
pub(super) fn inherit(new: &mut Generated, before: &Generated) {
    for (name, pipeline) in new {
        if let (Some(pipeline), Some(before)) = (Arc::get_mut(pipeline), before.get(name)) {
            pipeline.inherit(before);
        }
    }
}
