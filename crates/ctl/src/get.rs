//! `get`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tidegate_base::clock;

use crate::{
    Error, Output, Streams,
    age::age,
    args::Namespaces,
    kinds::{self, Resource},
    print::{inline, list, text, write_documents, write_json, write_table},
    server::{Server, segment},
};

/// What is asked for.
pub(crate) struct Wanted<'a> {
    pub(crate) what: Option<&'a str>,
    pub(crate) name: Option<&'a str>,
    pub(crate) id: Option<&'a str>,
    pub(crate) namespaces: &'a Namespaces,
}

impl<'a> Wanted<'a> {
    /// The resource, where one is named, and the name behind it, or that of an object of any kind. `usage` is how custom data is
    /// asked for, which always has a name.
    pub(crate) async fn resolve(
        &self,
        server: &Server,
        usage: &str,
    ) -> Result<(Option<Resource>, Option<&'a str>), Error> {
        let Some(what) = self.what.filter(|what| *what != "all") else { return Ok((None, None)) };
        let resource = kinds::find(server, what).await?;
        match (&resource, self.name) {
            (Some(Resource::Data), None) => Err(Error::Local(format!("custom data is asked for by its kind: {usage}"))),
            (None, Some(_)) => Err(Error::Local(format!("\"{what}\" is no kind of objects"))),
            (None, None) => Ok((None, Some(what))),
            (Some(_), name) => Ok((resource, name)),
        }
    }
}

/// What was found, and where: only a list of all namespaces says so.
pub(crate) struct Found {
    pub(crate) namespace: Option<String>,
    pub(crate) spec: Value,
}

pub(crate) async fn get(
    server: &Server,
    wanted: Wanted<'_>,
    output: Output,
    streams: &mut Streams<'_>,
) -> Result<bool, Error> {
    let (resource, name) = wanted.resolve(server, "get customdata KIND [ID]").await?;
    match (&resource, name) {
        (Some(Resource::Members), _) => show(members(server, name).await?, output, member_table, streams)?,
        (Some(Resource::DataKinds), _) => show(data_kinds(server, name).await?, output, kind_table, streams)?,
        (Some(Resource::Data), Some(kind)) => {
            let items = data(server, kind, wanted.id).await?;
            let field = id_field(server, kind).await?;
            show(items, output, |items| data_table(items, &field), streams)?;
        }
        (resource, _) => {
            let found = objects(server, resource.as_ref(), name, wanted.namespaces).await?;
            print(server, &found, name.is_some(), output, streams).await?;
            if resource.is_none() && name.is_none() && matches!(output, Output::Default | Output::Table) {
                others(server, streams).await?;
            }
        }
    }
    Ok(true)
}

/// Objects of a kind, or all, or the one of that name.
pub(crate) async fn objects(
    server: &Server,
    kind: Option<&Resource>,
    name: Option<&str>,
    namespaces: &Namespaces,
) -> Result<Vec<Found>, Error> {
    let query = match (&namespaces.namespace, namespaces.all_namespaces) {
        (_, true) => "?all-namespaces=true".to_owned(),
        (Some(namespace), false) => format!("?namespace={}", segment(namespace)),
        (None, false) => String::new(),
    };
    let mut found = match (name, namespaces.all_namespaces) {
        (Some(name), false) => vec![server.get(&format!("/objects/{}{query}", segment(name))).await?],
        (None, false) => list(server.get(&format!("/objects{query}")).await?),
        (_, true) => Vec::new(),
    };
    let mut found: Vec<Found> = found.drain(..).map(|spec| Found { namespace: None, spec }).collect();
    if namespaces.all_namespaces {
        let Value::Object(all) = server.get(&format!("/objects{query}")).await? else {
            return Err(Error::Local("the node does not know namespaces".to_owned()));
        };
        for (namespace, specs) in all {
            found.extend(list(specs).into_iter().map(|spec| Found { namespace: Some(namespace.clone()), spec }));
        }
        found.retain(|found| name.is_none_or(|name| found.spec["name"] == name));
    }
    if let Some(kind) = kind {
        found.retain(|found| found.spec["kind"] == kind.kind());
    }
    if let (Some(name), true) = (name, found.is_empty()) {
        let kind = kind.map_or("object", Resource::kind);
        return Err(Error::not_found(format!("{name} is no {kind}")));
    }
    Ok(found)
}

