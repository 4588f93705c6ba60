//! Settings of `Mock`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_base::Budget;
use tidegate_pipeline::{GoDuration, Problems};

use crate::matcher::StringMatcher;

/// Settings of the `Mock` filter.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Rules in order; the first that fits a request answers it.
    pub(super) rules: Vec<Rule>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rule {
    /// Which requests it answers.
    #[serde(rename = "match")]
    pub(super) matching: Condition,
    /// Status of the answer, 200 to 599.
    pub(super) code: u16,
    /// Headers of the answer.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    /// Body of the answer.
    #[serde(default)]
    pub(super) body: String,
    /// Wait before the answer, such as `10ms`.
    #[serde(default)]
    pub(super) delay: Option<GoDuration>,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Condition {
    /// The whole path. With `pathPrefix` too, one of them is enough; with neither, every path fits.
    pub(super) path: String,
    /// What the path begins with.
    pub(super) path_prefix: String,
    /// Conditions on headers, by name.
    pub(super) headers: BTreeMap<String, StringMatcher>,
    /// Whether all conditions on headers must hold, and not one of them.
    pub(super) match_all_headers: bool,
}

impl Rule {
    pub(super) fn check(&self, field: &str, budget: &Budget, problems: &mut Problems) {
        problems.require((200..=599).contains(&self.code), format!("{field}.code"), "must be 200 to 599");
        for (name, path) in [("path", &self.matching.path), ("pathPrefix", &self.matching.path_prefix)] {
            let good = path.is_empty() || path.starts_with('/');
            problems.require(good, format!("{field}.match.{name}"), "must begin with /");
        }
        for (name, matcher) in &self.matching.headers {
            matcher.check(&format!("{field}.match.headers.{name}"), budget, problems);
        }
    }
}
