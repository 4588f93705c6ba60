//! `RequestBuilder` and `ResponseBuilder` give a namespace a request or a response of its own.

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_pipeline::{Context, Deps, Filter, Outcome, Problems, Step};

/// Settings of the `RequestBuilder` and `ResponseBuilder` filters.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Protocol of what is built; only `http`.
    #[serde(default)]
    protocol: String,
    /// Namespace whose request or response the active one gets; both then have one and the same.
    #[serde(default)]
    source_namespace: String,
    /// Template of what is built. Not implemented.
    #[serde(default)]
    template: String,
    /// What begins an action of the template. Without effect yet.
    #[serde(default, rename = "leftDelim")]
    _left_delim: String,
    /// What ends one. Without effect yet.
    #[serde(default, rename = "rightDelim")]
    _right_delim: String,
}

const BUILD_ERR: Outcome = Outcome::Result("buildErr");

impl Config {
    fn check(self) -> Result<String, Problems> {
        let mut problems = Problems::default();
        problems.require(matches!(self.protocol.as_str(), "" | "http"), "protocol", "must be http");
        problems.require(self.template.is_empty(), "template", "unimplemented");
        let given = !self.source_namespace.is_empty() || !self.template.is_empty();
        problems.require(given, "sourceNamespace", "is required");
        problems.into_result().map(|()| self.source_namespace)
    }
}

fn end(cx: &mut Context, found: bool) -> Step<'_> {
    if found {
        return Step::Done(Outcome::Next);
    }
    cx.reject(500);
    Step::Done(BUILD_ERR)
}

/// Gives the active namespace the request of another.
pub struct RequestBuilder(String);

impl Filter for RequestBuilder {
    const KIND: &'static str = "RequestBuilder";
    const RESULTS: &'static [&'static str] = &["buildErr"];
    const EXAMPLE: &'static str = "\
name: copy
kind: RequestBuilder
sourceNamespace: DEFAULT
";
    const WITHOUT_REQUEST: bool = true;
    type Config = Config;

    fn new(config: Config, _: &Deps) -> Result<Self, Problems> {
        config.check().map(Self)
    }

    fn handle<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let found = cx.share_request(&self.0);
        end(cx, found)
    }
}

/// Gives the active namespace the response of another.
pub struct ResponseBuilder(String);

impl Filter for ResponseBuilder {
    const KIND: &'static str = "ResponseBuilder";
    const RESULTS: &'static [&'static str] = &["buildErr"];
    const EXAMPLE: &'static str = "\
name: answer
kind: ResponseBuilder
sourceNamespace: second
";
    const WITHOUT_REQUEST: bool = true;
    type Config = Config;

    fn new(config: Config, _: &Deps) -> Result<Self, Problems> {
        config.check().map(Self)
    }

    fn handle<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let found = cx.share_response(&self.0);
        end(cx, found)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_problem_is_named() {
        let fields = |config: Value| {
            let problems = serde_json::from_value::<Config>(config).unwrap().check().err().unwrap();
            problems.iter().map(|problem| problem.field.clone()).collect::<Vec<_>>()
        };
        assert_eq!(fields(json!({"protocol": "mqtt"})), ["protocol", "sourceNamespace"]);
        assert_eq!(fields(json!({"template": "x"})), ["template"]);
    }
}