async fn print(
    server: &Server,
    found: &[Found],
    one: bool,
    output: Output,
    streams: &mut Streams<'_>,
) -> Result<(), Error> {
    let specs = || found.iter().map(|found| found.spec.clone()).collect::<Vec<_>>();
    match output {
        Output::Json if found.iter().any(|found| found.namespace.is_some()) => {
            let mut all = Map::new();
            for Found { namespace, spec } in found {
                let specs = all.entry(namespace.clone().unwrap_or_default()).or_insert(Value::Array(Vec::new()));
                specs.as_array_mut().expect("made as a list").push(spec.clone());
            }
            write_json(streams.out, &Value::Object(all))
        }
        Output::Json if one => write_json(streams.out, &found[0].spec),
        Output::Json => write_json(streams.out, &Value::Array(specs())),
        Output::Yaml => write_documents(streams.out, &specs()),
        Output::Default => object_table(found, None, streams),
        Output::Table => object_table(found, Some(&server.get("/status/objects").await?), streams),
    }
}

/// NAME, KIND, NAMESPACE where there are many, AGE, and STATUS where it was asked for.
fn object_table(found: &[Found], statuses: Option<&Value>, streams: &mut Streams<'_>) -> Result<(), Error> {
    let now = clock::wall().as_secs();
    let health = statuses.map(health);
    let spaced = found.iter().any(|found| found.namespace.is_some());
    let row = |Found { namespace, spec }: &Found| {
        let mut row = vec![text(spec, "name").to_owned(), text(spec, "kind").to_owned()];
        row.extend(spaced.then(|| namespace.clone().unwrap_or_default()));
        row.push(age(spec["createdAt"].as_str(), now));
        row.extend(health.as_ref().map(|health| {
            let Some(told) = health.get(text(spec, "name")) else { return "pending".to_owned() };
            let told: Vec<_> = told.iter().filter(|told| !told.is_empty()).map(String::as_str).collect();
            if told.is_empty() { "ok".to_owned() } else { told.join("; ") }
        }));
        row
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    let heads =
        [Some("NAME"), Some("KIND"), spaced.then_some("NAMESPACE"), Some("AGE"), health.as_ref().map(|_| "STATUS")];
    write_table(streams.out, &heads.into_iter().flatten().collect::<Vec<_>>(), &rows)
}

/// What each member says of an object; nothing where all is well.
fn health(statuses: &Value) -> BTreeMap<&str, Vec<String>> {
    let mut health: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (key, status) in statuses.as_object().into_iter().flatten() {
        let Some(key) = StatusKey::parse(key) else { continue };
        let member = key.member;
        let told = status["status"]["health"].as_str().unwrap_or_default();
        let warned = status["status"]["warnings"].as_array().map_or(0, Vec::len);
        let told = match (told, warned) {
            ("", 0) => String::new(),
            ("", 1) => format!("{member}: 1 warning"),
            ("", warned) => format!("{member}: {warned} warnings"),
            (told, _) => format!("{member}: {}", told.lines().next().unwrap_or_default()),
        };
        health.entry(key.object).or_default().push(told);
    }
    health
}

/// `NAMESPACE/OBJECT/MEMBER`; only the namespace may have slashes of its own.
pub(crate) struct StatusKey<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) object: &'a str,
    pub(crate) member: &'a str,
}

impl<'a> StatusKey<'a> {
    pub(crate) fn parse(key: &'a str) -> Option<Self> {
        let (rest, member) = key.rsplit_once('/')?;
        let (namespace, object) = rest.rsplit_once('/')?;
        // Servers and pipelines have one of their own.
        let namespace = namespace.strip_prefix("eg-traffic-").unwrap_or(namespace);
        Some(Self { namespace, object, member })
    }
}

/// Behind all objects: members and kinds of custom data, where the node has them.
async fn others(server: &Server, streams: &mut Streams<'_>) -> Result<(), Error> {
    for (target, table) in
        [("/status/members", member_table as fn(&[Value]) -> Table), ("/customdatakinds", kind_table)]
    {
        let values = match server.get(target).await {
            Ok(values) => list(values),
            Err(error) if matches!(error.status(), Some(404 | 501)) => continue,
            Err(error) => return Err(error),
        };
        if !values.is_empty() {
            writeln!(streams.out)?;
            table(&values).write(streams)?;
        }
    }
    Ok(())
}

