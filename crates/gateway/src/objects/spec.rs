//! One object: metadata that every kind has, and the rest as it was given.

use std::time::Duration;

use serde_json::{Map, Value};
use tidegate_base::Moment;

use super::Problem;

/// Owner of what users made. Objects of another owner change with that owner only.
pub const DEFAULT_OWNER: &str = "user-api";

pub(super) const OWNER_LABEL: &str = "easegress/owner";
pub const DEFAULT_VERSION: &str = "easegress.megaease.com/v2";
/// Metadata, in the order in which it is stored.
const METADATA: [&str; 5] = ["name", "kind", "version", "labels", "createdAt"];
/// In characters. Source: the format `urlname` of Easegress.
const NAME_MAX: usize = 253;

#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    name: String,
    kind: String,
    body: Value,
}

impl Spec {
    /// Checks the metadata and brings it to the front, its keys in the case in which they are documented.
    ///
    /// # Errors
    /// Every problem of the metadata.
    pub fn new(value: Value) -> Result<Self, Vec<Problem>> {
        let Value::Object(mut given) = value else {
            return Err(vec![Problem::new("", "an object with name and kind is expected")]);
        };
        let mut problems = Vec::new();
        let mut body = Map::new();
        for key in METADATA {
            if let Some(value) = take(&mut given, key).filter(|value| !value.is_null()) {
                body.insert(key.to_owned(), value);
            }
        }
        let name = text(&body, "name", true, &mut problems);
        let kind = text(&body, "kind", true, &mut problems);
        text(&body, "version", false, &mut problems);
        text(&body, "createdAt", false, &mut problems);
        if !name.is_empty() && !is_name(&name) {
            problems.push(Problem::new("name", "must be 1 to 253 letters, digits, `-`, `_`, `.` or `~`"));
        }
        match body.get("labels") {
            None => {}
            Some(Value::Object(labels)) if labels.values().all(Value::is_string) => {}
            Some(_) => problems.push(Problem::new("labels", "must be a map of strings to strings")),
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        body.append(&mut given);
        Ok(Self { name, kind, body: Value::Object(body) })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn kind(&self) -> &str {
        &self.kind
    }

    pub const fn body(&self) -> &Value {
        &self.body
    }

    /// Takes the form in which the spec is kept, and the metadata as it was.
    pub fn set_body(&mut self, body: Value) {
        if body.is_object() {
            self.body = body;
        }
    }

    pub fn into_parts(self) -> (String, String, Value) {
        (self.name, self.kind, self.body)
    }

    pub fn owner(&self) -> &str {
        self.body["labels"][OWNER_LABEL].as_str().unwrap_or(DEFAULT_OWNER)
    }

    /// Sets what the server sets: the time by its clock, in UTC, and the version and owner that are missing.
    pub fn stamp(&mut self, wall: Duration) {
        let Value::Object(given) = &mut self.body else { unreachable!("`new` takes objects only") };
        let rest = std::mem::take(given);
        let mut labels = rest.get("labels").and_then(Value::as_object).cloned().unwrap_or_default();
        labels.entry(OWNER_LABEL).or_insert_with(|| DEFAULT_OWNER.into());
        given.insert("name".to_owned(), self.name.as_str().into());
        given.insert("kind".to_owned(), self.kind.as_str().into());
        given.insert("version".to_owned(), rest.get("version").cloned().unwrap_or_else(|| DEFAULT_VERSION.into()));
        given.insert("labels".to_owned(), labels.into());
        given.insert("createdAt".to_owned(), rfc3339(wall).into());
        for (key, value) in rest {
            given.entry(key).or_insert(value);
        }
    }

    /// The stored form: one line.
    pub fn to_json(&self) -> String {
        self.body.to_string()
    }
}

/// The entry of exactly this key, else the first that differs in case only; the others stay.
fn take(map: &mut Map<String, Value>, key: &str) -> Option<Value> {
    if let Some(value) = map.shift_remove(key) {
        return Some(value);
    }
    let other = map.keys().find(|other| other.eq_ignore_ascii_case(key))?.clone();
    map.shift_remove(&other)
}

fn text(body: &Map<String, Value>, key: &str, required: bool, problems: &mut Vec<Problem>) -> String {
    match body.get(key) {
        Some(Value::String(text)) if !text.is_empty() || !required => return text.clone(),
        Some(Value::String(_)) => problems.push(Problem::new(key, "must not be empty")),
        Some(_) => problems.push(Problem::new(key, "must be a string")),
        None if required => problems.push(Problem::new(key, "is required")),
        None => {}
    }
    String::new()
}

fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_alphabetic() || c.is_ascii_digit() || "-_.~".contains(c);
    (1..=NAME_MAX).contains(&name.chars().take(NAME_MAX + 1).count()) && name.chars().all(fits)
}

/// Time since 1970 as `2026-01-31T08:15:00Z`.
fn rfc3339(wall: Duration) -> String {
    Moment::new(wall).date_time() + "Z"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_is_checked_all_at_once() {
        let check = |value: Value, fields: &[&str]| {
            let problems = Spec::new(value.clone()).err().unwrap_or_default();
            let found: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
            assert_eq!(found, fields, "{value}");
        };
        check(json!({"name": "a", "kind": "K"}), &[]);
        check(json!({"name": "größe-1_.~", "kind": "K", "version": "", "labels": {"a": "b"}}), &[]);
        check(json!({"Name": "a", "KIND": "K"}), &[]);
        check(json!({}), &["name", "kind"]);
        check(json!({"name": null, "kind": ""}), &["name", "kind"]);
        check(json!({"name": 3, "kind": "K", "labels": {"a": 1}, "version": 2}), &["name", "version", "labels"]);
        check(json!({"name": "a/b", "kind": "K"}), &["name"]);
        check(json!({"name": "a b", "kind": "K"}), &["name"]);
        check(json!({"name": "ü".repeat(253), "kind": "K"}), &[]);
        check(json!({"name": "u".repeat(254), "kind": "K"}), &["name"]);
        check(json!("text"), &[""]);
        check(json!([]), &[""]);
    }

    #[test]
    fn the_stamp_fills_and_orders_metadata() {
        let given = json!({"rules": [], "Kind": "HTTPServer", "createdAt": "old", "name": "s", "labels": {"a": "b"}});
        let mut spec = Spec::new(given).unwrap();
        spec.stamp(Duration::from_secs(1_700_000_000));
        assert_eq!(
            spec.to_json(),
            "{\"name\":\"s\",\"kind\":\"HTTPServer\",\"version\":\"easegress.megaease.com/v2\",\
             \"labels\":{\"a\":\"b\",\"easegress/owner\":\"user-api\"},\"createdAt\":\"2023-11-14T22:13:20Z\",\"rules\":[]}"
        );
        assert_eq!(spec.owner(), DEFAULT_OWNER);
        let foreign = json!({"name": "p", "kind": "Pipeline", "labels": {"easegress/owner": "HTTPServer:s"}});
        assert_eq!(Spec::new(foreign).unwrap().owner(), "HTTPServer:s");
    }

    #[test]
    fn times_are_written_in_utc() {
        let check = |seconds, text: &str| assert_eq!(rfc3339(Duration::from_secs(seconds)), text);
        check(0, "1970-01-01T00:00:00Z");
        check(951_782_399, "2000-02-28T23:59:59Z");
        check(951_782_400, "2000-02-29T00:00:00Z");
        check(4_107_542_400, "2100-03-01T00:00:00Z");
        check(1_795_539_600, "2026-11-24T17:00:00Z");
    }
}
