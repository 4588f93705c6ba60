//! `GlobalFilter`: pipelines before and after those of every server that names it.
//!
//! ```text
//!   before ──its end──► pipeline ──its end──► after
//!      └─ended early─┐     └─ended early─┐
//!                    ▼ answer             ▼ answer      but where `fallthrough` says that it goes on
//! ```
//! Whether a flow came to its end is told by a node that is put behind its last one. Only nodes that have a global filter
//! put it into their pipelines.

use std::cell::Cell;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_pipeline::{
    Context, Deps, Filter, FlowNode, Kind, METADATA, Outcome, Pipeline, Problems, Registry, Report, Step, decode,
};

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
    pub(crate) fn read(spec: &Value, registry: &Registry, deps: &Deps, report: &mut Report) -> Option<Self> {
        let spec: GlobalFilterSpec = decode(spec, "", METADATA, report)?;
        let given = spec.before_pipeline.is_some() || spec.after_pipeline.is_some();
        report.problems.require(given, "", "needs beforePipeline or afterPipeline");
        let mut build = |part: Option<PipelineSpec>, name: &str| {
            let mut own = Report::default();
            let pipeline = part.and_then(|part| build(part, registry, deps, &mut own, true));
            report.problems.extend_at(name, own.problems);
            own.warnings.iter().for_each(|warning| report.warnings.push(format!("{name}.{warning}")));
            pipeline
        };
        let before = build(spec.before_pipeline, "beforePipeline");
        let after = build(spec.after_pipeline, "afterPipeline");
        report.problems.is_empty().then_some(Self { before, after, fallthrough: spec.fallthrough })
    }

    /// Runs `pipeline`, which was built with a mark at its end, between the two.
    pub(crate) async fn run(&self, pipeline: &Pipeline, cx: &mut Context) {
        if let Some(before) = &self.before
            && !to_its_end(before, cx).await
            && !self.fallthrough.before_pipeline
        {
            return;
        }
        let whole = to_its_end(pipeline, cx).await;
        if let Some(after) = &self.after
            && (whole || self.fallthrough.pipeline)
        {
            after.run(cx).await;
        }
    }
}

/// Builds a pipeline; `marked`: with a mark at the end of its flow.
pub(crate) fn build(
    spec: PipelineSpec,
    registry: &Registry,
    deps: &Deps,
    report: &mut Report,
    marked: bool,
) -> Option<Pipeline> {
    spec.check(report);
    let mut flow = spec.flow;
    let mut filters: Vec<Value> = spec.filters.into_iter().map(Value::Object).collect();
    if !marked {
        return Pipeline::build(&flow, &filters, registry, deps, report);
    }
    for (index, filter) in filters.iter().enumerate() {
        let own = filter.get("kind").and_then(Value::as_str) == Some(Mark::KIND);
        report.problems.require(!own, format!("filters[{index}].kind"), "is the node's own");
    }
    // An empty flow runs the filters as they stand: the mark is the last of them.
    if !flow.is_empty() {
        flow.push(FlowNode { filter: MARK.to_owned(), ..FlowNode::default() });
    }
    filters.push(json!({"name": MARK, "kind": Mark::KIND}));
    let kinds: Vec<_> = registry.iter().chain([&MARK_KIND as _]).collect();
    Pipeline::build(&flow, &filters, &Registry::new(&kinds), deps, report)
}

/// Name of the node at the end. Nobody else calls a filter so.
const MARK: &str = "~end-of-flow~";

static MARK_KIND: Kind<Mark> = Kind::new();

thread_local! {
    /// Address of the context whose flow came to its end last on this thread.
    static ENDED: Cell<usize> = const { Cell::new(0) };
}

/// Runs a marked pipeline, and tells whether it came to its end. Flows of other requests may run in between; the mark is
/// the last thing that this one does, and nobody else lives at the address of its context.
async fn to_its_end(pipeline: &Pipeline, cx: &mut Context) -> bool {
    let own = std::ptr::from_ref(cx).addr();
    if ENDED.get() == own {
        ENDED.set(0);
    }
    pipeline.run(cx).await;
    ENDED.get() == own
}

struct Mark;

#[derive(Debug, Deserialize, JsonSchema)]
struct Nothing {}

impl Filter for Mark {
    const KIND: &'static str = "EndOfFlow";
    const RESULTS: &'static [&'static str] = &[];
    const EXAMPLE: &'static str = "name: end\nkind: EndOfFlow\n";
    type Config = Nothing;

    fn new(_: Nothing, _: &Deps) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn handle<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        ENDED.set(std::ptr::from_ref(cx).addr());
        Step::Done(Outcome::Next)
    }
}
