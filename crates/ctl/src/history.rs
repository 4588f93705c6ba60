//! `history` and `rollback`: the versions of an object that the store keeps.

use serde_json::Value;
use tidegate_base::clock;
use tidegate_http::message::Method;

use crate::{
    Error, Output, Streams,
    age::age,
    apply,
    kinds::{self, Resource},
    print::{inline, list, write_table, write_value},
    server::{Server, segment},
};

pub(crate) async fn history(
    server: &Server,
    (kind, name): (&str, &str),
    output: Output,
    streams: &mut Streams<'_>,
) -> Result<bool, Error> {
    let versions = versions(server, kind, name).await?.1;
    if matches!(output, Output::Json | Output::Yaml) {
        write_value(streams.out, output, &Value::Array(versions))?;
        return Ok(true);
    }
    let now = clock::wall().as_secs();
    let blank = |value: &Value| if value.is_null() { String::new() } else { inline(value) };
    let row = |version: &Value| {
        let [number, revision, who, action] = ["version", "revision", "who", "action"].map(|key| blank(&version[key]));
        [number, revision, age(version["time"].as_str(), now), who, action]
    };
    let rows: Vec<_> = versions.iter().map(row).collect();
    write_table(streams.out, &["VERSION", "REVISION", "AGE", "WHO", "ACTION"], &rows)?;
    Ok(true)
}

pub(crate) async fn rollback(
    server: &Server,
    (kind, name): (&str, &str),
    to: Option<u64>,
    streams: &mut Streams<'_>,
) -> Result<bool, Error> {
    let (kind, versions) = versions(server, kind, name).await?;
    let number = |version: &Value| version["version"].as_u64();
    let newest = versions.iter().filter_map(number).max();
    // A deletion brings nothing back.
    let specs = versions.iter().filter(|version| version["action"] != "delete").filter_map(number);
    let before = specs.filter(|number| Some(*number) != newest).max();
    let none = || Error::Local(format!("{name} has no version before its newest"));
    let to = to.or(before).ok_or_else(none)?;
    let target = format!("/objects/{}/rollback?version={to}", segment(name));
    let answer = server.call(Method::Post, &target, None).await?;
    writeln!(streams.out, "rollback {kind} {name} to {to} successfully")?;
    for warning in apply::warnings(&answer) {
        writeln!(streams.err, "Warning: {kind} {name}: {warning}")?;
    }
    Ok(true)
}

/// The kind's full name, and the versions as the node lists them.
async fn versions(server: &Server, kind: &str, name: &str) -> Result<(String, Vec<Value>), Error> {
    let resource = kinds::need(server, kind).await?;
    let Resource::Objects(kind) = resource else {
        return Err(Error::Local(format!("{} has no versions", resource.kind())));
    };
    let target = format!("/objects/{}", segment(name));
    match server.get(&target).await {
        Ok(found) if found["kind"] != *kind => {
            return Err(Error::not_found(format!("{name} is no {kind}")));
        }
        // One that was deleted still has its versions.
        Ok(_) => {}
        Err(error) if error.is_absent() => {}
        Err(error) => return Err(error),
    }
    Ok((kind, list(server.get(&format!("{target}/versions")).await?)))
}
