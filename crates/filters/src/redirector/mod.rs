//! `Redirector` sends the client elsewhere.

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_http::message::{Known, Response, reason};
use tidegate_pipeline::{Context, Deps, Filter, Outcome, Problems, Step};

use crate::matcher::Pattern;

/// Settings of the `Redirector` filter.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Regular expression (RE2) whose matches are replaced.
    #[serde(rename = "match")]
    matching: Pattern,
    /// What it is matched against: `uri` (path and query), `path`, or `full`, which is the same as `uri` for a request that
    /// names a path only.
    #[serde(default)]
    match_part: String,
    /// What takes the place of each match; `$1` or `${1}` is a group of it.
    replacement: String,
    /// Status of the answer: 301, 302, 303, 304, 307 or 308.
    #[serde(default = "moved")]
    status_code: u16,
}

const fn moved() -> u16 {
    301
}

/// Answers with a `Location` where the expression matches and changes something.
pub struct Redirector {
    expression: Pattern,
    path_only: bool,
    replacement: String,
    status: u16,
}

impl Filter for Redirector {
    const KIND: &'static str = "Redirector";
    const RESULTS: &'static [&'static str] = &["redirected"];
    const EXAMPLE: &'static str = "\
name: redirector
kind: Redirector
match: ^/users/([0-9]+)
matchPart: uri
replacement: https://example.com/display?user=$1
statusCode: 302
";
    type Config = Config;

    fn new(config: Config, deps: &Deps) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        config.matching.compile("match", &deps.budget, &mut problems);
        problems.require(!config.matching.is_empty(), "match", "must not be empty");
        let part = matches!(config.match_part.as_str(), "" | "uri" | "path" | "full");
        problems.require(part, "matchPart", "must be uri, path or full");
        let good = matches!(config.status_code, 301..=304 | 307 | 308);
        problems.require(good, "statusCode", "must be 301, 302, 303, 304, 307 or 308");
        problems.into_result()?;
        Ok(Self {
            expression: config.matching,
            path_only: config.match_part == "path",
            replacement: config.replacement,
            status: config.status_code,
        })
    }

    fn handle<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let request = cx.request();
        let mut subject = request.path().to_vec();
        if !self.path_only && !request.query().is_empty() {
            subject.push(b'?');
            subject.extend_from_slice(request.query());
        }
        let target = self.expression.replace_all(&subject, self.replacement.as_bytes());
        if *target == *subject {
            return Step::Done(Outcome::Next);
        }
        let mut response = Response::text(self.status, reason(self.status));
        response.headers.append_known(Known::Location, &target);
        cx.response = Some(response);
        Step::Done(Outcome::Result("redirected"))
    }
}
