//! `GlobalFilter`: pipelines before and after those of every server that names it.
//!
//! ```text
//!   before ──its end──► pipeline ──its end──► after
//!      └─ended early─┐     └─ended early─┐
//!                    ▼ answer             ▼ answer      but where `fallthrough` says that it goes on
//! ```

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tidegate_pipeline::{Context, Deps, METADATA, Pipeline, Registry, Report, decode};

use super::spec::PipelineSpec;

/// Pipelines around those of servers.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct GlobalFilterSpec {
    /// Runs before the pipeline of the route.
    #[serde(default)]
    before_pipeline: Option<PipelineSpec>,
    /// Runs after it.
    #[serde(default)]
    after_pipeline: Option<PipelineSpec>,
    /// What goes on where a flow ended early.
    #[serde(default)]
    fallthrough: Fallthrough,
}

/// A flow ends early by END, or by a result that its `jumpIf` does not name.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Fallthrough {
    /// Whether the pipeline runs even where `beforePipeline` ended early.
    #[serde(default)]
    before_pipeline: bool,
    /// Whether `afterPipeline` runs even where the pipeline ended early.
    #[serde(default)]
    pipeline: bool,
}

/// A compiled global filter.
pub(crate) struct GlobalFilter {
    before: Option<Pipeline>,
    after: Option<Pipeline>,
    fallthrough: Fallthrough,
}

impl GlobalFilter {
    /// `None` when the report has problems.
    pub(crate) fn read(
        name: &str,
        spec: &Value,
        registry: &Registry,
        deps: &Deps,
        report: &mut Report,
    ) -> Option<Self> {
        let spec: GlobalFilterSpec = decode(spec, "", METADATA, report)?;
        let given = spec.before_pipeline.is_some() || spec.after_pipeline.is_some();
        report.problems.require(given, "", "needs beforePipeline or afterPipeline");
        let mut build = |part: Option<PipelineSpec>, field: &str| {
            let mut own = Report::default();
            let name = format!("{name}/{field}");
            let pipeline = part.and_then(|part| part.build(&name, registry, deps, &mut own));
            report.problems.extend_at(field, own.problems);
            own.warnings.iter().for_each(|warning| report.warnings.push(format!("{field}.{warning}")));
            pipeline
        };
        let before = build(spec.before_pipeline, "beforePipeline");
        let after = build(spec.after_pipeline, "afterPipeline");
        report.problems.is_empty().then_some(Self { before, after, fallthrough: spec.fallthrough })
    }

    /// See [`Pipeline::inherit`].
    pub(crate) fn inherit(&mut self, previous: &Self) {
        for (new, old) in [(&mut self.before, &previous.before), (&mut self.after, &previous.after)] {
            if let (Some(new), Some(old)) = (new, old) {
                new.inherit(old);
            }
        }
    }

    /// See [`Pipeline::sends`].
    pub(crate) fn sends(&self) -> usize {
        [&self.before, &self.after].into_iter().flatten().map(Pipeline::sends).sum()
    }

    /// Runs `pipeline` between the two.
    pub(crate) async fn run(&self, pipeline: &Pipeline, cx: &mut Context) {
        if let Some(before) = &self.before
            && !before.run(cx).await
            && !self.fallthrough.before_pipeline
        {
            return;
        }
        let whole = pipeline.run(cx).await;
        if let Some(after) = &self.after
            && (whole || self.fallthrough.pipeline)
        {
            after.run(cx).await;
        }
    }
}
