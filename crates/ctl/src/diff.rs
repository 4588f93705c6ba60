//! `diff`: what `apply` would change, field by field.
//!
//! What a file leaves out takes its default, so the file is laid over the template of its kind (`/objects-yaml/...`) before it
//! is compared. A node that has no template is asked about the top-level fields of the file only.

use serde_json::{Map, Value};

use crate::{
    Error, Streams,
    documents::{self, Document},
    kinds::Resource,
    print::inline,
    server::{Server, segment},
};

/// Set by the node at each change.
const STAMPS: [&str; 2] = ["createdAt", "version"];
/// Columns of a value that are shown.
const VALUE_MAX: usize = 100;

/// The label that the node gives an object where its file names none.
const OWNER: &str = "easegress/owner";

/// Has the owner of an object that exists stay what it is, unless the file says otherwise.
fn keep_owner(old: &Value, new: &mut Value) {
    let (Some(owner), Some(new)) = (old["labels"].get(OWNER), new.as_object_mut()) else { return };
    if let Some(labels) = new.entry("labels").or_insert_with(|| Value::Object(Map::new())).as_object_mut() {
        labels.entry(OWNER).or_insert_with(|| owner.clone());
    }
}

/// Returns whether nothing would change.
pub(crate) async fn diff(server: &Server, file: &str, streams: &mut Streams<'_>) -> Result<bool, Error> {
    let mut same = true;
    for document in documents::read(file, streams.input)? {
        let Document { kind, name, spec } = &document;
        if !matches!(document.resource(), Resource::Objects(_)) {
            writeln!(streams.err, "Warning: {kind} {name}: only objects are compared")?;
            continue;
        }
        let mut old = match server.get(&format!("/objects/{}", segment(name))).await {
            Ok(old) => old,
            Err(error) if error.is_absent() => {
                writeln!(streams.out, "create {kind} {name}")?;
                same = false;
                continue;
            }
            Err(error) => return Err(error),
        };
        let template = template(server, kind, name).await?;
        let mut new = template.clone().unwrap_or_else(|| named_as(&old, spec));
        overlay(&mut new, spec);
        keep_owner(&old, &mut new);
        for value in [&mut old, &mut new] {
            value.as_object_mut().into_iter().for_each(|map| map.retain(|key, _| !STAMPS.contains(&&**key)));
        }
        if let (None, Value::Object(old), Value::Object(new)) = (&template, &mut old, &new) {
            old.retain(|key, _| new.contains_key(key));
        }
        let mut lines = Vec::new();
        compare("", Some(&old), Some(&new), &mut lines);
        if !lines.is_empty() {
            writeln!(streams.out, "update {kind} {name}")?;
            same = false;
        }
        for line in lines {
            writeln!(streams.out, "  {line}")?;
        }
    }
    Ok(same)
}

async fn template(server: &Server, kind: &str, name: &str) -> Result<Option<Value>, Error> {
    match server.get_text(&format!("/objects-yaml/{}/{}", segment(kind), segment(name))).await {
        Ok(text) => {
            let told = serde_yaml_ng::from_str::<Value>(&text);
            told.map(Some).map_err(|error| Error::Local(format!("the template of {kind}: {error}")))
        }
        Err(error) if matches!(error.status(), Some(404 | 501)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Nothing, under the top-level keys of `old` that `spec` has in any case.
fn named_as(old: &Value, spec: &Value) -> Value {
    let has = |key: &str| spec.as_object().is_some_and(|map| map.keys().any(|known| known.eq_ignore_ascii_case(key)));
    let keys = old.as_object().into_iter().flat_map(|map| map.keys()).filter(|key| has(key));
    Value::Object(keys.map(|key| (key.clone(), Value::Null)).collect())
}

/// Puts `over` on top: maps are merged, everything else is replaced. Keys are taken in any case, as the node takes them.
fn overlay(under: &mut Value, over: &Value) {
    let (Value::Object(map), Value::Object(over)) = (&mut *under, over) else {
        *under = over.clone();
        return;
    };
    for (key, value) in over {
        let known = if map.contains_key(key) { None } else { map.keys().find(|known| known.eq_ignore_ascii_case(key)) };
        let key = known.unwrap_or(key).clone();
        overlay(map.entry(key).or_insert(Value::Null), value);
    }
}

fn compare(path: &str, old: Option<&Value>, new: Option<&Value>, lines: &mut Vec<String>) {
    match (old, new) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let added = new.keys().filter(|key| !old.contains_key(*key));
            let dot = if path.is_empty() { "" } else { "." };
            for key in old.keys().chain(added) {
                compare(&format!("{path}{dot}{key}"), old.get(key), new.get(key), lines);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for index in 0..old.len().max(new.len()) {
                compare(&format!("{path}[{index}]"), old.get(index), new.get(index), lines);
            }
        }
        (old, new) if old == new || is_nothing(old) && is_nothing(new) => {}
        (old, new) => {
            lines.extend(old.map(|value| format!("- {path}: {}", short(value))));
            lines.extend(new.map(|value| format!("+ {path}: {}", short(value))));
        }
    }
}

/// What the stored form leaves out.
fn is_nothing(value: Option<&Value>) -> bool {
    value.is_none_or(|value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(map) => map.is_empty(),
    })
}

fn short(value: &Value) -> String {
    let text = inline(value).replace('\n', "\\n");
    if text.chars().count() <= VALUE_MAX {
        return text;
    }
    text.chars().take(VALUE_MAX - 3).collect::<String>() + "..."
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_compared_at_every_depth() {
        let check = |old: Value, new: Value, expected: &[&str]| {
            let mut lines = Vec::new();
            compare("", Some(&old), Some(&new), &mut lines);
            assert_eq!(lines, expected, "{old} {new}");
        };
        check(json!({"a": 1}), json!({"a": 1}), &[]);
        check(json!({"a": 1}), json!({"a": 2, "b": "x"}), &["- a: 1", "+ a: 2", "+ b: x"]);
        check(json!({"a": [{"b": 1}, 2]}), json!({"a": [{"b": 3}]}), &["- a[0].b: 1", "+ a[0].b: 3", "- a[1]: 2"]);
        check(json!({"a": 1}), json!({"a": 1, "b": false, "c": []}), &[]);
    }

    #[test]
    fn a_file_lies_over_its_template() {
        let mut under = json!({"keepAlive": true, "port": 0, "m": {"x": 1, "y": 2}, "l": [1, 2]});
        overlay(&mut under, &json!({"PORT": 80, "m": {"y": 3}, "l": [4], "z": null}));
        assert_eq!(under, json!({"keepAlive": true, "port": 80, "m": {"x": 1, "y": 3}, "l": [4], "z": null}));
    }
}
