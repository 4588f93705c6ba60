//! Headers that a request must have.

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_base::Budget;
use tidegate_http::message::Headers;
use tidegate_pipeline::Problems;

use crate::matcher::Pattern;

/// What a header must say.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct HeaderRule {
    /// Values, of which one is enough.
    values: Vec<String>,
    /// Regular expression (RE2, not anchored), which is enough as well.
    regexp: Pattern,
}

impl HeaderRule {
    pub(super) fn check(&self, field: &str, budget: &Budget, problems: &mut Problems) {
        self.regexp.compile(&format!("{field}.regexp"), budget, problems);
        let given = !self.values.is_empty() || !self.regexp.is_empty();
        problems.require(given, field, "needs values or regexp");
    }

    /// Whether one of the values under `name` fits.
    pub(super) fn fits(&self, headers: &Headers, name: &str) -> bool {
        let good =
            |value: &[u8]| self.values.iter().any(|wanted| wanted.as_bytes() == value) || self.regexp.fits(value);
        headers.matching(name).any(good)
    }
}
