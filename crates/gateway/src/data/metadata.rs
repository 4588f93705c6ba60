//! What tools ask about the kinds of filters.

use serde_json::{Map, Value, json};
use tidegate_pipeline::FilterKind;

use crate::objects::FilterInfo;

/// Deepest chain of references that is resolved; one that goes round ends here, as a schema that takes anything.
const DEPTH_MAX: usize = 16;

pub(super) fn describe(kind: &'static dyn FilterKind) -> FilterInfo {
    let root = kind.schema();
    let mut schema = inline(&root, &root, 0);
    let description = schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Value::Object(schema) = &mut schema {
        schema.shift_remove("$defs");
        add_metadata(schema);
    }
    let mut results = kind.results().to_vec();
    results.sort_unstable();
    FilterInfo { description, schema, results }
}

/// The keys that every filter has: the schema of a kind knows its own only.
fn add_metadata(schema: &mut Map<String, Value>) {
    let mut properties = Map::new();
    properties
        .insert("name".to_owned(), json!({"type": "string", "description": "Name of the filter in its pipeline."}));
    properties.insert("kind".to_owned(), json!({"type": "string", "description": "Kind of the filter."}));
    if let Some(Value::Object(own)) = schema.shift_remove("properties") {
        properties.extend(own);
    }
    schema.insert("properties".to_owned(), properties.into());
    let own = match schema.shift_remove("required") {
        Some(Value::Array(own)) => own,
        _ => Vec::new(),
    };
    let required: Vec<Value> = [json!("name"), json!("kind")].into_iter().chain(own).collect();
    schema.insert("required".to_owned(), required.into());
}

fn inline(schema: &Value, root: &Value, depth: usize) -> Value {
    match schema {
        Value::Object(map) => {
            let mut out = Map::new();
            if let Some(pointer) = map.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix('#'))
                && depth < DEPTH_MAX
                && let Some(target) = root.pointer(pointer)
                && let Value::Object(target) = inline(target, root, depth + 1)
            {
                out = target;
            }
            // What stands beside the reference is about this use of it.
            for (key, value) in map.iter().filter(|(key, _)| *key != "$ref") {
                out.insert(key.clone(), if key == "$defs" { value.clone() } else { inline(value, root, depth) });
            }
            Value::Object(out)
        }
        Value::Array(items) => items.iter().map(|item| inline(item, root, depth)).collect(),
        other => other.clone(),
    }
}
