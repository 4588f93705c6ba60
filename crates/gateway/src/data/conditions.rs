//! Conditions of routes on headers, queries and the client's address.

use std::{borrow::Cow, net::IpAddr};

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_http::message::RequestHead;
use tidegate_pipeline::Problems;
use tidegate_pipeline::regexp::{Regexp, Text};

use super::address::IpFilter;
use crate::router::{Conditions, Verdict, compile};

/// A condition on a header or a parameter of the query, of which the first value counts. One that is not there is empty.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConditionSpec {
    /// Name of the header, in any case, or of the parameter.
    pub key: String,
    /// Values, of which one is enough.
    #[serde(default)]
    pub values: Vec<String>,
    /// Regular expression in the syntax of RE2, searched for anywhere in the value.
    #[serde(default)]
    pub regexp: String,
}

#[derive(Debug)]
struct Matcher {
    key: String,
    values: Vec<String>,
    regexp: Option<Regexp>,
}

/// The conditions on headers, or those on the query, of one path.
#[derive(Debug, Default)]
pub(crate) struct Matchers {
    list: Vec<Matcher>,
    all: bool,
}

impl Matchers {
    /// Adds the problems of what stands at `at`, and the number of expressions to `regexps`.
    pub(crate) fn new(
        specs: &[ConditionSpec],
        all: bool,
        at: &str,
        problems: &mut Problems,
        regexps: &mut usize,
    ) -> Self {
        let mut list = Vec::with_capacity(specs.len());
        for (index, spec) in specs.iter().enumerate() {
            let at = format!("{at}[{index}]");
            problems.require(!spec.key.is_empty(), format!("{at}.key"), "must not be empty");
            let given = !spec.values.is_empty() || !spec.regexp.is_empty();
            problems.require(given, &at, "needs values or regexp");
            require_unique(&spec.values, &format!("{at}.values"), problems);
            let regexp = read_regexp(&spec.regexp, format!("{at}.regexp"), problems, regexps);
            list.push(Matcher { key: spec.key.clone(), values: spec.values.clone(), regexp });
        }
        Self { list, all }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// `value` gives the first value of a key.
    fn fit<'a>(&self, value: impl Fn(&str) -> Option<Cow<'a, [u8]>>) -> bool {
        let in_values = |matcher: &Matcher, value: &[u8]| matcher.values.iter().any(|text| text.as_bytes() == value);
        let by_regexp =
            |matcher: &Matcher, value: &[u8]| matcher.regexp.as_ref().map(|regexp| regexp.is_match(&Text::new(value)));
        let mut fits = self.list.iter().map(|matcher| {
            let value = value(&matcher.key).unwrap_or_default();
            if self.all {
                (matcher.values.is_empty() || in_values(matcher, &value)) && by_regexp(matcher, &value).unwrap_or(true)
            } else {
                in_values(matcher, &value) || by_regexp(matcher, &value).unwrap_or(false)
            }
        });
        self.list.is_empty() || if self.all { fits.all(|fits| fits) } else { fits.any(|fits| fits) }
    }
}

/// Adds a problem for each value that stands in the list before.
pub(crate) fn require_unique(values: &[String], at: &str, problems: &mut Problems) {
    let mut seen = std::collections::HashSet::new();
    for (index, value) in values.iter().enumerate() {
        problems.require(seen.insert(value), format!("{at}[{index}]"), format!("\"{value}\" is there twice"));
    }
}

/// The expression, unless it is empty or wrong.
pub(crate) fn read_regexp(text: &str, field: String, problems: &mut Problems, count: &mut usize) -> Option<Regexp> {
    if text.is_empty() {
        return None;
    }
    *count += 1;
    compile(text).map_err(|error| problems.add(field, error)).ok()
}

/// What of a path is looked at beside host, path and method.
#[derive(Debug, Default)]
pub(crate) struct PathConditions {
    pub(crate) headers: Matchers,
    pub(crate) queries: Matchers,
    pub(crate) ip_filter: Option<IpFilter>,
}

impl PathConditions {
    pub(crate) fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.queries.is_empty() && self.ip_filter.is_none()
    }
}

/// All conditions of a server: of rules, and of paths by number. `None` where there are none.
#[derive(Debug, Default)]
pub(crate) struct AllConditions {
    pub(crate) rules: Vec<Option<IpFilter>>,
    pub(crate) paths: Vec<Option<Box<PathConditions>>>,
}

