//! A pipeline: filters and the flow between them.

use std::sync::Arc;

use serde_json::{Map, Value};
use tidegate_base::clock;

use crate::{
    AnyFilter, Context, DEFAULT, Deps, END, Flow, FlowNode, Outcome, Registry, Report, Step,
    flow::{Known, name_of},
    is_url_name,
    resilience::Policies,
    spec::metadata,
    stats::PoolTraffic,
};

/// Where filters find the pipeline's own data.
const PIPELINE_DATA: &str = "PIPELINE";

/// What a pipeline is built of.
#[derive(Debug, Default)]
pub struct Parts<'a> {
    pub name: &'a str,
    /// An empty flow runs all filters as they are defined.
    pub flow: &'a [FlowNode],
    /// Each a map with at least `name` and `kind`.
    pub filters: &'a [Value],
    /// Policies that filters may name.
    pub resilience: &'a [Value],
    /// What filters find under `PIPELINE`.
    pub data: Map<String, Value>,
}

/// A filter under its name.
struct Named {
    name: Arc<str>,
    filter: Box<dyn AnyFilter>,
}

/// Built whole, shared by all I/O threads, never changed.
pub struct Pipeline {
    tag: Box<str>,
    filters: Vec<Named>,
    flow: Flow,
    data: Option<Arc<Value>>,
    sends: usize,
}

impl Pipeline {
    /// `None` when the report has problems.
    pub fn build(parts: Parts<'_>, registry: &Registry, deps: &Deps, report: &mut Report) -> Option<Self> {
        let deps = &Deps { policies: Arc::new(Policies::read(parts.resilience, report)), ..deps.clone() };
        let (mut filters, mut known) = (Vec::new(), Vec::new());
        for (index, spec) in parts.filters.iter().enumerate() {
            let path = format!("filters[{index}]");
            let name = name_of(spec);
            let problems = &mut report.problems;
            problems.require(
                is_url_name(name),
                format!("{path}.name"),
                "must be 1 to 253 letters, digits, -, _, . or ~",
            );
            problems.require(name != END, format!("{path}.name"), "END is the name of the end of a flow");
            let twice = known.iter().any(|known: &Known<'_>| known.name == name);
            problems.require(!twice, format!("{path}.name"), format!("there is another filter \"{name}\""));
            let kind = metadata(spec, "kind");
            let Some(kind) = registry.find(kind) else {
                let list: Vec<&str> = registry.iter().map(|kind| kind.name()).collect();
                problems.add(format!("{path}.kind"), format!("\"{kind}\" is none of {}", list.join(", ")));
                // Its flow nodes are not wrong on top of that.
                known.push(Known { name, results: &[] });
                continue;
            };
            known.push(Known { name, results: kind.results() });
            let filter = kind.build(spec, &path, deps, report);
            filters.extend(filter.map(|filter| Named { name: name.into(), filter }));
        }
        let flow = match Flow::new(parts.flow, &known) {
            Ok(flow) if filters.len() == parts.filters.len() && report.problems.is_empty() => flow,
            Ok(_) => return None,
            Err(problems) => {
                report.problems.extend_at("", problems);
                return None;
            }
        };
        let senders =
            flow.nodes().filter_map(|node| filters.get(node.filter?)).filter(|named| named.filter.sends_body());
        let sends = senders.count();
        let data = (!parts.data.is_empty()).then(|| Arc::new(Value::Object(parts.data)));
        Some(Self { tag: format!("pipeline({})", parts.name).into(), filters, flow, data, sends })
    }

    /// How often a run may send the request's body on.
    pub const fn sends(&self) -> usize {
        self.sends
    }

    /// Has filters go on with what those of the same name and kind had counted. To be called for one that takes over.
    pub fn inherit(&mut self, previous: &Self) {
        for Named { name, filter } in &mut self.filters {
            if let Some(before) = previous.filters.iter().find(|before| before.name == *name) {
                filter.inherit(&*before.filter);
            }
        }
    }

    /// What each filter tells of itself, by name.
    pub fn statuses(&self) -> Map<String, Value> {
        self.filters.iter().map(|named| (named.name.to_string(), named.filter.status())).collect()
    }

    /// Name and pools of each filter that has some.
    pub fn pools(&self) -> Vec<(&str, PoolTraffic)> {
        let of = |named: &'_ Named| named.filter.pools();
        self.filters.iter().flat_map(|named| of(named).into_iter().map(|pool| (&*named.name, pool))).collect()
    }

    /// Runs the flow. What the client gets is in the context then. `false` when it ended early: by `END`, or by a result that its
    /// `jumpIf` does not name.
    pub async fn run(&self, cx: &mut Context) -> bool {
        match &self.data {
            Some(data) => cx.set_data(PIPELINE_DATA, Arc::clone(data)),
            None => cx.remove_data(PIPELINE_DATA),
        }
        cx.tag(&self.tag);
        let (mut at, mut first) = (0, true);
        while let Some(node) = self.flow.node(at)
            && let Some(named) = node.filter.and_then(|index| self.filters.get(index))
        {
            cx.enter(&node.namespace);
            if !cx.has_request() && !named.filter.without_request() {
                tracing::warn!(pipeline = &*self.tag, node = &*node.name, "its namespace has no request");
                cx.enter(DEFAULT);
                cx.reject(500);
                return false;
            }
            cx.begin_filter(&named.name);
            let since = cx.records_tags().then(clock::now);
            let outcome = match named.filter.handle(cx) {
                Step::Done(outcome) => outcome,
                Step::Wait(future) => future.await,
            };
            let result = match outcome {
                Outcome::Next => "",
                Outcome::Result(result) => result,
            };
            if let Some(since) = since {
                cx.tag_step(first, &node.name, result, clock::now().saturating_duration_since(since));
            }
            first = false;
            match self.flow.next(at, result) {
                Some(next) => at = next,
                None => return false,
            }
        }
        self.flow.is_end(at)
    }
}
