//! From a spec's JSON to settings, with the leniency that existing specs depend on.
//!
//! Keys match exactly or else in any case; unknown keys and nulls are dropped; types are never converted. The JSON is
//! walked beside the schema of the settings, and so every problem is found at once, each with its path: a deserializer
//! alone stops at the first.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    GoDuration, Report,
    problems::join,
    schema::{resolve, schema_of},
};

/// Deepest nesting of a spec.
const DEPTH_MAX: usize = 32;

/// Reads `T` from `value`, which stands at `path`; `ignored` are top-level keys of others. Without a result, the report
/// has at least one problem.
pub fn decode<T>(value: &Value, path: &str, ignored: &[&str], report: &mut Report) -> Option<T>
where
    T: DeserializeOwned + JsonSchema + 'static,
{
    let schema = schema_of::<T>();
    let before = report.problems.iter().count();
    let clean = clean(value, &schema, path, ignored, report);
    if report.problems.iter().count() > before {
        return None;
    }
    match serde_json::from_value(clean) {
        Ok(settings) => Some(settings),
        Err(error) => {
            report.problems.add(path, error.to_string());
            None
        }
    }
}

/// What of `value` the schema knows, in its words.
pub(super) fn clean(value: &Value, schema: &Value, path: &str, ignored: &[&str], report: &mut Report) -> Value {
    let mut own;
    let value = match value {
        Value::Object(map) if !ignored.is_empty() => {
            own = map.clone();
            own.retain(|key, _| !ignored.iter().any(|ignored| ignored.eq_ignore_ascii_case(key)));
            &Value::Object(own)
        }
        other => other,
    };
    Walk { root: schema, report }.value(value, schema, path, 0)
}

struct Walk<'a> {
    root: &'a Value,
    report: &'a mut Report,
}

impl Walk<'_> {
    fn value(&mut self, value: &Value, schema: &Value, path: &str, depth: usize) -> Value {
        let schema = resolve(schema, self.root);
        if depth > DEPTH_MAX {
            self.report.problems.add(path, "is nested too deeply");
            return Value::Null;
        }
        if self.report.problems.is_full() || !self.right_type(value, schema, path) {
            return Value::Null;
        }
        match value {
            Value::Object(map) => Value::Object(self.object(map, schema, path, depth)),
            Value::Array(items) => {
                let item = schema.get("items").unwrap_or(&Value::Bool(true));
                let walk = |(index, value)| self.value(value, item, &join(path, &format!("[{index}]")), depth + 1);
                Value::Array(items.iter().enumerate().map(walk).collect())
            }
            other => {
                self.scalar(other, schema, path);
                other.clone()
            }
        }
    }

    fn object(&mut self, map: &Map<String, Value>, schema: &Value, path: &str, depth: usize) -> Map<String, Value> {
        let known = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties").filter(|others| others.is_object());
        let free = known.is_none() && others.is_none();
        let mut out = Map::new();
        for (key, value) in map {
            if free {
                out.insert(key.clone(), value.clone());
                continue;
            }
            let at = join(path, key);
            let exact = known.and_then(|known| known.get_key_value(key));
            // An exact key wins over one in another case, whichever comes first.
            let similar = || known?.iter().find(|(name, _)| name.eq_ignore_ascii_case(key) && !map.contains_key(*name));
            match (exact.or_else(similar), others) {
                (Some(_), _) if value.is_null() => {}
                (Some((name, schema)), _) => {
                    if name != key {
                        self.report.warn(&at, &format!("is read as {name}"));
                    }
                    let value = self.value(value, schema, &join(path, name), depth + 1);
                    out.insert(name.clone(), value);
                }
                (None, Some(schema)) => {
                    let value = self.value(value, schema, &at, depth + 1);
                    out.insert(key.clone(), value);
                }
                (None, None) => self.report.warn(&at, "is not known and has no effect"),
            }
        }
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            self.report.problems.require(out.contains_key(name), join(path, name), "is required");
        }
        out
    }

    fn right_type(&mut self, value: &Value, schema: &Value, path: &str) -> bool {
        let fits = |name: &str| match name {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "null" => value.is_null(),
            _ => false,
        };
        let names: Vec<&str> = match schema.get("type") {
            Some(Value::String(name)) => vec![name],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ => return true,
        };
        let good = names.iter().any(|name| fits(name));
        if !good {
            let wanted: Vec<&str> = names.into_iter().filter(|name| *name != "null").collect();
            self.report.problems.add(path, format!("must be of type {}", wanted.join(" or ")));
        }
        good
    }

    fn scalar(&mut self, value: &Value, schema: &Value, path: &str) {
        let problems = &mut self.report.problems;
        if let Some(allowed) = schema.get("enum").and_then(Value::as_array) {
            let list: Vec<String> = allowed.iter().filter(|value| !value.is_null()).map(Value::to_string).collect();
            problems.require(allowed.contains(value), path, format!("must be one of {}", list.join(", ")));
        }
        if let Some(number) = value.as_f64() {
            let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
            if let Some(least) = bound("minimum").filter(|least| number < *least) {
                problems.add(path, format!("must be at least {least}"));
            }
            if let Some(most) = bound("maximum").filter(|most| number > *most) {
                problems.add(path, format!("must be at most {most}"));
            }
        }
        if let (Some(text), Some("duration")) = (value.as_str(), schema.get("format").and_then(Value::as_str))
            && let Err(message) = text.parse::<GoDuration>()
        {
            problems.add(path, message);
        }
    }
}
