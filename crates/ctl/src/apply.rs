//! `create -f`, `apply`, and the old `object create` and `object update`.

use std::io::Write;

use serde_json::{Value, json};
use tidegate_http::{message::Method, upstream::Answer};

use crate::{
    Error, Streams,
    documents::{self, Document},
    kinds::Resource,
    server::{self, Server, segment},
};

/// What is done with a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Create,
    Update,
    /// Whichever of the two fits.
    Apply {
        /// Check, and change nothing.
        dry_run: bool,
    },
}

pub(crate) async fn file(server: &Server, file: &str, mode: Mode, streams: &mut Streams<'_>) -> Result<bool, Error> {
    let documents = documents::read(file, streams.input)?;
    all(server, documents, mode, streams).await
}

/// Goes on after a document that is refused, not when the node is gone.
pub(crate) async fn all(
    server: &Server,
    documents: Vec<Document>,
    mode: Mode,
    streams: &mut Streams<'_>,
) -> Result<bool, Error> {
    let mut all = true;
    for document in documents {
        let (verb, sent) = match one(server, &document, mode).await? {
            Ok(done) => done,
            Err((verb, error)) if error.is_of_one() => (verb, Err(error)),
            Err((_, error)) => return Err(error),
        };
        let (kind, name) = (&document.kind, &document.name);
        match sent {
            Ok(answer) => {
                let suffix = if mode == (Mode::Apply { dry_run: true }) { " (dry run)" } else { "" };
                writeln!(streams.out, "{verb} {kind} {name} successfully{suffix}")?;
                for warning in warnings(&answer) {
                    writeln!(streams.err, "Warning: {kind} {name}: {warning}")?;
                }
            }
            Err(error) => {
                let doing = format!("{verb} {kind} {name}");
                match mode {
                    Mode::Apply { dry_run: true } => tell(streams.err, &doing, &error)?,
                    Mode::Create | Mode::Update | Mode::Apply { .. } => {
                        writeln!(streams.err, "Error: {doing}: {error}")?;
                    }
                }
                all = false;
            }
        }
    }
    Ok(all)
}

type Sent = Result<(&'static str, Result<Answer, Error>), (&'static str, Error)>;

/// The verb that was chosen, and what the node said to it. An error of the whole is one that ends the run.
async fn one(server: &Server, document: &Document, mode: Mode) -> Result<Sent, Error> {
    let dry_run = mode == Mode::Apply { dry_run: true };
    let resource = document.resource();
    let local =
        |told: &str| Ok(Err((if mode == Mode::Create { "create" } else { "update" }, Error::Local(told.to_owned()))));
    let (many, one, body) = match &resource {
        Resource::Members => return local("members are not made by a file"),
        Resource::Data | Resource::DataKinds if dry_run => return local("custom data has no dry run"),
        Resource::Data => {
            let verb = if mode == Mode::Create { "create" } else { "update" };
            let target = format!("/customdata/{}/items", segment(&document.name));
            return Ok(Ok((verb, server.call(Method::Post, &target, Some(&batch(&document.spec))).await)));
        }
        Resource::DataKinds => {
            let one = format!("/customdatakinds/{}", segment(&document.name));
            ("/customdatakinds", one, without_kind(&document.spec))
        }
        Resource::Objects(_) => ("/objects", format!("/objects/{}", segment(&document.name)), document.spec.clone()),
    };
    let exists = match mode {
        Mode::Create => false,
        Mode::Update => true,
        Mode::Apply { .. } => exists(server, &resource, &one).await?,
    };
    let (verb, method, target) = match (exists, &resource) {
        (false, _) => ("create", Method::Post, many.to_owned()),
        // A kind of custom data is named in the body only.
        (true, Resource::DataKinds) => ("update", Method::Put, many.to_owned()),
        (true, _) => ("update", Method::Put, one),
    };
    let query = if dry_run { "?dryRun=true" } else { "" };
    let sent = server.call(method, &format!("{target}{query}"), Some(&body)).await;
    Ok(sent.map(|answer| (verb, Ok(answer))).map_err(|error| (verb, error)))
}

async fn exists(server: &Server, resource: &Resource, one: &str) -> Result<bool, Error> {
    match server.call(Method::Get, one, None).await {
        Ok(_) => Ok(true),
        Err(error) if error.is_absent() => Ok(false),
        // What the reference says of an unknown kind of custom data.
        Err(error) if *resource == Resource::DataKinds && error.status() == Some(500) => Ok(false),
        // Nothing behind it would go better.
        Err(error) => Err(error),
    }
}

/// The batch that a document of the kind `CustomData` stands for.
pub(crate) fn batch(spec: &Value) -> Value {
    let list = |key: &str| spec.get(key).cloned().unwrap_or_else(|| json!([]));
    json!({"rebuild": spec["rebuild"].as_bool().unwrap_or(false), "delete": list("delete"), "list": list("list")})
}

fn without_kind(spec: &Value) -> Value {
    let mut spec = spec.clone();
    if let Some(map) = spec.as_object_mut() {
        map.retain(|key, _| !key.eq_ignore_ascii_case("kind"));
    }
    spec
}

/// What the node says besides: in headers, and in the body of a dry run.
pub(crate) fn warnings(answer: &Answer) -> Vec<String> {
    let quoted = answer.headers.matching("Warning").map(|value| {
        let text = String::from_utf8_lossy(value);
        text.split_once('"').map_or(&*text, |(_, quoted)| quoted.trim_end_matches('"')).to_owned()
    });
    let mut all: Vec<String> = quoted.collect();
    if all.is_empty() {
        all = server::warnings(&serde_json::from_slice(&answer.body).unwrap_or_default());
    }
    all
}

/// An error of one object, for people: the problems of a spec that was refused stand on lines of their own.
pub(crate) fn tell(err: &mut dyn Write, doing: &str, error: &Error) -> Result<(), Error> {
    match error {
        Error::Refused(refusal) if !refusal.problems.is_empty() => {
            let count = refusal.problems.len();
            let problems = if count == 1 { "problem" } else { "problems" };
            writeln!(err, "Error: {doing}: {}: the spec has {count} {problems}", refusal.status)?;
            for problem in &refusal.problems {
                writeln!(err, "  {problem}")?;
            }
            for warning in &refusal.warnings {
                writeln!(err, "Warning: {doing}: {warning}")?;
            }
        }
        error => writeln!(err, "Error: {doing}: {error}")?,
    }
    Ok(())
}
