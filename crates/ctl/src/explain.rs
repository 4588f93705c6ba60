//! `explain`: what a node's JSON schemas say of a kind and its fields.
//!
//! Schemas of filters come from `/metadata/objects/pipeline/filters/{kind}/schema`, those of objects from
//! `/metadata/objects/{kind}/schema`.

use serde_json::Value;

use crate::{
    Error, Output, Streams, kinds,
    print::{inline, list, write_table, write_value},
    server::{Server, segment},
};

/// Most steps from one reference to the next: a schema may go in circles.
const STEPS_MAX: usize = 16;

pub(crate) async fn explain(
    server: &Server,
    path: &str,
    output: Output,
    streams: &mut Streams<'_>,
) -> Result<bool, Error> {
    let (word, path) = path.split_once('.').unwrap_or((path, ""));
    let (kind, what, root) = schema(server, word).await?;
    let found = Field::find(&root, path).map_err(|told| Error::Local(format!("{kind}: {told}")))?;
    if matches!(output, Output::Json | Output::Yaml) {
        write_value(streams.out, output, &found.schema)?;
        return Ok(true);
    }
    writeln!(streams.out, "KIND       {kind} ({what})")?;
    if !found.path.is_empty() {
        writeln!(streams.out, "FIELD      {}", found.path)?;
    }
    writeln!(streams.out, "TYPE       {}", type_of(&root, &found.schema))?;
    if let Some(default) = found.schema.get("default") {
        writeln!(streams.out, "DEFAULT    {}", inline(default))?;
    }
    if !found.path.is_empty() {
        writeln!(streams.out, "REQUIRED   {}", if found.required { "yes" } else { "no" })?;
    }
    if let Some(text) = found.schema["description"].as_str() {
        writeln!(streams.out, "\n{text}")?;
    }
    let rows = fields(&root, &found.schema);
    if !rows.is_empty() {
        writeln!(streams.out)?;
        write_table(streams.out, &["FIELD", "TYPE", "DEFAULT", "REQUIRED", "DESCRIPTION"], &rows)?;
    }
    Ok(true)
}

/// Full name of the kind, what it is a kind of, and its schema.
async fn schema(server: &Server, word: &str) -> Result<(String, &'static str, Value), Error> {
    let filters = list(server.get("/metadata/objects/pipeline/filters").await?);
    let mut filters = filters.iter().filter_map(Value::as_str);
    if let Some(kind) = filters.find(|kind| kind.eq_ignore_ascii_case(word)) {
        let target = format!("/metadata/objects/pipeline/filters/{}/schema", segment(kind));
        return Ok((kind.to_owned(), "filter", server.get(&target).await?));
    }
    let resource = kinds::find(server, word).await?;
    let resource = resource.ok_or_else(|| Error::Local(format!("{word} is neither a kind of object nor of filter")))?;
    let kind = resource.kind().to_owned();
    match server.get(&format!("/metadata/objects/{}/schema", segment(&kind))).await {
        Ok(schema) => Ok((kind, "object", schema)),
        Err(error) if matches!(error.status(), Some(404 | 501)) => {
            Err(Error::Local(format!("the node does not tell the schema of {kind}")))
        }
        Err(error) => Err(error),
    }
}

/// A place in a schema.
struct Field {
    /// As the schema writes it: in its case, with `[]` behind lists and `{}` behind maps.
    path: String,
    /// With references followed.
    schema: Value,
    required: bool,
}

impl Field {
    /// Lists and maps on the way are stepped into; names count in any case, as in specs.
    fn find(root: &Value, path: &str) -> Result<Self, String> {
        let mut at = Self { path: String::new(), schema: followed(root, root), required: true };
        for word in
            path.split('.').map(|word| word.split('[').next().unwrap_or_default()).filter(|word| !word.is_empty())
        {
            let mut inner = at.schema;
            for _ in 0..STEPS_MAX {
                let (mark, next) = match (&inner["items"], &inner["additionalProperties"]) {
                    (items @ Value::Object(_), _) => ("[]", items),
                    (_, values @ Value::Object(_)) if inner["properties"].is_null() => ("{}", values),
                    _ => break,
                };
                at.path += mark;
                inner = followed(root, next);
            }
            let none = serde_json::Map::new();
            let known = inner["properties"].as_object().unwrap_or(&none);
            let exact = known.get_key_value(word);
            let found = exact.or_else(|| known.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)));
            let Some((name, next)) = found else {
                let place = if at.path.is_empty() { "it".to_owned() } else { at.path };
                let names: Vec<_> = known.keys().map(String::as_str).collect();
                let names = if names.is_empty() { "no fields".to_owned() } else { names.join(", ") };
                return Err(format!("there is no {word}; {place} has {names}"));
            };
            let dot = if at.path.is_empty() { "" } else { "." };
            at.path = format!("{}{dot}{name}", at.path);
            at.required = is_required(&inner, name);
            at.schema = followed(root, next);
        }
        Ok(at)
    }
}

