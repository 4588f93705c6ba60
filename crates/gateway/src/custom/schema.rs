//! JSON schemas of users' kinds.
//!
//! They come from the network: nothing is fetched that they refer to, regular expressions are those that take linear time, and
//! their size is limited, as what is made of them is not measured.

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// Longest schema, as JSON.
pub(crate) const SCHEMA_BYTES_MAX: usize = 64 << 10;
/// Most values of a schema, and their deepest nesting, with every reference replaced by what it names.
const NODES_MAX: usize = 4096;
const DEPTH_MAX: usize = 64;
/// Most that one expression may take when it is compiled, in bytes, and all of them, in number.
const REGEX_BYTES_MAX: usize = 16 << 10;
const PATTERNS_MAX: usize = 64;
/// An expression costs as much as so many other values of a schema.
const PATTERN_NODES: u64 = 32;
/// Bytes of text that cost as much as one value.
const TEXT_BYTES: usize = 8;
/// Most that the check of all records of one request may cost, in pairs of a value of the schema and one of a record.
const WORK_MAX: u64 = 1 << 25;
/// Most pairs of one record for which it is told what is wrong: there may be an error for each of them, of some 256 bytes.
const TOLD_MAX: u64 = 8 << 10;
/// Longest text of a problem: an error repeats what the record says.
const TEXT_BYTES_MAX: usize = 256;
/// What is leased while a schema is used: its expressions, each compiled forwards and backwards or with a cache of as much; the
/// schema as values, in the validator and compiled, of some 300 bytes each; and errors.
pub(crate) const USE_BYTES: u64 =
    (2 * PATTERNS_MAX * REGEX_BYTES_MAX + 3 * 300 * NODES_MAX + SCHEMA_BYTES_MAX) as u64 + 256 * TOLD_MAX;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SchemaError {
    #[error("must be an object or a truth value")]
    Type,
    #[error(
        "is larger than {SCHEMA_BYTES_MAX} bytes, has more than {PATTERNS_MAX} patterns, or with its references replaced by what \
         they name has more than {NODES_MAX} values or is nested more than {DEPTH_MAX} deep; what refers to itself is"
    )]
    TooLarge,
    #[error("{0}: a reference must be a `$ref` to a place in the schema, such as `#/$defs/NAME`")]
    Reference(String),
    #[error("{0}")]
    Wrong(String),
}

pub(crate) struct Schema {
    validator: Validator,
    /// What it costs to check one value by it, at most.
    cost: u64,
}

/// What checks of one request may still cost.
pub(crate) struct Work(u64);

impl Default for Work {
    fn default() -> Self {
        Self(WORK_MAX)
    }
}

impl Schema {
    pub(crate) fn new(schema: &Value) -> Result<Self, SchemaError> {
        if !(schema.is_object() || schema.is_boolean()) {
            return Err(SchemaError::Type);
        }
        let mut expansion = Expansion::of(schema);
        expansion.add(schema, 0, 0)?;
        if schema.to_string().len() > SCHEMA_BYTES_MAX {
            return Err(SchemaError::TooLarge);
        }
        let patterns = PatternOptions::regex().size_limit(REGEX_BYTES_MAX).dfa_size_limit(REGEX_BYTES_MAX);
        let built = jsonschema::options().with_pattern_options(patterns).build(schema);
        let validator = built.map_err(|error| SchemaError::Wrong(short(error.to_string())))?;
        let cost = expansion.nodes as u64 + expansion.patterns as u64 * PATTERN_NODES;
        Ok(Self { validator, cost })
    }

    /// # Errors
    /// The first problem of a record. What is wrong with a large one is not told: for some keywords the validator gathers every
    /// error below them.
    pub(crate) fn check(&self, item: &Value, work: &mut Work) -> Result<(), String> {
        let cost = self.cost * weight(item);
        work.0 = work.0.checked_sub(cost).ok_or("too large to be checked by the kind's jsonSchema")?;
        if self.validator.is_valid(item) {
            return Ok(());
        }
        if cost > TOLD_MAX {
            return Err("does not fit the kind's jsonSchema".to_owned());
        }
        self.validator.validate(item).map_err(|error| {
            let path = error.instance_path().to_string();
            let path = if path.is_empty() { "/" } else { &path };
            short(format!("{path}: {}", error.masked()))
        })
    }
}

/// A schema with its references replaced, measured.
struct Expansion<'a> {
    root: &'a Value,
    /// Whether `id` is what later drafts call `$id`.
    old: bool,
    nodes: usize,
    patterns: usize,
}

impl<'a> Expansion<'a> {
    fn of(root: &'a Value) -> Self {
        let draft = root.get("$schema").and_then(Value::as_str);
        Self { root, old: draft.is_some_and(|draft| draft.contains("draft-04")), nodes: 0, patterns: 0 }
    }

    /// `again`: how many keywords around it have everything below them looked at again.
    fn add(&mut self, schema: &'a Value, depth: usize, again: u32) -> Result<(), SchemaError> {
        self.nodes = self.nodes.saturating_add(1_usize.checked_shl(2 * again).unwrap_or(usize::MAX));
        if depth > DEPTH_MAX || self.nodes > NODES_MAX || self.patterns > PATTERNS_MAX {
            return Err(SchemaError::TooLarge);
        }
        match schema {
            Value::Object(map) => {
                let unevaluated = ["unevaluatedProperties", "unevaluatedItems"];
                let again = again + u32::from(unevaluated.iter().any(|key| map.contains_key(*key)));
                for (key, value) in map {
                    self.keyword(key, value, depth, again)?;
                    self.add(value, depth + 1, again)?;
                }
                Ok(())
            }
            Value::Array(items) => items.iter().try_for_each(|item| self.add(item, depth + 1, again)),
            _ => Ok(()),
        }
    }

