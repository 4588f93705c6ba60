//! The order of filters, and where their results lead. Pure.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{DEFAULT, Problems, spec::metadata};

/// Name of the built-in node that ends a flow.
pub const END: &str = "END";

/// One node of a flow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlowNode {
    /// Name of the filter to run, or `END`.
    pub filter: String,
    /// Another name for this node, so that one filter can stand in a flow more than once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Namespace whose request and response the filter sees; `DEFAULT` unless named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Where each result leads: a node later in the flow, or `END`. The empty result is success.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub jump_if: BTreeMap<String, String>,
}

impl FlowNode {
    fn name(&self) -> &str {
        self.alias.as_deref().filter(|alias| !alias.is_empty()).unwrap_or(&self.filter)
    }
}

/// A filter as a flow needs to know it: its name, and the results of its kind.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    pub name: &'a str,
    pub results: &'a [&'a str],
}

/// A checked node.
#[derive(Debug, PartialEq, Eq)]
pub struct Node {
    /// Its alias, or the filter's name.
    pub name: Box<str>,
    pub namespace: Box<str>,
    /// Index of the filter; `None` ends the flow.
    pub filter: Option<usize>,
    /// Index of the node that a result leads to; the number of nodes is the end.
    jumps: Vec<(Box<str>, usize)>,
}

/// A checked flow.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Flow(Vec<Node>);

impl Flow {
    /// Checks `nodes` over `filters`. An empty flow runs all filters as they are defined.
    ///
    /// # Errors
    /// All problems, below `flow`.
    pub fn new(nodes: &[FlowNode], filters: &[Known<'_>]) -> Result<Self, Problems> {
        if nodes.is_empty() {
            let node = |(at, known): (usize, &Known<'_>)| Node {
                name: known.name.into(),
                namespace: DEFAULT.into(),
                filter: Some(at),
                jumps: Vec::new(),
            };
            return Ok(Self(filters.iter().enumerate().map(node).collect()));
        }
        let mut problems = Problems::default();
        let mut flow = Vec::with_capacity(nodes.len());
        for (index, node) in nodes.iter().enumerate() {
            let at = format!("flow[{index}]");
            let filter = filters.iter().position(|filter| filter.name == node.filter);
            let known = filter.is_some() || node.filter == END;
            problems.require(known, format!("{at}.filter"), format!("there is no filter \"{}\"", node.filter));
            let mut jumps = Vec::new();
            for (result, target) in &node.jump_if {
                let field = format!("{at}.jumpIf.{result}");
                let results = filter.map_or(&[][..], |filter| filters[filter].results);
                if !result.is_empty() && !results.contains(&result.as_str()) {
                    let list = results.join(", ");
                    problems.add(&field, format!("is no result of {}, which has: {list}", node.filter));
                }
                let later = nodes.iter().enumerate().skip(index + 1).filter(|(_, node)| node.name() == target);
                let later: Vec<usize> = later.map(|(index, _)| index).collect();
                match later[..] {
                    _ if target == END => jumps.push((result.as_str().into(), nodes.len())),
                    [one] => jumps.push((result.as_str().into(), one)),
                    [] => problems.add(field, format!("there is no node \"{target}\" later in the flow")),
                    _ => problems.add(field, format!("there are several nodes \"{target}\" later in the flow")),
                }
            }
            let namespace = node.namespace.as_deref().filter(|name| !name.is_empty()).unwrap_or(DEFAULT).into();
            flow.push(Node { name: node.name().into(), namespace, filter, jumps });
        }
        problems.into_result().map(|()| Self(flow))
    }

    /// The node at `at`; `None` behind the last.
    pub fn node(&self, at: usize) -> Option<&Node> {
        self.0.get(at)
    }

    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.0.iter()
    }

    /// The node behind `at` when its filter ended with `result`, empty for success. `None` ends the flow early: a jump to `END`,
    /// or a result that leads nowhere.
    pub fn next(&self, at: usize, result: &str) -> Option<usize> {
        let node = self.0.get(at)?;
        match node.jumps.iter().find(|(name, _)| **name == *result) {
            Some((_, target)) => (*target < self.0.len()).then_some(*target),
            None => result.is_empty().then_some(at + 1),
        }
    }

