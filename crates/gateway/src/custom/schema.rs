//! JSON schemas of users' kinds.
//!
//! They come from the network: nothing is fetched that they refer to, regular expressions are those that take linear time, and
//! their size is limited, as what is made of them is not measured.

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// Longest schema, as JSON.
pub(crate) const SCHEMA_BYTES_MAX: usize = 64 << 10;
/// Deepest nesting of a schema.
const DEPTH_MAX: usize = 32;
/// Most that one expression may take when it is compiled, in bytes, and all of them, in number.
const REGEX_BYTES_MAX: usize = 256 << 10;
const PATTERNS_MAX: usize = 64;
/// Problems of a record that are told, and their length: an error repeats what the record says.
const PROBLEMS_MAX: usize = 10;
const TEXT_BYTES_MAX: usize = 256;
/// What is leased while a schema is used: a few times its text, and its expressions.
pub(crate) const USE_BYTES: u64 = 2 << 20;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SchemaError {
    #[error("must be an object or a truth value")]
    Type,
    #[error(
        "is larger than {SCHEMA_BYTES_MAX} bytes, nested more than {DEPTH_MAX} deep, or has more than {PATTERNS_MAX} patterns"
    )]
    TooLarge,
    #[error("{0}")]
    Wrong(String),
}

pub(crate) struct Schema(Validator);

impl Schema {
    pub(crate) fn new(schema: &Value) -> Result<Self, SchemaError> {
        if !(schema.is_object() || schema.is_boolean()) {
            return Err(SchemaError::Type);
        }
        let mut patterns = 0;
        if !small(schema, 0, &mut patterns) || schema.to_string().len() > SCHEMA_BYTES_MAX {
            return Err(SchemaError::TooLarge);
        }
        let patterns = PatternOptions::regex().size_limit(REGEX_BYTES_MAX).dfa_size_limit(REGEX_BYTES_MAX);
        let built = jsonschema::options().with_pattern_options(patterns).build(schema);
        built.map(Self).map_err(|error| SchemaError::Wrong(short(error.to_string())))
    }

    /// # Errors
    /// The first problems of a record.
    pub(crate) fn check(&self, item: &Value) -> Result<(), String> {
        let told = |error: jsonschema::ValidationError<'_>| {
            let path = error.instance_path().to_string();
            let path = if path.is_empty() { "/" } else { &path };
            short(format!("{path}: {}", error.masked()))
        };
        let problems: Vec<String> = self.0.iter_errors(item).take(PROBLEMS_MAX).map(told).collect();
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    }
}

fn small(schema: &Value, depth: usize, patterns: &mut usize) -> bool {
    if depth > DEPTH_MAX {
        return false;
    }
    match schema {
        Value::Object(map) => map.iter().all(|(key, value)| {
            *patterns += usize::from(key == "pattern");
            *patterns += value.as_object().filter(|_| key == "patternProperties").map_or(0, serde_json::Map::len);
            *patterns <= PATTERNS_MAX && small(value, depth + 1, patterns)
        }),
        Value::Array(items) => items.iter().all(|item| small(item, depth + 1, patterns)),
        _ => true,
    }
}

fn short(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn records_are_checked_and_all_problems_told() {
        let schema = json!({
            "type": "object",
            "required": ["name", "age"],
            "properties": {"age": {"type": "integer", "minimum": 0}, "mail": {"type": "string", "pattern": "^[^@]+@[^@]+$"}},
        });
        let schema = Schema::new(&schema).unwrap();
        assert_eq!(schema.check(&json!({"name": "a", "age": 3, "mail": "a@b"})), Ok(()));
        let told = schema.check(&json!({"age": -1, "mail": "secret"})).unwrap_err();
        assert!(told.contains("/age") && told.contains("/mail") && told.contains("name"), "{told}");
        assert!(!told.contains("secret"), "{told}");
    }

    #[test]
    fn schemas_that_do_harm_are_refused_or_harmless() {
        let check = |schema: Value, expected: Option<&str>| {
            let told = Schema::new(&schema).err().map(|error| error.to_string());
            assert_eq!(told.is_some(), expected.is_some(), "{schema}: {told:?}");
            assert!(told.clone().unwrap_or_default().contains(expected.unwrap_or_default()), "{schema}: {told:?}");
        };
        check(json!(true), None);
        check(json!(3), Some("must be an object"));
        check(json!({"type": 3}), Some(""));
        check(json!({"$ref": "http://127.0.0.1:1/x"}), Some(""));
        check(json!({"$ref": "file:///etc/passwd"}), Some(""));
        check(json!({"pattern": "(a{999}){999}"}), Some(""));
        check(json!({"pattern": "("}), Some(""));
        check(json!({"description": "x".repeat(SCHEMA_BYTES_MAX)}), Some("larger"));
        let deep = (0..100).fold(json!({}), |inner, _| json!({"not": inner}));
        check(deep, Some("nested"));
        let many: serde_json::Map<String, Value> = (0..100).map(|n| (format!("^{n}"), json!({}))).collect();
        check(json!({"patternProperties": many}), Some("patterns"));
        for round in [json!({"$ref": "#"}), json!({"allOf": [{"$ref": "#"}]})] {
            assert_eq!(Schema::new(&round).unwrap().check(&json!({"a": 1})), Ok(()), "{round}");
        }
        let slow = Schema::new(&json!({"pattern": "(a+)+$"})).unwrap();
        assert!(slow.check(&json!("a".repeat(10_000) + "!")).is_err());
    }
}