    fn keyword(&mut self, key: &str, value: &'a Value, depth: usize, again: u32) -> Result<(), SchemaError> {
        match (key, value) {
            ("pattern", Value::String(_)) => self.patterns += 1,
            ("patternProperties", Value::Object(map)) => self.patterns += map.len(),
            ("$ref", Value::String(text)) => {
                // Without percent escapes: who takes them off, and when, decides what is meant.
                let pointer = text.strip_prefix('#').filter(|pointer| !pointer.contains('%'));
                let target = pointer.and_then(|pointer| self.root.pointer(pointer));
                let target = target.ok_or_else(|| SchemaError::Reference(short(text.clone())))?;
                self.add(target, depth + 1, again)?;
            }
            ("$dynamicRef" | "$recursiveRef", Value::String(_)) => return Err(SchemaError::Reference(key.to_owned())),
            // References below it would mean another place.
            ("$id", Value::String(_)) if depth > 0 => return Err(SchemaError::Reference(key.to_owned())),
            ("id", Value::String(_)) if depth > 0 && self.old => return Err(SchemaError::Reference(key.to_owned())),
            _ => {}
        }
        Ok(())
    }
}

/// Values of a record; long texts count as several. It was read with a limit of depth.
fn weight(item: &Value) -> u64 {
    match item {
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.len() / TEXT_BYTES) as u64 + weight(value)).sum::<u64>() + 1
        }
        Value::Array(items) => items.iter().map(weight).sum::<u64>() + 1,
        Value::String(text) => (text.len() / TEXT_BYTES) as u64 + 1,
        _ => 1,
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
    fn records_are_checked_and_the_first_problem_told() {
        let schema = json!({
            "type": "object",
            "required": ["name", "age"],
            "properties": {"age": {"type": "integer", "minimum": 0}, "mail": {"type": "string", "pattern": "^[^@]+@[^@]+$"}},
        });
        let schema = Schema::new(&schema).unwrap();
        let check = |item: Value| schema.check(&item, &mut Work::default());
        assert_eq!(check(json!({"name": "a", "age": 3, "mail": "a@b"})), Ok(()));
        let told = check(json!({"name": "a", "age": 1, "mail": "secret"})).unwrap_err();
        assert!(told.contains("/mail") && !told.contains("secret"), "{told}");
        let told = check(json!({"age": 1})).unwrap_err();
        assert!(told.contains("/: ") && told.contains("name"), "{told}");
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
        let good = json!({"properties": {"a": {"$ref": "#/$defs/b~1c"}}, "$defs": {"b/c": {}}, "unevaluatedProperties": false});
        check(good, None);
        for round in
            [json!({"$ref": "#"}), json!({"allOf": [{"$ref": "#"}]}), json!({"properties": {"a": {"$ref": "#"}}})]
        {
            check(round, Some("itself"));
        }
        // Twice as many with each of forty names, and as many levels of what looks at all below it again.
        let twice = |n: usize| json!({"allOf": [{"$ref": format!("#/$defs/{}", n + 1)}, {"$ref": format!("#/$defs/{}", n + 1)}]});
        let mut names: serde_json::Map<String, Value> = (0..40).map(|n| (n.to_string(), twice(n))).collect();
        names.insert("40".to_owned(), json!({}));
        check(json!({"$defs": names, "$ref": "#/$defs/0"}), Some("values"));
        let again = (0..20).fold(json!({}), |inner, _| json!({"allOf": [inner], "unevaluatedProperties": false}));
        check(again, Some("values"));
        for key in ["$dynamicRef", "$recursiveRef"] {
            check(json!({key: "#"}), Some("$ref"));
        }
        for wrong in ["#name", "other", "#/%24defs", "#/nothing", "http://json-schema.org/draft-07/schema#"] {
            check(json!({"$ref": wrong}), Some("$ref"));
        }
        check(json!({"$id": "http://a/", "properties": {"$ref": {}, "id": {"$id": "http://b/"}}}), Some("$id"));
        let old = "http://json-schema.org/draft-04/schema#";
        check(json!({"$schema": old, "id": "http://a/", "properties": {"id": {"id": "http://b/"}}}), Some("id"));
        let slow = Schema::new(&json!({"pattern": "(a+)+$"})).unwrap();
        assert!(slow.check(&json!("a".repeat(10_000) + "!"), &mut Work::default()).is_err());
    }

    #[test]
    fn what_is_wrong_with_a_large_record_is_not_gathered_and_a_larger_one_not_checked() {
        let all: Vec<Value> = (0..1000).map(|_| json!({"type": "string"})).collect();
        let schema = Schema::new(&json!({"items": {"anyOf": all}})).unwrap();
        let check = |length: usize, work: &mut Work| schema.check(&Value::from(vec![1; length]), work).unwrap_err();
        let mut work = Work::default();
        assert!(check(1, &mut work).starts_with("/0: "));
        assert!(check(10_000, &mut work).contains("does not fit"));
        assert!(check(10_000, &mut work).contains("too large"), "the work of one request is counted together");
        assert!(check(100_000, &mut Work::default()).contains("too large"));
    }
}
