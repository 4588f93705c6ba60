//! `apply`, `get`, `delete`.

use std::{collections::BTreeMap, io::Write};

use serde_json::Value;
use tidegate_base::clock;
use tidegate_http::{message::Method, upstream::Answer};

use crate::{
    Error, Output, Streams,
    age::age,
    documents,
    server::{Server, segment},
};

const NOT_FOUND: u16 = 404;

pub(crate) async fn apply(
    server: &Server,
    file: &str,
    dry_run: bool,
    streams: &mut Streams<'_>,
) -> Result<bool, Error> {
    let query = if dry_run { "?dryRun=true" } else { "" };
    let suffix = if dry_run { " (dry run)" } else { "" };
    let mut all = true;
    for documents::Document { kind, name, spec } in documents::read(file, streams.input)? {
        let one = format!("/objects/{}", segment(&name));
        let exists = match server.call(Method::Get, &one, None).await {
            Ok(_) => true,
            Err(Error::Refused { status: NOT_FOUND, .. }) => false,
            // Nothing behind it would go better.
            Err(error) => return Err(error),
        };
        let (verb, method, target) = match exists {
            true => ("update", Method::Put, format!("{one}{query}")),
            false => ("create", Method::Post, format!("/objects{query}")),
        };
        match server.call(method, &target, Some(&spec)).await {
            Ok(answer) => {
                writeln!(streams.out, "{verb} {kind} {name} successfully{suffix}")?;
                for warning in warnings(&answer) {
                    writeln!(streams.err, "Warning: {kind} {name}: {warning}")?;
                }
            }
            Err(error) => {
                writeln!(streams.err, "Error: {verb} {kind} {name}: {error}")?;
                all = false;
            }
        }
    }
    Ok(all)
}

fn warnings(answer: &Answer) -> impl Iterator<Item = String> {
    answer.headers.matching("Warning").map(|value| {
        let text = String::from_utf8_lossy(value);
        text.split_once('"').map_or(&*text, |(_, quoted)| quoted.trim_end_matches('"')).to_owned()
    })
}

pub(crate) async fn get(
    server: &Server,
    what: Option<&str>,
    name: Option<&str>,
    output: Output,
    streams: &mut Streams<'_>,
) -> Result<bool, Error> {
    let kind = match what {
        None | Some("all") => None,
        Some(what) => resolve(server, what).await?,
    };
    if let (Some(what), None, Some(_)) = (what.filter(|what| *what != "all"), &kind, name) {
        return Err(Error::Local(format!("\"{what}\" is no kind of objects")));
    }
    let name = match (what, &kind, name) {
        (_, _, Some(name)) => Some(name),
        (Some(what), None, None) if what != "all" => Some(what),
        _ => None,
    };
    let mut specs = match name {
        Some(name) => vec![server.get(&format!("/objects/{}", segment(name))).await?],
        None => list(server.get("/objects").await?),
    };
    if let Some(kind) = &kind {
        specs.retain(|spec| spec["kind"] == **kind);
        if let (Some(name), true) = (name, specs.is_empty()) {
            return Err(Error::Refused { status: NOT_FOUND, message: format!("{name} is no {kind}") });
        }
    }
    match output {
        Output::Json if name.is_some() => write_json(streams.out, &specs[0])?,
        Output::Json => write_json(streams.out, &Value::Array(specs))?,
        Output::Yaml => write_yaml(streams.out, &specs)?,
        Output::Table => {
            let statuses = server.get("/status/objects").await?;
            table(streams.out, &specs, &statuses)?;
        }
    }
    Ok(true)
}

pub(crate) async fn delete(
    server: &Server,
    kind: Option<&str>,
    names: &[String],
    file: Option<&str>,
    streams: &mut Streams<'_>,
) -> Result<bool, Error> {
    let mut doomed = Vec::new();
    if let Some(file) = file {
        doomed.extend(documents::read(file, streams.input)?.into_iter().map(|document| (document.kind, document.name)));
    } else if let Some(given) = kind {
        let Some(kind) = resolve(server, given).await? else {
            return Err(Error::Local(format!("{given} is not a kind that the server has")));
        };
        doomed.extend(names.iter().map(|name| (kind.clone(), name.clone())));
    }
    let mut all = true;
    for (kind, name) in doomed {
        match delete_one(server, &kind, &name).await {
            Ok(()) => writeln!(streams.out, "delete {kind} {name} successfully")?,
            Err(error @ Error::Unreachable { .. }) => return Err(error),
            Err(error) => {
                writeln!(streams.err, "Error: delete {kind} {name}: {error}")?;
                all = false;
            }
        }
    }
    Ok(all)
}

