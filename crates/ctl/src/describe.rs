//! `describe`: specs whole, each with what every node says of it.

use serde_json::{Map, Value, json};

use crate::{
    Error, Output, Streams, get,
    get::{StatusKey, Wanted},
    kinds::Resource,
    print::{escaped, inline, text, write_documents, write_json, yaml_text},
    server::Server,
};

/// Width at which lines are cut, and what ends such a line.
const COLUMNS: usize = 50;
const CUT: &str = "...";
/// Keys that stand in front, and what stands behind all.
const FIRST: [&str; 4] = ["name", "kind", "namespace", "version"];
const LAST: &str = "allStatus";

pub(crate) async fn describe(
    server: &Server,
    wanted: Wanted<'_>,
    verbose: bool,
    output: Output,
    streams: &mut Streams<'_>,
) -> Result<bool, Error> {
    let (resource, name) = wanted.resolve(server, "describe customdata KIND").await?;
    let values = match (&resource, name) {
        (Some(Resource::Members), _) => get::members(server, name).await?,
        (Some(Resource::DataKinds), _) => get::data_kinds(server, name).await?,
        (Some(Resource::Data), Some(kind)) => get::data(server, kind, None).await?,
        (resource, _) => {
            let found = get::objects(server, resource.as_ref(), name, wanted.namespaces).await?;
            let statuses = server.get("/status/objects").await?;
            let asked = wanted.namespaces.namespace.as_deref();
            found.into_iter().map(|found| with_status(found, asked, &statuses)).collect()
        }
    };
    match output {
        Output::Json => write_json(streams.out, &Value::Array(values))?,
        Output::Yaml => write_documents(streams.out, &values)?,
        Output::Default | Output::Table => {
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    writeln!(streams.out, "\n---\n")?;
                }
                for line in sections(value)?.lines() {
                    writeln!(streams.out, "{}", if verbose { line.to_owned() } else { cut(line) })?;
                }
            }
        }
    }
    Ok(true)
}

fn with_status(found: get::Found, asked: Option<&str>, statuses: &Value) -> Value {
    let get::Found { namespace, mut spec } = found;
    let wanted = namespace.as_deref().or(asked).unwrap_or("default");
    let mut all = Vec::new();
    for (key, status) in statuses.as_object().into_iter().flatten() {
        let Some(key) = StatusKey::parse(key) else { continue };
        if key.object != text(&spec, "name") || key.namespace != wanted {
            continue;
        }
        // Some kinds report themselves without a spec beside.
        let status = status.get("status").unwrap_or(status);
        all.push(json!({"node": key.member, "status": status}));
    }
    if let Some(map) = spec.as_object_mut() {
        map.extend(namespace.map(|namespace| ("namespace".to_owned(), Value::from(namespace))));
        map.insert(LAST.to_owned(), Value::Array(all));
    }
    spec
}

/// `Name: demo` and so on: what identifies it, then the other keys by name, the longer ones set off by an empty line.
fn sections(value: &Value) -> Result<String, Error> {
    let none = Map::new();
    let map = value.as_object().unwrap_or(&none);
    let first = FIRST.iter().filter_map(|key| map.get_key_value(*key));
    let mut rest: Vec<_> = map.iter().filter(|(key, _)| !FIRST.contains(&&***key) && *key != LAST).collect();
    rest.sort_by_key(|(key, value)| (is_long(value), key.as_str()));
    let mut out = String::new();
    for (key, value) in first.chain(rest).chain(map.get_key_value(LAST)) {
        let mut letters = key.chars();
        let head: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
        let head = escaped(&head);
        if !is_long(value) {
            out += &format!("{head}: {}\n", inline(value));
            continue;
        }
        out += &format!("\n{head}:\n");
        for line in yaml_text(value)?.lines() {
            out += &format!("  {line}\n");
        }
    }
    Ok(out)
}

fn is_long(value: &Value) -> bool {
    match value {
        Value::Array(values) => !values.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::String(text) => text.contains('\n'),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn cut(line: &str) -> String {
    if line.chars().count() <= COLUMNS {
        return line.to_owned();
    }
    let kept: String = line.chars().take(COLUMNS - CUT.len()).collect();
    kept + CUT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_at_fifty_columns() {
        let line = "é".repeat(50);
        assert_eq!(cut(&line), line);
        let told = cut(&(line + "x"));
        assert_eq!((told.chars().count(), told.ends_with("é...")), (50, true));
    }
}
