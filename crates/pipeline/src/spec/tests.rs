use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Settings {
    port: u16,
    #[serde(default)]
    keep_alive: Option<bool>,
    #[serde(default)]
    timeout: Option<GoDuration>,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    policy: Option<Policy>,
    #[serde(default)]
    free: Option<Value>,
    #[serde(default)]
    inner: Option<Rule>,
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Rule {
    path: String,
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Policy {
    RoundRobin,
    Random,
}

fn read(value: Value) -> (Option<Settings>, Vec<(String, String)>, Vec<String>) {
    let mut report = Report::default();
    let settings = decode(&value, "", METADATA, &mut report);
    let problems = report.problems.iter().map(|p| (p.field.clone(), p.message.clone())).collect();
    (settings, problems, report.warnings)
}

#[test]
fn keys_match_in_any_case_and_unknown_ones_are_reported() {
    let (settings, problems, warnings) = read(json!({
        "name": "x", "Kind": "K", "PORT": 80, "keepalive": true, "maxConnection": 5, "timeout": null,
        "rules": [{"Path": "/a", "extra": 1}], "headers": {"X-A": "1"}, "policy": "random", "free": {"Any": [1]},
        "inner": {"path": "/i"},
    }));
    assert_eq!(problems, []);
    let settings = settings.unwrap();
    assert_eq!((settings.port, settings.keep_alive, settings.timeout), (80, Some(true), None));
    assert_eq!(settings.rules, [Rule { path: "/a".to_owned() }]);
    assert_eq!(settings.headers["X-A"], "1");
    assert_eq!((settings.policy, settings.inner), (Some(Policy::Random), Some(Rule { path: "/i".to_owned() })));
    let mut warnings = warnings;
    warnings.sort();
    assert_eq!(
        warnings,
        [
            "PORT: is read as port",
            "keepalive: is read as keepAlive",
            "maxConnection: is not known and has no effect",
            "rules[0].Path: is read as path",
            "rules[0].extra: is not known and has no effect",
        ]
    );
}

#[test]
fn every_problem_is_found_with_its_path() {
    let (settings, problems, _) = read(json!({
        "port": 70000, "keepAlive": "yes", "timeout": "5", "rules": [{"path": 1}, {}, "x"],
        "headers": {"X-A": 1}, "policy": "best",
    }));
    assert_eq!(settings, None);
    // A map of JSON may keep its order or sort its keys.
    let mut problems = problems;
    problems.sort();
    let fields: Vec<&str> = problems.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(
        fields,
        ["headers.X-A", "keepAlive", "policy", "port", "rules[0].path", "rules[1].path", "rules[2]", "timeout"]
    );
    assert_eq!(problems[4].1, "must be of type string");
    assert_eq!(problems[5].1, "is required");
}

#[test]
fn an_exact_key_wins_over_a_similar_one() {
    let (settings, _, warnings) = read(json!({"port": 1, "PORT": 2}));
    assert_eq!(settings.unwrap().port, 1);
    assert_eq!(warnings, ["PORT: is not known and has no effect"]);
}

#[test]
fn nesting_has_an_end() {
    let mut value = json!([]);
    for _ in 0..100 {
        value = json!([value]);
    }
    let mut report = Report::default();
    assert!(decode::<Settings>(&value, "", &[], &mut report).is_none());
}

#[test]
fn names_have_letters_digits_and_four_signs() {
    for (name, good) in
        [("a-b_c.d~9", true), ("ünï", true), ("", false), ("a b", false), ("a/b", false), (&"x".repeat(254), false)]
    {
        assert_eq!(is_url_name(name), good, "{name}");
    }
}

#[test]
fn what_is_told_of_a_spec_is_short_however_long_its_keys_are() {
    #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
    struct Settings {
        #[allow(dead_code, reason = "it is only checked")]
        parts: std::collections::BTreeMap<String, Part>,
    }
    #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
    struct Part {
        #[allow(dead_code, reason = "it is only checked")]
        count: u32,
    }
    let long = "\u{fc}".repeat(100_000);
    let mut part = serde_json::Map::new();
    for number in 0..1000 {
        part.insert(format!("u{number}{}", "\u{fc}".repeat(1000)), serde_json::json!(1));
    }
    let spec = serde_json::json!({"parts": {long: part}});
    let mut report = Report::default();
    assert!(decode::<Settings>(&spec, "", &[], &mut report).is_none());
    let told: usize = report.warnings.iter().map(String::len).sum();
    let wrong: usize = report.problems.iter().map(|problem| problem.field.len() + problem.message.len()).sum();
    assert!(report.warnings.len() == 100 && told + wrong < 100_000, "{told} {wrong}");
}
