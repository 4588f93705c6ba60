//! A pipeline: filters and the flow between them.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    AnyFilter, Context, Deps, END, Flow, FlowNode, Outcome, Registry, Report, Step,
    flow::{Known, name_of},
    is_url_name,
    resilience::Policies,
};

/// Built whole, shared by all I/O threads, never changed.
pub struct Pipeline {
    filters: Vec<Box<dyn AnyFilter>>,
    flow: Flow,
}

impl Pipeline {
    /// Builds the filters of `specs`, each a map with at least `name` and `kind`, and the flow over them; `resilience` has the
    /// policies that they may name. `None` when the report has problems.
    pub fn build(
        flow: &[FlowNode],
        specs: &[Value],
        resilience: &[Value],
        registry: &Registry,
        deps: &Deps,
        report: &mut Report,
    ) -> Option<Self> {
        let deps = &Deps { policies: Arc::new(Policies::read(resilience, report)), ..deps.clone() };
        let (mut filters, mut known) = (Vec::new(), Vec::new());
        for (index, spec) in specs.iter().enumerate() {
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
            let kind = spec.get("kind").and_then(Value::as_str).unwrap_or_default();
            let Some(kind) = registry.find(kind) else {
                let list: Vec<&str> = registry.iter().map(|kind| kind.name()).collect();
                problems.add(format!("{path}.kind"), format!("\"{kind}\" is none of {}", list.join(", ")));
                // Its flow nodes are not wrong on top of that.
                known.push(Known { name, results: &[] });
                continue;
            };
            known.push(Known { name, results: kind.results() });
            filters.extend(kind.build(spec, &path, deps, report));
        }
        match Flow::new(flow, &known) {
            Ok(flow) if filters.len() == specs.len() && report.problems.is_empty() => Some(Self { filters, flow }),
            Ok(_) => None,
            Err(problems) => {
                report.problems.extend_at("", problems);
                None
            }
        }
    }

    /// Runs the flow. What the client gets is in the context then. `false` when it ended early: by `END`, or by a result that its
    /// `jumpIf` does not name.
    pub async fn run(&self, cx: &mut Context) -> bool {
        let mut at = 0;
        while let Some(filter) = self.flow.filter(at).and_then(|index| self.filters.get(index)) {
            let outcome = match filter.handle(cx) {
                Step::Done(outcome) => outcome,
                Step::Wait(future) => future.await,
            };
            let result = match outcome {
                Outcome::Next => "",
                Outcome::Result(result) => result,
            };
            match self.flow.next(at, result) {
                Some(next) => at = next,
                None => return false,
            }
        }
        self.flow.is_end(at)
    }
}