/// Heads and rows.
struct Table(Vec<String>, Vec<Vec<String>>);

impl Table {
    fn new<const N: usize>(heads: [&str; N], rows: impl Iterator<Item = [String; N]>) -> Self {
        Self(heads.map(ToOwned::to_owned).to_vec(), rows.map(Vec::from).collect())
    }

    fn write(&self, streams: &mut Streams<'_>) -> Result<(), Error> {
        let heads: Vec<_> = self.0.iter().map(String::as_str).collect();
        write_table(streams.out, &heads, &self.1)
    }
}

fn show(
    values: Vec<Value>,
    output: Output,
    table: impl Fn(&[Value]) -> Table,
    streams: &mut Streams<'_>,
) -> Result<(), Error> {
    match output {
        Output::Json => write_json(streams.out, &Value::Array(values)),
        Output::Yaml => write_documents(streams.out, &values),
        Output::Default | Output::Table => table(&values).write(streams),
    }
}

pub(crate) async fn members(server: &Server, name: Option<&str>) -> Result<Vec<Value>, Error> {
    let mut members = list(server.get("/status/members").await?);
    members.retain(|member| name.is_none_or(|name| member["options"]["Name"] == name));
    match name {
        Some(name) if members.is_empty() => Err(Error::not_found(format!("the member {name} does not exist"))),
        _ => Ok(members),
    }
}

fn member_table(members: &[Value]) -> Table {
    let now = clock::wall().as_secs();
    let row = |member: &Value| {
        let (options, etcd) = (&member["options"], &member["etcd"]);
        [
            text(options, "Name").to_owned(),
            text(options, "ClusterRole").to_owned(),
            age(etcd["startTime"].as_str(), now),
            text(etcd, "state").to_owned(),
            text(options, "APIAddr").to_owned(),
            age(member["lastHeartbeatTime"].as_str(), now),
        ]
    };
    Table::new(["NAME", "ROLE", "AGE", "STATE", "API-ADDR", "HEARTBEAT"], members.iter().map(row))
}

pub(crate) async fn data_kinds(server: &Server, name: Option<&str>) -> Result<Vec<Value>, Error> {
    match name {
        Some(name) => Ok(vec![server.get(&format!("/customdatakinds/{}", segment(name))).await?]),
        None => Ok(list(server.get("/customdatakinds").await?)),
    }
}

fn kind_table(kinds: &[Value]) -> Table {
    let row = |kind: &Value| {
        let field = Some(text(kind, "idField")).filter(|field| !field.is_empty()).unwrap_or("name");
        let schema = if kind["jsonSchema"].is_null() { "no" } else { "yes" };
        let count = kind["len"].as_u64().unwrap_or(0);
        [text(kind, "name").to_owned(), field.to_owned(), schema.to_owned(), count.to_string()]
    };
    Table::new(["NAME", "ID-FIELD", "JSON-SCHEMA", "DATA-NUM"], kinds.iter().map(row))
}

/// Items of a kind, or one of them.
pub(crate) async fn data(server: &Server, kind: &str, id: Option<&str>) -> Result<Vec<Value>, Error> {
    let Some(id) = id else { return Ok(list(server.get(&format!("/customdata/{}", segment(kind))).await?)) };
    let target = format!("/customdata/{}/{}", segment(kind), segment(id));
    let answer = server.call(tidegate_http::message::Method::Get, &target, None).await?;
    if answer.body.is_empty() {
        return Err(Error::not_found(format!("{kind} has no item {id}")));
    }
    Ok(vec![server.json(&answer)?])
}

/// Which field of a kind's items is their name.
pub(crate) async fn id_field(server: &Server, kind: &str) -> Result<String, Error> {
    let kind = server.get(&format!("/customdatakinds/{}", segment(kind))).await?;
    Ok(Some(text(&kind, "idField")).filter(|field| !field.is_empty()).unwrap_or("name").to_owned())
}

/// Sorted: the reference tells items in any order.
fn data_table(items: &[Value], field: &str) -> Table {
    let mut rows: Vec<Vec<String>> = items.iter().map(|item| vec![inline(&item[field])]).collect();
    rows.sort();
    Table(vec![field.to_ascii_uppercase()], rows)
}
