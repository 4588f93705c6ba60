//! The deprecated verbs. They print YAML.

use serde_json::Value;
use tidegate_http::message::Method;

use crate::{
    Error, Output, Streams, apply,
    apply::Mode,
    args::{
        ApiCommand, CustomDataCommand, CustomDataKindCommand, DataFile, MemberCommand, ObjectCommand, ObjectStatus,
        OldCommand, OneName, Show,
    },
    documents, node,
    print::write_value,
    server::{Server, segment},
};

pub(crate) async fn run(
    server: &Server,
    command: &OldCommand,
    before: Show,
    streams: &mut Streams<'_>,
) -> Result<bool, Error> {
    match command {
        OldCommand::Object { command } => object(server, command, before, streams).await,
        OldCommand::Member { command } => member(server, command, before, streams).await,
        OldCommand::CustomDataKind { command } => data_kind(server, command, before, streams).await,
        OldCommand::CustomData { command } => data(server, command, before, streams).await,
        OldCommand::Api { command: ApiCommand::List(format) } => {
            let output = match before.over(*format) {
                Output::Default => Output::Yaml,
                output => output,
            };
            node::apis(server, output, streams).await
        }
    }
}

async fn show(server: &Server, target: &str, output: Output, streams: &mut Streams<'_>) -> Result<bool, Error> {
    let value = server.get(target).await?;
    write_value(streams.out, output, &value)?;
    Ok(true)
}

async fn send(
    server: &Server,
    (method, target): (Method, &str),
    body: Option<&Value>,
    told: &str,
    streams: &mut Streams<'_>,
) -> Result<bool, Error> {
    server.call(method, target, body).await?;
    writeln!(streams.out, "{told} successfully")?;
    Ok(true)
}

async fn object(
    server: &Server,
    command: &ObjectCommand,
    before: Show,
    streams: &mut Streams<'_>,
) -> Result<bool, Error> {
    match command {
        ObjectCommand::Kinds(format) => show(server, "/object-kinds", before.over(*format), streams).await,
        ObjectCommand::List(format) => show(server, "/objects", before.over(*format), streams).await,
        ObjectCommand::Get(OneName { name, show: format }) => {
            show(server, &format!("/objects/{}", segment(name)), before.over(*format), streams).await
        }
        ObjectCommand::Create(file) => apply::file(server, &file.file, Mode::Create, streams).await,
        ObjectCommand::Update(file) => apply::file(server, &file.file, Mode::Update, streams).await,
        ObjectCommand::Delete { name: Some(name), .. } => {
            let target = format!("/objects/{}", segment(name));
            send(server, (Method::Delete, &target), None, &format!("delete {name}"), streams).await
        }
        ObjectCommand::Delete { name: None, .. } => {
            send(server, (Method::Delete, "/objects?all=true"), None, "delete all", streams).await
        }
        ObjectCommand::Status { command: ObjectStatus::List(format) } => {
            show(server, "/status/objects", before.over(*format), streams).await
        }
        ObjectCommand::Status { command: ObjectStatus::Get(OneName { name, show: format }) } => {
            show(server, &format!("/status/objects/{}", segment(name)), before.over(*format), streams).await
        }
    }
}

async fn member(
    server: &Server,
    command: &MemberCommand,
    before: Show,
    streams: &mut Streams<'_>,
) -> Result<bool, Error> {
    match command {
        MemberCommand::List(format) => show(server, "/status/members", before.over(*format), streams).await,
        MemberCommand::Purge { name } => {
            let target = format!("/status/members/{}", segment(name));
            send(server, (Method::Delete, &target), None, &format!("purge {name}"), streams).await
        }
    }
}

async fn data_kind(
    server: &Server,
    command: &CustomDataKindCommand,
    before: Show,
    streams: &mut Streams<'_>,
) -> Result<bool, Error> {
    let one = |name: &str| format!("/customdatakinds/{}", segment(name));
    let (method, verb, file) = match command {
        CustomDataKindCommand::List(format) => {
            return show(server, "/customdatakinds", before.over(*format), streams).await;
        }
        CustomDataKindCommand::Get(OneName { name, show: format }) => {
            return show(server, &one(name), before.over(*format), streams).await;
        }
        CustomDataKindCommand::Delete { name } => {
            return send(server, (Method::Delete, &one(name)), None, &format!("delete {name}"), streams).await;
        }
        CustomDataKindCommand::Create(file) => (Method::Post, "create", file),
        CustomDataKindCommand::Update(file) => (Method::Put, "update", file),
    };
    let kind = documents::read_value(&file.file, streams.input)?;
    send(server, (method, "/customdatakinds"), Some(&kind), verb, streams).await
}

async fn data(
    server: &Server,
    command: &CustomDataCommand,
    before: Show,
    streams: &mut Streams<'_>,
) -> Result<bool, Error> {
    let of = |kind: &str| format!("/customdata/{}", segment(kind));
    let (method, verb, target, file) = match command {
        CustomDataCommand::List { kind, show: format } => {
            return show(server, &of(kind), before.over(*format), streams).await;
        }
        CustomDataCommand::Get { kind, id, show: format } => {
            return show(server, &format!("{}/{}", of(kind), segment(id)), before.over(*format), streams).await;
        }
        CustomDataCommand::Delete { kind, id } => {
            let target = format!("{}/{}", of(kind), segment(id));
            return send(server, (Method::Delete, &target), None, &format!("delete {kind} {id}"), streams).await;
        }
        CustomDataCommand::Create(DataFile { kind, file }) => (Method::Post, "create", of(kind), file),
        CustomDataCommand::Update(DataFile { kind, file }) => (Method::Put, "update", of(kind), file),
        CustomDataCommand::BatchUpdate(DataFile { kind, file }) => {
            (Method::Post, "batch update", format!("{}/items", of(kind)), file)
        }
    };
    let value = documents::read_value(&file.file, streams.input)?;
    send(server, (method, &target), Some(&value), verb, streams).await
}