/// The request at hand, for the router to ask about.
pub(crate) struct Asked<'a> {
    pub(crate) all: &'a AllConditions,
    pub(crate) head: &'a RequestHead,
    pub(crate) client: &'a dyn Fn() -> Option<IpAddr>,
}

impl Conditions for Asked<'_> {
    fn rule(&mut self, rule: usize) -> bool {
        self.all.rules.get(rule).and_then(Option::as_ref).is_none_or(|filter| filter.allows((self.client)()))
    }

    fn path(&mut self, path: usize) -> Verdict {
        let Some(conditions) = self.all.paths.get(path).and_then(Option::as_deref) else { return Verdict::Fits };
        let header = |key: &str| self.head.headers.find(key).map(Cow::Borrowed);
        if !conditions.headers.fit(header) || !conditions.queries.fit(|key| parameter(self.head.query(), key)) {
            return Verdict::Condition;
        }
        let allowed = conditions.ip_filter.as_ref().is_none_or(|filter| filter.allows((self.client)()));
        if allowed { Verdict::Fits } else { Verdict::Ip }
    }
}

/// The first value of a parameter of the query, its escapes decoded, `+` as a blank. Pairs with a `;` or with a `%` that
/// begins no escape do not count, as in Go.
pub(crate) fn parameter<'a>(query: &'a [u8], key: &str) -> Option<Cow<'a, [u8]>> {
    query.split(|byte| *byte == b'&').filter(|pair| !pair.contains(&b';')).find_map(|pair| {
        let mut sides = pair.splitn(2, |byte| *byte == b'=');
        let name = unescape(sides.next().unwrap_or_default())?;
        let value = unescape(sides.next().unwrap_or_default())?;
        (!pair.is_empty() && *name == *key.as_bytes()).then_some(value)
    })
}

fn unescape(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !text.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Some(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        let mut digit =
            || bytes.next().and_then(|byte| char::from(*byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
        out.push(match byte {
            b'%' => digit()? << 4 | digit()?,
            b'+' => b' ',
            other => *other,
        });
    }
    Some(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_as_go_reads_them() {
        for (query, key, expected) in [
            ("a=1&b=2", "b", Some("2")),
            ("a=1&a=2", "a", Some("1")),
            ("a", "a", Some("")),
            ("a=b=c", "a", Some("b=c")),
            ("x%41=%2f+%2B", "xA", Some("/ +")),
            ("a=%zz&a=2", "a", Some("2")),
            ("a=%4", "a", None),
            ("a;b=1&c=2", "c", Some("2")),
            ("a;b=1", "a", None),
            ("", "a", None),
            ("&&=x", "", Some("x")),
        ] {
            let found = parameter(query.as_bytes(), key);
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{query} {key}");
        }
    }

    #[test]
    fn one_condition_or_all_of_them_must_hold() {
        let spec = |key: &str, values: &[&str], regexp: &str| ConditionSpec {
            key: key.to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
            regexp: regexp.to_owned(),
        };
        let list = [spec("a", &["1", "2"], ""), spec("b", &[], "^x"), spec("c", &["y"], "^[yz]$")];
        for (values, any, all) in [
            ("a=1", true, false),
            ("b=xx", true, false),
            ("c=z", true, false),
            ("a=3&b=y&c=x", false, false),
            ("", false, false),
            ("a=1&b=x&c=y", true, true),
            ("a=2&b=x&c=z", true, false),
        ] {
            for (every, expected) in [(false, any), (true, all)] {
                let (mut problems, mut regexps) = (Problems::default(), 0);
                let matchers = Matchers::new(&list, every, "q", &mut problems, &mut regexps);
                assert!(problems.is_empty() && regexps == 2, "{problems}");
                let fits = matchers.fit(|key| parameter(values.as_bytes(), key));
                assert_eq!(fits, expected, "{values}, all: {every}");
            }
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let bad = [
            ConditionSpec { key: String::new(), values: vec!["a".to_owned(), "a".to_owned()], regexp: String::new() },
            ConditionSpec { key: "k".to_owned(), values: Vec::new(), regexp: "(".to_owned() },
            ConditionSpec { key: "k".to_owned(), ..ConditionSpec::default() },
        ];
        let (mut problems, mut regexps) = (Problems::default(), 0);
        Matchers::new(&bad, false, "headers", &mut problems, &mut regexps);
        let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(fields, ["headers[0].key", "headers[0].values[1]", "headers[1].regexp", "headers[2]"]);
    }
}
