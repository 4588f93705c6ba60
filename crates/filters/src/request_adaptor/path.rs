//! Changes of paths. Pure.

use regex::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_pipeline::Problems;

/// Most bytes that a compiled expression takes.
const EXPRESSION_BYTES_MAX: usize = 1 << 20;

/// One change of the path.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PathChange {
    /// The new path.
    replace: String,
    /// What goes before the path.
    add_prefix: String,
    /// What is taken away where the path begins with it.
    trim_prefix: String,
    /// Replacement of what an expression matches.
    regexp_replace: Option<Replacement>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(super) struct Replacement {
    /// Regular expression (RE2), not anchored.
    regexp: String,
    /// What takes the place of each match; `$1` or `${1}` is a group of it.
    replace: String,
}

pub(super) enum Prepared {
    Replace(String),
    AddPrefix(String),
    TrimPrefix(String),
    Expression(Regex, String),
}

impl PathChange {
    pub(super) fn prepare(&self, problems: &mut Problems) -> Option<Prepared> {
        for (field, path) in
            [("replace", &self.replace), ("addPrefix", &self.add_prefix), ("trimPrefix", &self.trim_prefix)]
        {
            let good = path.is_empty() || path.starts_with('/');
            problems.require(good, format!("path.{field}"), "must begin with /");
        }
        let regexp = self.regexp_replace.as_ref().and_then(|change| {
            match RegexBuilder::new(&change.regexp).size_limit(EXPRESSION_BYTES_MAX).build() {
                Ok(expression) => Some(Prepared::Expression(expression, change.replace.clone())),
                Err(error) => {
                    problems.add("path.regexpReplace.regexp", error.to_string());
                    None
                }
            }
        });
        if !self.replace.is_empty() {
            Some(Prepared::Replace(self.replace.clone()))
        } else if !self.add_prefix.is_empty() {
            Some(Prepared::AddPrefix(self.add_prefix.clone()))
        } else if !self.trim_prefix.is_empty() {
            Some(Prepared::TrimPrefix(self.trim_prefix.clone()))
        } else {
            regexp
        }
    }
}

impl Prepared {
    /// The new path; `None` when it stays.
    pub(super) fn apply(&self, path: &str) -> Option<String> {
        match self {
            Prepared::Replace(to) => Some(to.clone()),
            Prepared::AddPrefix(prefix) => Some(format!("{prefix}{path}")),
            Prepared::TrimPrefix(prefix) => path.strip_prefix(prefix.as_str()).map(str::to_owned),
            Prepared::Expression(expression, to) => {
                let changed = expression.replace_all(path, to.as_str());
                (*changed != *path).then(|| changed.into_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn prepare(change: Value) -> Result<Option<Prepared>, Problems> {
        let mut problems = Problems::default();
        let prepared = serde_json::from_value::<PathChange>(change).unwrap().prepare(&mut problems);
        problems.into_result().map(|()| prepared)
    }

    #[test]
    fn the_first_change_that_is_given_counts() {
        let expression = json!({"regexp": "^/a/([^/]+)", "replace": "/b/${1}x"});
        for (change, path, expected) in [
            (json!({"replace": "/r", "addPrefix": "/p"}), "/a", Some("/r")),
            (json!({"addPrefix": "/p", "trimPrefix": "/a"}), "/a", Some("/p/a")),
            (json!({"trimPrefix": "/a", "regexpReplace": expression}), "/a/b", Some("/b")),
            (json!({"trimPrefix": "/x"}), "/a/b", None),
            (json!({ "regexpReplace": expression }), "/a/b/c", Some("/b/bx/c")),
            (json!({ "regexpReplace": expression }), "/c", None),
        ] {
            let prepared = prepare(change.clone()).ok().flatten().unwrap();
            assert_eq!(prepared.apply(path).as_deref(), expected, "{change} {path}");
        }
        assert!(prepare(json!({})).ok().flatten().is_none());
    }

    #[test]
    fn every_problem_is_named() {
        let change = json!({"replace": "r", "trimPrefix": "t", "regexpReplace": {"regexp": "(", "replace": ""}});
        let problems = prepare(change).err().unwrap();
        let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(fields, ["path.replace", "path.trimPrefix", "path.regexpReplace.regexp"]);
    }
}
