//! Conditions on a text, shared by several kinds.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use tidegate_base::{Budget, Holder, Lease};
use tidegate_pipeline::{
    Problems,
    regexp::{self, Regexp, Text},
};

/// Most bytes of a compiled expression, and of what matching it keeps.
const PATTERN_BYTES_MAX: usize = 64 << 10;

/// A condition on a text. Of several, one is enough.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StringMatcher {
    /// The whole text.
    #[serde(default)]
    pub(crate) exact: String,
    /// What it begins with.
    #[serde(default)]
    pub(crate) prefix: String,
    /// A regular expression that fits a part of it, or all of it between `^` and `$`.
    #[serde(default)]
    pub(crate) regex: Pattern,
    /// Only when there is no such text at all; excludes the others.
    #[serde(default)]
    pub(crate) empty: bool,
}

impl StringMatcher {
    /// Compiles what is to be compiled.
    pub(crate) fn check(&self, field: &str, budget: &Budget, problems: &mut Problems) {
        self.regex.compile(&format!("{field}.regex"), budget, problems);
        let given = [&self.exact, &self.prefix, &self.regex.text].iter().any(|text| !text.is_empty());
        problems.require(given != self.empty, field, "needs one of exact, prefix and regex, or empty alone");
    }

    /// Whether it fits a text, or the absence of one.
    pub(crate) fn fits(&self, text: Option<&[u8]>) -> bool {
        let Some(text) = text else { return self.empty };
        let exact = !self.exact.is_empty() && self.exact.as_bytes() == text;
        exact || (!self.prefix.is_empty() && text.starts_with(self.prefix.as_bytes())) || self.regex.fits(text)
    }
}

/// A regular expression in RE2's syntax ([`regexp`]).
#[derive(Debug, Clone, Default)]
pub(crate) struct Pattern {
    text: String,
    compiled: OnceLock<Arc<(Regexp, Lease)>>,
}

impl Pattern {
    /// An empty one needs nothing and fits nothing.
    pub(crate) fn compile(&self, field: &str, budget: &Budget, problems: &mut Problems) {
        if self.text.is_empty() {
            return;
        }
        let Some(lease) = budget.try_lease(Holder::Gateway, 2 * PATTERN_BYTES_MAX as u64) else {
            return problems.add(field, "no memory is free for the expression");
        };
        match regexp::compile(&self.text, PATTERN_BYTES_MAX) {
            // It may be there already: a spec is checked once and then built.
            Ok(regex) => drop(self.compiled.set(Arc::new((regex, lease)))),
            Err(error) => problems.add(field, error),
        }
    }

    /// The first group of the first match; `None` where nothing matches or there is no such group.
    pub(crate) fn first_group(&self, text: &[u8]) -> Option<Vec<u8>> {
        let text = Text::new(text);
        self.compiled.get()?.0.captures(&text)?.get(1).map(|group| group.as_bytes().to_vec())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Every match replaced by `to`, in which `$1` and `${1}` are groups of it. Bytes that are no UTF-8 come out as U+FFFD.
    pub(crate) fn replace_all<'a>(&self, text: &'a [u8], to: &[u8]) -> Cow<'a, [u8]> {
        let Some(compiled) = self.compiled.get() else { return Cow::Borrowed(text) };
        compiled.0.replace_all(Text::new(text), to)
    }

    pub(crate) fn fits(&self, text: &[u8]) -> bool {
        self.compiled.get().is_some_and(|compiled| compiled.0.is_match(&Text::new(text)))
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        Self { text, compiled: OnceLock::new() }
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl JsonSchema for Pattern {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Pattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "regexp" })
    }
}

#[cfg(test)]
mod tests {
    use tidegate_base::{ByteSize, Limits, Profile};

    use super::*;

    fn fits(pattern: &str, text: &str, budget: &Budget) -> bool {
        let (pattern, mut problems) = (Pattern::from(pattern.to_owned()), Problems::default());
        pattern.compile("", budget, &mut problems);
        assert!(problems.is_empty(), "{problems}");
        pattern.fits(text.as_bytes())
    }

    #[test]
    fn one_condition_is_enough_and_empty_means_absent() {
        let budget = Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap());
        let both = StringMatcher {
            exact: "a".into(),
            prefix: "b".into(),
            regex: "c[0-9]+$".to_owned().into(),
            ..StringMatcher::default()
        };
        let empty = StringMatcher { empty: true, ..StringMatcher::default() };
        let mut problems = Problems::default();
        both.check("", &budget, &mut problems);
        assert!(problems.is_empty(), "{problems}");
        for (matcher, text, fits) in [
            (&both, Some("a"), true),
            (&both, Some("bc"), true),
            (&both, Some("ab"), false),
            (&both, Some("xc12"), true),
            (&both, Some("c12x"), false),
            (&both, None, false),
            (&empty, None, true),
            (&empty, Some(""), false),
        ] {
            assert_eq!(matcher.fits(text.map(str::as_bytes)), fits, "{matcher:?} {text:?}");
        }
        assert!(fits(r"^[[:alpha:]&&x]\d$", "&7", &budget) && !fits(r"^\w$", "é", &budget), "as RE2 has it");
        let login = Pattern::from("^/login/.*$".to_owned());
        login.compile("r", &budget, &mut problems);
        assert!(login.fits(b"/login/\xff"), "no byte is beside it");
        drop(login);
        for wrong in ["(", "(a{1000}){1000}"] {
            Pattern::from(wrong.to_owned()).compile("r", &budget, &mut problems);
        }
        assert_eq!(problems.iter().count(), 2, "{problems}");
        drop(both);
        assert_eq!(budget.used(Holder::Gateway), 0);
    }
}
