//! Changes of paths. Pure.

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_base::Budget;
use tidegate_pipeline::Problems;

use crate::matcher::Pattern;

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
    regexp: Pattern,
    /// What takes the place of each match; `$1` or `${1}` is a group of it.
    replace: String,
}

pub(super) enum Prepared {
    Replace(String),
    AddPrefix(String),
    TrimPrefix(String),
    Expression(Pattern, String),
}

impl PathChange {
    pub(super) fn prepare(&self, budget: &Budget, problems: &mut Problems) -> Option<Prepared> {
        for (field, path) in
            [("replace", &self.replace), ("addPrefix", &self.add_prefix), ("trimPrefix", &self.trim_prefix)]
        {
            let good = path.is_empty() || path.starts_with('/');
            problems.require(good, format!("path.{field}"), "must begin with /");
        }
        let regexp = self.regexp_replace.as_ref().map(|change| {
            let field = "path.regexpReplace.regexp";
            change.regexp.compile(field, budget, problems);
            problems.require(!change.regexp.is_empty(), field, "must not be empty");
            Prepared::Expression(change.regexp.clone(), change.replace.clone())
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
    pub(super) fn apply(&self, path: &[u8]) -> Option<Vec<u8>> {
        match self {
            Prepared::Replace(to) => Some(to.as_bytes().to_vec()),
            Prepared::AddPrefix(prefix) => Some([prefix.as_bytes(), path].concat()),
            Prepared::TrimPrefix(prefix) => path.strip_prefix(prefix.as_bytes()).map(<[u8]>::to_vec),
            Prepared::Expression(expression, to) => {
                let changed = expression.replace_all(path, to.as_bytes());
                (*changed != *path).then(|| changed.into_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidegate_base::{ByteSize, Limits, Profile};

    use super::*;

    fn prepare(change: Value) -> Result<Option<Prepared>, Problems> {
        let mut problems = Problems::default();
        let budget = Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap());
        let prepared = serde_json::from_value::<PathChange>(change).unwrap().prepare(&budget, &mut problems);
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
            assert_eq!(prepared.apply(path.as_bytes()).as_deref(), expected.map(str::as_bytes), "{change} {path}");
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
