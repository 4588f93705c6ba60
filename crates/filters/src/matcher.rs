//! Conditions on a text, shared by several kinds.

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_pipeline::Problems;

/// A condition on a text. Of several, one is enough.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StringMatcher {
    /// The whole text.
    #[serde(default)]
    pub(crate) exact: String,
    /// What it begins with.
    #[serde(default)]
    pub(crate) prefix: String,
    /// A regular expression. Not supported yet.
    #[serde(default)]
    pub(crate) regex: String,
    /// Only when there is no such text at all; excludes the others.
    #[serde(default)]
    pub(crate) empty: bool,
}

impl StringMatcher {
    pub(crate) fn check(&self, field: &str, problems: &mut Problems) {
        problems.require(self.regex.is_empty(), format!("{field}.regex"), "is not supported yet");
        let given = [&self.exact, &self.prefix, &self.regex].iter().any(|text| !text.is_empty());
        problems.require(given != self.empty, field, "needs one of exact, prefix and regex, or empty alone");
    }

    /// Whether it fits a text, or the absence of one.
    pub(crate) fn fits(&self, text: Option<&[u8]>) -> bool {
        let Some(text) = text else { return self.empty };
        let exact = !self.exact.is_empty() && self.exact.as_bytes() == text;
        exact || (!self.prefix.is_empty() && text.starts_with(self.prefix.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_condition_is_enough_and_empty_means_absent() {
        let both = StringMatcher { exact: "a".into(), prefix: "b".into(), ..StringMatcher::default() };
        let empty = StringMatcher { empty: true, ..StringMatcher::default() };
        for (matcher, text, fits) in [
            (&both, Some("a"), true),
            (&both, Some("bc"), true),
            (&both, Some("ab"), false),
            (&both, None, false),
            (&empty, None, true),
            (&empty, Some(""), false),
        ] {
            assert_eq!(matcher.fits(text.map(str::as_bytes)), fits, "{matcher:?} {text:?}");
        }
    }
}
