//! `edit`: one object through an editor.

use std::{io::Write as _, process::Command};

use serde_json::{Value, json};
use tidegate_http::message::Method;

use crate::{
    Error, Streams, apply, documents, get,
    kinds::{self, Resource},
    print::yaml_text,
    server::{Server, segment},
};

pub(crate) async fn edit(
    server: &Server,
    (kind, name, id): (&str, &str, Option<&str>),
    editor: &str,
    streams: &mut Streams<'_>,
) -> Result<bool, Error> {
    let resource = kinds::need(server, kind).await?;
    let path = segment(name);
    let (old, method, target) = match (&resource, id) {
        (Resource::Members, _) => return Err(Error::Local("members are not edited".to_owned())),
        (Resource::Data, Some(id)) => {
            let item = get::data(server, name, Some(id)).await?.remove(0);
            (item, Method::Put, format!("/customdata/{path}"))
        }
        (Resource::Data, None) => {
            let items = get::data(server, name, None).await?;
            (json!({"rebuild": true, "list": items}), Method::Post, format!("/customdata/{path}/items"))
        }
        (Resource::DataKinds, _) => {
            (get::data_kinds(server, Some(name)).await?.remove(0), Method::Put, "/customdatakinds".to_owned())
        }
        (Resource::Objects(kind), _) => {
            let found = server.get(&format!("/objects/{path}")).await?;
            if found["kind"] != **kind {
                return Err(Error::not_found(format!("{name} is no {kind}")));
            }
            (found, Method::Put, format!("/objects/{path}"))
        }
    };
    let told = [Some(resource.kind()), Some(name), id].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let file = tempfile::Builder::new().prefix("tidegate-edit-").suffix(".yaml").tempfile();
    let mut file = file.map_err(|error| Error::Local(format!("make a file to edit: {error}")))?;
    file.write_all(yaml_text(&old)?.as_bytes()).map_err(|error| Error::Local(format!("write {told}: {error}")))?;
    open(editor, file.path())?;
    let sent = match documents::read_value(&file.path().to_string_lossy(), streams.input) {
        Ok(new) if new == old => {
            writeln!(streams.out, "edit {told}: nothing was changed")?;
            return Ok(true);
        }
        Ok(new) => server.call(method, &target, Some(&body(&resource, new))).await,
        Err(error) => Err(error),
    };
    match sent {
        Ok(answer) => {
            writeln!(streams.out, "edit {told} successfully")?;
            for warning in apply::warnings(&answer) {
                writeln!(streams.err, "Warning: {told}: {warning}")?;
            }
            Ok(true)
        }
        Err(error) => {
            apply::tell(streams.err, &format!("edit {told}"), &error)?;
            // What was typed is not lost.
            let (_, kept) = file.keep().map_err(|error| Error::Local(format!("keep the edited file: {error}")))?;
            writeln!(streams.err, "What was edited is in {}", kept.display())?;
            Ok(false)
        }
    }
}

/// The number of items is told, not set.
fn body(resource: &Resource, mut new: Value) -> Value {
    match resource {
        Resource::DataKinds => {
            new.as_object_mut().map(|map| map.shift_remove("len"));
            new
        }
        Resource::Data | Resource::Members | Resource::Objects(_) => new,
    }
}

/// Runs the editor to its end. `editor` may have arguments, as in `code --wait`.
fn open(editor: &str, path: &std::path::Path) -> Result<(), Error> {
    let mut words = editor.split_whitespace();
    let program = words.next().ok_or_else(|| Error::Local("EGCTL_EDITOR names no program".to_owned()))?;
    let status = Command::new(program).args(words).arg(path).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Error::Local(format!("{program}: {status}"))),
        Err(error) => Err(Error::Local(format!("{program}: {error}"))),
    }
}
