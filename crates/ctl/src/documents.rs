//! Files of objects.

use std::{fs, io::Read};

use serde::Deserialize;
use serde_json::Value;

use crate::{Error, kinds::Resource};

/// Largest file: far above what a node takes.
pub(crate) const FILE_BYTES_MAX: u64 = 64 << 20;

/// One object of a file.
#[derive(Debug, PartialEq)]
pub(crate) struct Document {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) spec: Value,
}

impl Document {
    pub(crate) fn resource(&self) -> Resource {
        Resource::new(&self.kind)
    }
}

pub(crate) fn read(file: &str, input: &mut dyn Read) -> Result<Vec<Document>, Error> {
    parse(&read_text(file, input)?).map_err(|told| Error::Local(format!("{file}: {told}")))
}

/// The one value of a file, which need not be an object's.
pub(crate) fn read_value(file: &str, input: &mut dyn Read) -> Result<Value, Error> {
    let values = values(&read_text(file, input)?).map_err(|told| Error::Local(format!("{file}: {told}")))?;
    match <[Value; 1]>::try_from(values) {
        Ok([value]) => Ok(value),
        Err(values) => Err(Error::Local(format!("{file}: {} documents where one is wanted", values.len()))),
    }
}

fn read_text(file: &str, input: &mut dyn Read) -> Result<String, Error> {
    let wrong = |told: String| Error::Local(format!("{file}: {told}"));
    let mut text = String::new();
    let bytes = match file {
        "-" => input.take(FILE_BYTES_MAX).read_to_string(&mut text),
        path => fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text)),
    };
    if bytes.map_err(|error| wrong(error.to_string()))? as u64 == FILE_BYTES_MAX {
        return Err(wrong(format!("larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// YAML documents, or JSON: an object or a list of them, which is what `get -o json` prints.
fn parse(text: &str) -> Result<Vec<Document>, String> {
    let values = match values(text)?.as_mut_slice() {
        [Value::Array(values)] => std::mem::take(values),
        values => values.iter_mut().map(Value::take).collect(),
    };
    let documents = values.into_iter().enumerate();
    let documents: Vec<Document> =
        documents.map(|(index, spec)| document(index + 1, spec)).collect::<Result<_, _>>()?;
    if documents.is_empty() { Err("no object in it".to_owned()) } else { Ok(documents) }
}

/// YAML documents that are not empty, or one of JSON.
fn values(text: &str) -> Result<Vec<Value>, String> {
    let mut values = match serde_json::from_str::<Value>(text) {
        Ok(value) => vec![value],
        Err(_) => serde_yaml_ng::Deserializer::from_str(text).map(yaml).collect::<Result<Vec<_>, _>>()?,
    };
    values.retain(|value| !value.is_null());
    Ok(values)
}

fn yaml(deserializer: serde_yaml_ng::Deserializer<'_>) -> Result<Value, String> {
    let mut value = serde_yaml_ng::Value::deserialize(deserializer).map_err(|error| error.to_string())?;
    value.apply_merge().map_err(|error| error.to_string())?;
    serde_json::to_value(value).map_err(|error| error.to_string())
}

fn document(number: usize, spec: Value) -> Result<Document, String> {
    let text = |key: &str| {
        let map = spec.as_object()?;
        let exact = map.get(key);
        let value = exact.or_else(|| map.iter().find(|(other, _)| other.eq_ignore_ascii_case(key)).map(|(_, v)| v))?;
        value.as_str().filter(|text| !text.is_empty()).map(ToOwned::to_owned)
    };
    match (text("kind"), text("name")) {
        (Some(kind), Some(name)) => Ok(Document { kind, name, spec }),
        _ => Err(format!("document {number} has no kind and name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_hold_one_object_or_many() {
        let check = |text: &str, expected: &[(&str, &str)]| {
            let documents = parse(text).unwrap();
            let found: Vec<_> = documents.iter().map(|document| (&*document.kind, &*document.name)).collect();
            assert_eq!(found, expected, "{text}");
        };
        check("kind: K\nname: a\n", &[("K", "a")]);
        check("---\nkind: K\nname: a\n---\n# nothing\n---\nkind: L\nName: b\n---\n", &[("K", "a"), ("L", "b")]);
        check("{\"kind\": \"K\",\t\"name\": \"a\"}", &[("K", "a")]);
        check("[{\"kind\": \"K\", \"name\": \"a\"}, {\"kind\": \"K\", \"name\": \"b\"}]", &[("K", "a"), ("K", "b")]);
    }

    #[test]
    fn merges_and_keys_that_are_no_text_become_json() {
        let documents = parse("x: &x {p: 1}\nkind: K\nname: a\ncodes: {200: ok}\ny: {<<: *x, q: 2}\n").unwrap();
        let spec = &documents[0].spec;
        assert_eq!((&spec["codes"]["200"], &spec["y"]["p"]), (&"ok".into(), &1.into()));
    }

    #[test]
    fn what_is_no_file_of_objects_is_told() {
        let check = |text: &str, part: &str| {
            let told = parse(text).unwrap_err();
            assert!(told.contains(part), "{text}: {told}");
        };
        check("", "no object");
        check("a: b: c", "mapping values");
        check("kind: K\nname: a\n---\nkind: K\n", "document 2 has no kind and name");
        check("just text", "document 1");
    }
}
