//! The form in which settings are kept: what was given, over the defaults, in the documented words.

use schemars::JsonSchema;
use serde_json::{Map, Value};

use super::{
    Report,
    decode::clean,
    schema::{resolve, schema_of},
};

/// Deepest nesting that is looked at; `decode` refuses what is deeper.
const DEPTH_MAX: usize = 32;

/// `value` with the defaults of `T` filled in, keys in the case in which they are documented, and without what has no effect:
/// unknown keys, nulls, and values of zero where that is the default. Top-level keys named in `ignored` stay as they are, and so
/// does what `T` takes as free maps. For values that `decode` accepts.
pub fn stored_form<T: JsonSchema + 'static>(value: &Value, ignored: &[&str]) -> Value {
    let schema = schema_of::<T>();
    let mut own = clean(value, &schema, "", ignored, &mut Report::default());
    fill(&mut own, &schema, &schema, 0);
    let mut out = Map::new();
    let is_ignored = |key: &str| ignored.iter().any(|ignored| ignored.eq_ignore_ascii_case(key));
    let theirs = value.as_object().into_iter().flatten().filter(|(key, _)| is_ignored(key));
    out.extend(theirs.map(|(key, value)| (key.clone(), value.clone())));
    if let Value::Object(own) = own {
        out.extend(own);
    }
    Value::Object(out)
}

fn fill(value: &mut Value, schema: &Value, root: &Value, depth: usize) {
    let schema = resolve(schema, root);
    if depth > DEPTH_MAX {
        return;
    }
    match value {
        Value::Object(map) => {
            let known = schema.get("properties").and_then(Value::as_object);
            let others = schema.get("additionalProperties").filter(|others| others.is_object());
            for (key, value) in map.iter_mut() {
                if let Some(schema) = known.and_then(|known| known.get(key)).or(others) {
                    fill(value, schema, root, depth + 1);
                }
            }
            let mut without = Vec::new();
            for (key, property) in known.into_iter().flatten() {
                let default = property.get("default").filter(|default| !is_zero(default, property, root));
                match (map.get(key), default) {
                    (None, Some(default)) => drop(map.insert(key.clone(), default.clone())),
                    (Some(value), None) if is_zero(value, property, root) && !is_required(key, schema) => {
                        without.push(key);
                    }
                    _ => {}
                }
            }
            map.retain(|key, _| !without.contains(&key));
        }
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else { return };
            items.iter_mut().for_each(|item| fill(item, schema, root, depth + 1));
        }
        _ => {}
    }
}

/// An empty object is zero where it stands for a map, and says something where it stands for settings.
fn is_zero(value: &Value, schema: &Value, root: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty() && resolve(schema, root).get("additionalProperties").is_some(),
    }
}

fn is_required(key: &str, schema: &Value) -> bool {
    schema.get("required").and_then(Value::as_array).is_some_and(|names| names.iter().any(|name| name == key))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Deserialize, JsonSchema)]
    #[serde(rename_all = "camelCase")]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Settings {
        port: u16,
        #[serde(default = "yes")]
        keep_alive: bool,
        #[serde(default)]
        size: i64,
        #[serde(default)]
        parts: Vec<Part>,
        #[serde(default)]
        labels: BTreeMap<String, String>,
        part: Option<Part>,
        #[serde(default)]
        free: Vec<Map<String, Value>>,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(rename_all = "camelCase")]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Part {
        key: String,
        #[serde(default)]
        all: bool,
    }

    fn yes() -> bool {
        true
    }

    #[test]
    fn defaults_are_filled_and_what_says_nothing_goes() {
        let check = |given: Value, expected: Value| {
            assert_eq!(stored_form::<Settings>(&given, &["name"]), expected, "{given}");
            assert_eq!(stored_form::<Settings>(&expected, &["name"]), expected, "twice is once: {given}");
        };
        check(json!({"port": 0}), json!({"port": 0, "keepAlive": true}));
        check(json!({"Name": "n", "PORT": 1, "x": 1}), json!({"Name": "n", "port": 1, "keepAlive": true}));
        check(json!({"port": 1, "keepAlive": false}), json!({"port": 1, "keepAlive": false}));
        check(
            json!({"port": 1, "size": 0, "labels": {}, "part": null, "parts": []}),
            json!({"port": 1, "keepAlive": true}),
        );
        check(
            json!({"port": 1, "parts": [{"KEY": "", "all": false, "y": 2}], "part": {}, "labels": {"a": ""}}),
            json!({"port": 1, "parts": [{"key": ""}], "part": {}, "labels": {"a": ""}, "keepAlive": true}),
        );
        let free = json!({"port": 1, "free": [{"Kind": "K", "a": null, "b": false, "c": {}}], "keepAlive": true});
        check(free.clone(), free);
    }
}