fn is_required(schema: &Value, name: &str) -> bool {
    schema["required"].as_array().is_some_and(|names| names.iter().any(|known| known == name))
}

/// The schema that `schema` stands for: references, what is optional, and lists of one are followed. What is said beside a
/// reference counts more than what it leads to.
fn followed(root: &Value, schema: &Value) -> Value {
    let mut at = schema.clone();
    for _ in 0..STEPS_MAX {
        let next = match (&at["$ref"], alternatives(&at)) {
            (Value::String(reference), _) => reference.strip_prefix('#').and_then(|path| root.pointer(path)).cloned(),
            (_, Some(only)) => Some(only.clone()),
            _ => None,
        };
        let Some(Value::Object(mut next)) = next else { break };
        for (key, value) in at.as_object().into_iter().flatten() {
            if !matches!(&**key, "$ref" | "anyOf" | "oneOf" | "allOf") {
                next.insert(key.clone(), value.clone());
            }
        }
        at = Value::Object(next);
    }
    at
}

/// The only alternative that is not null.
fn alternatives(schema: &Value) -> Option<&Value> {
    let all = ["anyOf", "oneOf", "allOf"].iter().find_map(|key| schema[key].as_array())?;
    let mut real = all.iter().filter(|one| one["type"] != "null");
    let first = real.next()?;
    real.next().is_none().then_some(first)
}

/// `string`, `[]object`, `map of string`, `GET or PUT`, and the bounds of numbers.
fn type_of(root: &Value, schema: &Value) -> String {
    let mut schema = followed(root, schema);
    let mut lists = String::new();
    for _ in 0..STEPS_MAX {
        if !schema["items"].is_object() {
            break;
        }
        lists += "[]";
        schema = followed(root, &schema["items"]);
    }
    let one = schema["type"].as_array().and_then(|names| names.iter().find(|name| **name != "null"));
    let mut name = inline(one.unwrap_or(&schema["type"]));
    let constants = schema["oneOf"].as_array().into_iter().flatten().map(|one| &one["const"]);
    let values = schema["enum"].as_array().into_iter().flatten().chain(constants);
    let values: Vec<String> = values.filter(|value| !value.is_null()).map(inline).collect();
    if !values.is_empty() {
        name = values.join(" or ");
    } else if name == "object" && schema["properties"].is_null() && schema["additionalProperties"].is_object() {
        name = format!("map of {}", inline(&followed(root, &schema["additionalProperties"])["type"]));
    } else if name == "null" {
        name = "any".to_owned();
    }
    let limits = [("minimum", "at least"), ("maximum", "at most")];
    let limits = limits.iter().filter_map(|(key, words)| Some(format!("{words} {}", inline(schema.get(*key)?))));
    let limits: Vec<_> = limits.collect();
    let limits = if limits.is_empty() { String::new() } else { format!(", {}", limits.join(", ")) };
    format!("{lists}{name}{limits}")
}

/// The fields of what `schema` holds, lists and maps stepped into.
fn fields(root: &Value, schema: &Value) -> Vec<[String; 5]> {
    let mut schema = schema.clone();
    for _ in 0..STEPS_MAX {
        let inner = [&schema["items"], &schema["additionalProperties"]].into_iter().find(|inner| inner.is_object());
        let Some(inner) = inner.filter(|_| schema["properties"].is_null()) else { break };
        schema = followed(root, inner);
    }
    let row = |(name, field): (&String, &Value)| {
        let required = if is_required(&schema, name) { "yes" } else { "no" };
        let known = followed(root, field);
        let text = sentence(known["description"].as_str().unwrap_or_default());
        let default = known.get("default").filter(|default| !default.is_null()).map(inline).unwrap_or_default();
        [name.clone(), type_of(root, field), default, required.to_owned(), text]
    };
    schema["properties"].as_object().into_iter().flatten().map(row).collect()
}

/// The first sentence, or the first paragraph, on one line.
fn sentence(text: &str) -> String {
    let lines: Vec<&str> = text.lines().take_while(|line| !line.trim().is_empty()).collect();
    let text = lines.join(" ");
    text.split_once(". ").map_or(text.clone(), |(first, _)| format!("{first}."))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_cell_holds_one_sentence() {
        for (text, expected) in [
            ("", ""),
            ("One\nsentence. Two.", "One sentence."),
            ("A part\nonly\n\nNext.", "A part only"),
            ("Such as 1.5.", "Such as 1.5."),
        ] {
            assert_eq!(super::sentence(text), expected);
        }
    }
}