/// The kind is looked at first: names are one space, and a slip of the kind must not delete something else.
async fn delete_one(server: &Server, kind: &str, name: &str) -> Result<(), Error> {
    let target = format!("/objects/{}", segment(name));
    let found = server.get(&target).await?;
    if found["kind"] != *kind {
        return Err(Error::Refused { status: NOT_FOUND, message: format!("{name} is no {kind}") });
    }
    server.call(Method::Delete, &target, None).await.map(drop)
}

/// The kind that `word` stands for: its name in any case, or one of its short forms.
async fn resolve(server: &Server, word: &str) -> Result<Option<String>, Error> {
    let resources = list(server.get("/object-api-resources").await?);
    let fits = |value: &Value| value.as_str().is_some_and(|text| text.eq_ignore_ascii_case(word));
    let found = resources.iter().find(|resource| {
        fits(&resource["Kind"])
            || fits(&resource["Name"])
            || resource["Aliases"].as_array().is_some_and(|a| a.iter().any(fits))
    });
    Ok(found.and_then(|resource| resource["Kind"].as_str()).map(ToOwned::to_owned))
}

fn list(value: Value) -> Vec<Value> {
    if let Value::Array(values) = value { values } else { Vec::new() }
}

pub(crate) fn write_json(out: &mut dyn Write, value: &Value) -> Result<(), Error> {
    writeln!(out, "{value:#}")?;
    Ok(())
}

fn write_yaml(out: &mut dyn Write, specs: &[Value]) -> Result<(), Error> {
    for (index, spec) in specs.iter().enumerate() {
        let text = serde_yaml_ng::to_string(spec).map_err(|error| Error::Local(error.to_string()))?;
        write!(out, "{}{text}", if index == 0 { "" } else { "---\n" })?;
    }
    Ok(())
}

fn table(out: &mut dyn Write, specs: &[Value], statuses: &Value) -> Result<(), Error> {
    let now = clock::wall().as_secs();
    let mut health: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (key, status) in statuses.as_object().into_iter().flatten() {
        // NAMESPACE/OBJECT/MEMBER
        let mut parts = key.splitn(3, '/').skip(1);
        let (Some(name), Some(member)) = (parts.next(), parts.next()) else { continue };
        let told = status["status"]["health"].as_str().unwrap_or_default();
        let warned = status["status"]["warnings"].as_array().map_or(0, Vec::len);
        let told = match (told, warned) {
            ("", 0) => String::new(),
            ("", 1) => format!("{member}: 1 warning"),
            ("", warned) => format!("{member}: {warned} warnings"),
            (told, _) => format!("{member}: {}", told.lines().next().unwrap_or_default()),
        };
        health.entry(name).or_default().push(told);
    }
    let row = |spec: &Value| {
        let text = |key: &str| spec[key].as_str().unwrap_or_default().to_owned();
        let status = health.get(spec["name"].as_str().unwrap_or_default()).map(|told| {
            let told: Vec<_> = told.iter().filter(|told| !told.is_empty()).map(String::as_str).collect();
            if told.is_empty() { "ok".to_owned() } else { told.join("; ") }
        });
        [
            text("name"),
            text("kind"),
            age(spec["createdAt"].as_str(), now),
            status.unwrap_or_else(|| "pending".to_owned()),
        ]
    };
    let rows: Vec<_> = specs.iter().map(row).collect();
    write_table(out, ["NAME", "KIND", "AGE", "STATUS"], &rows)
}

/// Columns as wide as their widest text; the last one ends where its text does.
pub(crate) fn write_table<const N: usize>(
    out: &mut dyn Write,
    heads: [&str; N],
    rows: &[[String; N]],
) -> Result<(), Error> {
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).chain([heads[column].len()]).max().unwrap_or(0)
    });
    let mut line = |texts: [&str; N]| {
        let mut text = String::new();
        for (cell, width) in texts.into_iter().zip(widths) {
            text += &format!("{cell:width$}   ");
        }
        writeln!(out, "{}", text.trim_end())
    };
    line(heads)?;
    for row in rows {
        line(std::array::from_fn(|column| row[column].as_str()))?;
    }
    Ok(())
}