    /// Whether `at` is behind the last node: the flow came to its end.
    pub fn is_end(&self, at: usize) -> bool {
        at >= self.0.len()
    }
}

/// Name of a filter in its spec; empty when it has none.
pub(crate) fn name_of(filter: &Value) -> &str {
    metadata(filter, "name")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> FlowNode {
        // "filter", "filter as alias", each with "result>target" behind it
        let mut words = text.split(' ');
        let mut node = FlowNode { filter: words.next().unwrap().to_owned(), ..FlowNode::default() };
        while let Some(word) = words.next() {
            match word.split_once('>') {
                Some((result, target)) => drop(node.jump_if.insert(result.to_owned(), target.to_owned())),
                None => node.alias = words.next().map(str::to_owned),
            }
        }
        node
    }

    fn build(nodes: &[&str]) -> Result<Flow, Problems> {
        let nodes: Vec<FlowNode> = nodes.iter().map(|text| node(text)).collect();
        let filters = ["a", "b", "c"].map(|name| Known { name, results: &["bad", "worse"] });
        Flow::new(&nodes, &filters)
    }

    /// Runs a flow in which the n-th filter run ends with the n-th result; gives the filters run, and a mark when it ended early.
    fn run(nodes: &[&str], results: &[&str]) -> String {
        let flow = build(nodes).unwrap();
        let (mut at, mut ran, mut results) = (0, String::new(), results.iter());
        while let Some(filter) = flow.node(at).and_then(|node| node.filter) {
            ran.push_str(["a", "b", "c"][filter]);
            match flow.next(at, results.next().unwrap_or(&"")) {
                Some(next) => at = next,
                None => return ran + "!",
            }
        }
        if flow.is_end(at) { ran } else { ran + "!" }
    }

    #[test]
    fn results_lead_where_the_flow_says() {
        assert_eq!(run(&[], &[]), "abc");
        assert_eq!(run(&[], &["", "bad"]), "ab!", "a result without an entry ends the flow");
        assert_eq!(run(&["c", "a"], &[]), "ca");
        assert_eq!(run(&["a bad>c", "b", "c"], &["bad"]), "ac");
        assert_eq!(run(&["a bad>c", "b", "c"], &["worse"]), "a!");
        assert_eq!(run(&["a bad>END", "b"], &["bad"]), "a!");
        assert_eq!(run(&["a", "b bad>END"], &["", "bad"]), "ab!", "END behind the last node, too");
        assert_eq!(run(&["a", "b"], &["", "bad"]), "ab!");
        assert_eq!(run(&["a", "END", "b"], &[]), "a!");
        assert_eq!(run(&["a >c", "b", "c"], &[""]), "ac", "success may jump too");
        assert_eq!(run(&["a", "b", "a as again", "c"], &[]), "abac");
        assert_eq!(run(&["a bad>again", "b", "a as again", "c"], &["bad"]), "aac");
        assert_eq!(run(&["a bad>c", "END", "c"], &["bad"]), "ac");
    }

    #[test]
    fn every_problem_of_a_flow_is_named() {
        let problems = build(&["a", "x", "b none>c bad>a worse>c", "c", "c"]).unwrap_err();
        let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "flow[1].filter",
                "flow[2].jumpIf.bad",
                "flow[2].jumpIf.none",
                "flow[2].jumpIf.none",
                "flow[2].jumpIf.worse"
            ]
        );
    }

    #[test]
    fn a_node_has_its_own_name_and_namespace() {
        let mut nodes = [node("a"), node("a as b"), node("a")];
        (nodes[1].namespace, nodes[2].namespace) = (Some("other".to_owned()), Some(String::new()));
        let flow = Flow::new(&nodes, &[Known { name: "a", results: &[] }]).unwrap();
        let names: Vec<(&str, &str)> = flow.nodes().map(|node| (&*node.name, &*node.namespace)).collect();
        assert_eq!(names, [("a", DEFAULT), ("b", "other"), ("a", DEFAULT)]);
    }
}
