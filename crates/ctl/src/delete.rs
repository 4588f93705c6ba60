//! `delete`.

use serde_json::Value;
use tidegate_http::message::Method;

use crate::{
    Error, Streams,
    args::Namespaces,
    documents, get,
    kinds::{self, Resource},
    print::{inline, text},
    server::{Server, segment},
};

/// One thing to delete.
struct Doomed {
    resource: Resource,
    name: String,
    /// The item, where `name` is a kind of custom data.
    id: Option<String>,
}

/// `names` of `kind`; with `all` every one of them.
pub(crate) async fn named(
    server: &Server,
    kind: &str,
    names: &[String],
    all: bool,
    streams: &mut Streams<'_>,
) -> Result<bool, Error> {
    let resource = kinds::need(server, kind).await?;
    let one = |name: &String| Doomed { resource: resource.clone(), name: name.clone(), id: None };
    let doomed = match (&resource, names, all) {
        (Resource::Data, [kind], true) => {
            let target = format!("/customdata/{}/items", segment(kind));
            server.call(Method::Delete, &target, None).await?;
            writeln!(streams.out, "delete CustomData {kind} successfully")?;
            return Ok(true);
        }
        (Resource::Data, [kind, ids @ ..], false) if !ids.is_empty() => {
            let item = |id: &String| Doomed { resource: Resource::Data, name: kind.clone(), id: Some(id.clone()) };
            ids.iter().map(item).collect()
        }
        (Resource::Data, ..) => {
            return Err(Error::Local("say which items: delete customdata KIND ID..., or KIND --all".to_owned()));
        }
        (Resource::Members, _, true) => return Err(Error::Local("members are deleted by name".to_owned())),
        (_, [_, ..], true) => return Err(Error::Local("--all and names exclude each other".to_owned())),
        (_, [], true) => every(server, &resource).await?.iter().map(one).collect(),
        (_, names, false) => names.iter().map(one).collect(),
    };
    delete(server, doomed, streams).await
}

/// Names of all of a kind.
async fn every(server: &Server, resource: &Resource) -> Result<Vec<String>, Error> {
    let specs: Vec<Value> = match resource {
        Resource::DataKinds => get::data_kinds(server, None).await?,
        resource => {
            let found = get::objects(server, Some(resource), None, &Namespaces::default()).await?;
            found.into_iter().map(|found| found.spec).collect()
        }
    };
    Ok(specs.iter().map(|spec| text(spec, "name").to_owned()).collect())
}

/// What the documents of a file name.
pub(crate) async fn file(server: &Server, file: &str, streams: &mut Streams<'_>) -> Result<bool, Error> {
    let mut doomed = Vec::new();
    for document in documents::read(file, streams.input)? {
        let resource = document.resource();
        if resource != Resource::Data {
            doomed.push(Doomed { resource, name: document.name, id: None });
            continue;
        }
        let field = get::id_field(server, &document.name).await?;
        for item in document.spec["list"].as_array().into_iter().flatten() {
            let id = Some(inline(&item[&field]));
            doomed.push(Doomed { resource: Resource::Data, name: document.name.clone(), id });
        }
    }
    delete(server, doomed, streams).await
}

/// Goes on after one that is refused, not when the node is gone.
async fn delete(server: &Server, doomed: Vec<Doomed>, streams: &mut Streams<'_>) -> Result<bool, Error> {
    let mut all = true;
    for one in doomed {
        let told = [Some(one.resource.kind()), Some(&*one.name), one.id.as_deref()];
        let told = told.into_iter().flatten().collect::<Vec<_>>().join(" ");
        match delete_one(server, &one).await {
            Ok(()) => writeln!(streams.out, "delete {told} successfully")?,
            Err(error) if error.is_of_one() => {
                writeln!(streams.err, "Error: delete {told}: {error}")?;
                all = false;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// An object's kind is looked at first: names are one space, and a slip of the kind must not delete something else.
async fn delete_one(server: &Server, Doomed { resource, name, id }: &Doomed) -> Result<(), Error> {
    let segment = segment(name);
    let target = match (resource, id) {
        (Resource::Members, _) => format!("/status/members/{segment}"),
        (Resource::DataKinds, _) => format!("/customdatakinds/{segment}"),
        (Resource::Data, id) => {
            format!("/customdata/{segment}/{}", crate::server::segment(id.as_deref().unwrap_or_default()))
        }
        (Resource::Objects(kind), _) => {
            let target = format!("/objects/{segment}");
            let found = server.get(&target).await?;
            if found["kind"] != **kind {
                return Err(Error::not_found(format!("{name} is no {kind}")));
            }
            target
        }
    };
    server.call(Method::Delete, &target, None).await.map(drop)
}
