use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tidegate_api::Error;
use tidegate_base::{Budget, ByteSize, Holder, Limits, Profile};
use tidegate_testkit::MapStore;

use super::*;
use crate::objects::{Config, Loader, ObjectStatus, Plane, Problem, Review, SYSTEM_KINDS, Store, Texts};

mod audit;
mod custom;
mod guarded;
mod single;
mod table;
mod versions;

/// Knows two kinds; refuses an HTTPServer without port, and warns of `colour`.
struct Kinds;

impl Plane for Kinds {
    fn kinds(&self) -> Vec<&'static str> {
        vec!["HTTPServer", "Pipeline"]
    }
    fn filters(&self) -> Vec<&'static str> {
        vec!["Mock", "Proxy"]
    }
    fn review(&self, kind: &str, spec: &Value) -> Review {
        let mut problems = Vec::new();
        if kind == "HTTPServer" && !spec["port"].is_u64() {
            problems = vec![Problem::new("port", "is required"), Problem::new("", "two of \"a\" kind")];
        }
        let warnings = spec.get("colour").map(|_| "colour: unknown \"key\" — ignored".to_owned()).into_iter().collect();
        Review { problems, warnings, stored: spec.clone() }
    }
    fn apply(&self, texts: &Texts) -> BTreeMap<String, ObjectStatus> {
        let error = |name: &str| (name == "bad").then(|| "port 1 is taken".to_owned());
        texts
            .keys()
            .map(|name| {
                (
                    name.clone(),
                    ObjectStatus { kind: "Pipeline".to_owned(), error: error(name), ..ObjectStatus::default() },
                )
            })
            .collect()
    }
}

struct Fixed;

impl Reports for Fixed {
    fn metrics(&self) -> AdminResponse {
        AdminResponse::new(200, Some("text/plain; version=0.0.4"), "up 1\n")
    }
    fn memory(&self) -> AdminResponse {
        AdminResponse::new(200, Some("application/json"), "{}")
    }
}

struct World {
    admin: Admin,
    store: MapStore,
    budget: Budget,
    loader: Mutex<Option<Loader>>,
}

fn world() -> World {
    let budget = Budget::new(Limits::new(Limits::DEFAULT, Profile::Server).unwrap());
    let store = MapStore::new();
    let limit = ByteSize::mib(2);
    let shared = Arc::new(store.clone());
    let plane: Arc<dyn Plane> = Arc::new(Kinds);
    let config = Config::new(None, limit);
    let loader = Loader::new(shared.clone(), shared.clone(), Arc::clone(&plane), budget.clone(), config);
    let (handle, kept) = (loader.handle(), budget.clone());
    let admin = Admin::new(Store::new(shared), plane, handle, budget, limit, "m1".to_owned(), Arc::new(Fixed));
    World { admin, store, budget: kept, loader: Mutex::new(Some(loader)) }
}

struct Told {
    status: u16,
    content_type: Option<&'static str>,
    /// Of several headers of one name, the last.
    headers: BTreeMap<&'static str, String>,
    body: String,
    chunks: usize,
}

fn request(method: &str, target: &str, body: &str) -> AdminRequest {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let body = bytes::Bytes::copy_from_slice(body.as_bytes());
    AdminRequest { method: method.into(), path: path.into(), query: query.into(), body, ..AdminRequest::default() }
}

impl World {
    async fn send(&self, request: AdminRequest) -> Told {
        let AdminResponse { status, content_type, headers, body } = self.admin.handle(request).await;
        let (mut text, mut count) = (Vec::new(), 1);
        match body {
            Body::Whole(chunk) => text.extend_from_slice(&chunk.bytes),
            Body::Chunks(mut chunks) => {
                count = 0;
                while let Some(chunk) = chunks.next().await {
                    let chunk = chunk.unwrap();
                    assert!(chunk.lease.unwrap().bytes() >= chunk.bytes.len() as u64);
                    text.extend_from_slice(&chunk.bytes);
                    count += 1;
                }
            }
        }
        let body = String::from_utf8(text).unwrap();
        Told { status, content_type, headers: headers.into_iter().collect(), body, chunks: count }
    }

    /// Sends one request and checks the status and a part of the body.
    async fn check(&self, method: &str, target: &str, body: &str, status: u16, part: &str) -> Told {
        let told = self.send(request(method, target, body)).await;
        assert_eq!(told.status, status, "{method} {target} {body}: {}", told.body);
        assert!(told.body.contains(part), "{method} {target} {body}: {}", told.body);
        assert!(told.headers.contains_key("X-Config-Version"), "{method} {target}");
        if status >= 400 && !matches!(status, 404 | 405) {
            let error: Value = serde_json::from_str(&told.body).unwrap();
            assert_eq!((&error["code"], told.content_type), (&json!(status), None), "{method} {target}");
        }
        assert_eq!(self.budget.used(Holder::Gateway), 0, "{method} {target} gave everything back");
        told
    }
}

const SERVER: &str = "name: s\nkind: HTTPServer\nport: 10080\nrules: [{paths: [{pathPrefix: /, backend: p}]}]\n";
const PIPELINE: &str = r#"{"name": "p", "kind": "Pipeline", "filters": []}"#;
const BASE: &str = "/apis/v2/objects";

#[tokio::test]
async fn objects_are_made_read_changed_and_removed() {
    let world = world();
    let told = world.check("POST", BASE, SERVER, 201, "").await;
    assert_eq!((told.body.as_str(), told.content_type, &*told.headers["X-Config-Version"]), ("", None, "1"));
    world.check("POST", "/apis/v1/objects/", PIPELINE, 201, "").await;
    let told = world.check("GET", "/apis/v2/objects/s", "", 200, "\"port\":10080").await;
    assert_eq!((told.content_type, &*told.headers["X-Config-Version"]), (Some("application/json"), "2"));
    let spec: Value = serde_json::from_str(&told.body).unwrap();
    assert_eq!(spec["labels"]["easegress/owner"], "user-api");
    assert!(spec["createdAt"].as_str().unwrap().ends_with('Z'));
    world.check("PUT", "/apis/v2/objects/s", &SERVER.replace("10080", "10081"), 200, "").await;
    world.check("GET", "/apis/v2/objects/s", "", 200, "\"port\":10081").await;
    world.check("DELETE", "/apis/v2/objects/s", "", 200, "").await;
    world
        .check("GET", "/apis/v2/objects/s", "", 404, "{\"code\":404,\"message\":\"the object s does not exist\"}")
        .await;
    assert_eq!(world.store.value("/config/version").unwrap(), "4");
    world.check("DELETE", BASE, "", 200, "").await;
    world.check("GET", BASE, "", 200, "\"p\"").await;
    world.check("DELETE", "/apis/v2/objects?all=true", "", 200, "").await;
    assert_eq!(names(&world.check("GET", BASE, "", 200, "").await.body), SYSTEM_KINDS);
}

fn names(list: &str) -> Vec<String> {
    let list: Vec<Value> = serde_json::from_str(list).unwrap();
    list.iter().map(|spec| spec["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn every_refusal_has_its_status_and_text() {
    let world = world();
    let check = async |method: &str, target: &str, body: &str, status, part: &str| {
        world.check(method, target, body, status, part).await;
    };
    world.store.write(
        "/config/objects/foreign",
        r#"{"name":"foreign","kind":"Pipeline","labels":{"easegress/owner":"HTTPServer:s"}}"#,
    );
    check("POST", BASE, PIPELINE, 201, "").await;
    let revision = world.store.revision();
    check("POST", BASE, PIPELINE, 409, "the object p exists already").await;
    check("POST", BASE, "kind: StatusSyncController\nname: x", 409, "runs by itself").await;
    check("POST", BASE, "kind: Pipeline\nname: TrafficController", 409, "exists already").await;
    let bomb: String =
        (1..10).map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(","))).collect();
    check("POST", BASE, &format!("name: x\nkind: Pipeline\na0: &a0 [1,1,1]\n{bomb}"), 400, "repetition limit").await;
    check("POST", BASE, "", 400, "an object with name and kind").await;
    check("POST", BASE, "just text", 400, "an object with name and kind").await;
    check("POST", BASE, "{\"name\": \"x\"", 400, "the body is no spec").await;
    check("POST", BASE, "name: x\n bad: y", 400, "the body is no spec").await;
    check("POST", BASE, "port: 1", 400, r#"\"name: is required\",\"kind: is required\""#).await;
    check("POST", BASE, "name: x\nkind: GRPCServer", 400, "GRPCServer is not a kind that this version has").await;
    check("POST", BASE, "name: x\nkind: HTTPServer", 400, r#"{\"jsonschemaErrs\":[\"port: is required\"],"#).await;
    check("POST", BASE, "name: x\nkind: HTTPServer", 400, r#"\"generalErrs\":[\"two of"#).await;
    check("POST", BASE, "name: a/b\nkind: Pipeline", 400, "name: must be 1 to 253").await;
    check("POST", BASE, &"x".repeat(BODY_BYTES_MAX + 1), 413, "the body is larger than 1048576 bytes").await;
    check("POST", BASE, &"- ".repeat(40_000), 413, "JSON needs less").await;
    check("PUT", "/apis/v2/objects/q", PIPELINE, 400, "the path names q, the spec p").await;
    check("PUT", "/apis/v2/objects/q", &PIPELINE.replace("\"p\"", "\"q\""), 404, "the object q does not exist").await;
    check("PUT", "/apis/v2/objects/p", "name: p\nkind: HTTPServer\nport: 1", 400, "p is a Pipeline and").await;
    check("PUT", "/apis/v2/objects/foreign", "name: foreign\nkind: Pipeline", 400, "belongs to HTTPServer:s").await;
    check("DELETE", "/apis/v2/objects/foreign", "", 400, "belongs to HTTPServer:s").await;
    check("DELETE", "/apis/v2/objects/q", "", 404, "the object q does not exist").await;
    check("DELETE", "/apis/v2/objects/TrafficController", "", 400, "runs by itself").await;
    check("GET", "/apis/v2/objects/p?namespace=other", "", 404, "does not exist").await;
    check("GET", "/apis/v2/objects?namespace=a&all-namespaces=true", "", 400, "exclude each other").await;
    check("GET", "/apis/v2/status/objects/q", "", 404, "\"code\":404").await;
    check("GET", "/apis/v2/objects/q/versions", "", 404, "no version of q is kept").await;
    check("GET", "/apis/v2/objects/p/versions/x", "", 400, "version must be a number").await;
    check("GET", "/apis/v2/objects/p/versions/9", "", 404, "version 9 of p is not kept").await;
    check("POST", "/apis/v2/objects/p/rollback", "", 400, "version must be a number").await;
    check("POST", "/apis/v2/profile/start/cpu", "", 501, "no CPU profile").await;
    check("POST", "/apis/v2/profile/start/memory", "", 501, "GET /debug/memory").await;
    check("GET", "/apis/v2/logs?follow=maybe", "", 500, "follow must be").await;
    check("GET", "/apis/v2/logs?tail=-2", "", 500, "tail must be").await;
    check("GET", "/apis/v2/logs", "", 500, "not written to a file").await;
    check("PUT", "/apis/v2/logs/level/loud", "", 400, "debug or info").await;
    check("DELETE", "/apis/v2/status/members/m1", "", 400, "m1 runs").await;
    check("DELETE", "/apis/v2/status/members/m2", "", 404, "m2 does not exist").await;
    check("GET", "/apis/v2/nothing", "", 404, "404 page not found").await;
    check("PATCH", BASE, "", 405, "").await;
    assert_eq!(world.store.revision(), revision, "nothing of this was written");
    world.store.set_down(Some(Error::NoLeader));
    check("GET", BASE, "", 503, "the store did not answer: etcdserver: no leader").await;
    check("POST", BASE, &PIPELINE.replace("\"p\"", "\"q\""), 503, "the change may have happened").await;
    check("GET", "/apis/v2/healthz", "", 200, "").await;
}

#[tokio::test]
async fn pages_of_other_sites_are_refused_and_those_of_this_one_served() {
    let world = world();
    let from = |origin: &str| AdminRequest {
        origin: origin.to_owned(),
        host: "localhost:2381".to_owned(),
        ..request("POST", BASE, PIPELINE)
    };
    for origin in ["https://evil.example", "null", "http://localhost:80"] {
        assert_eq!(world.send(from(origin)).await.status, 403, "{origin}");
    }
    assert_eq!(world.send(from("http://LOCALHOST:2381")).await.status, 201);
}

#[tokio::test]
async fn lists_come_in_pages_as_json_or_yaml() {
    let world = world();
    let mut names: Vec<_> = (0..150).map(|i| format!("p{i:03}")).collect();
    for name in &names {
        let body = format!("{{\"name\":\"{name}\",\"kind\":\"Pipeline\",\"t\":\" two\\n\\n lines: -\\n\",\"e\":[]}}");
        world.check("POST", BASE, &body, 201, "").await;
    }
    world.store.write("/config/objects/p000", "{broken");
    names.remove(0);
    let mut names: Vec<String> = names.into_iter().chain(SYSTEM_KINDS.map(str::to_owned)).collect();
    names.sort_unstable();
    let told = world.check("GET", BASE, "", 200, "").await;
    assert!(told.chunks > 3, "{} chunks", told.chunks);
    let list: Vec<Value> = serde_json::from_str(&told.body).unwrap();
    assert!(list.iter().map(|spec| spec["name"].as_str().unwrap()).eq(&names));
    let wrapped = world.check("GET", "/apis/v2/objects?all-namespaces=true", "", 200, "").await;
    assert_eq!(serde_json::from_str::<Value>(&wrapped.body).unwrap(), json!({ "default": list }));
    for (target, expected) in [(BASE, json!(list)), ("/apis/v2/objects?all-namespaces=true", json!({"default": list}))]
    {
        let told = world.send(AdminRequest { accept: "text/x-yaml".into(), ..request("GET", target, "") }).await;
        assert_eq!(told.content_type, Some("text/x-yaml"));
        assert_eq!(serde_yaml_ng::from_str::<Value>(&told.body).unwrap(), expected, "{}", told.body);
    }
    let one = AdminRequest { accept: "application/yaml".into(), ..request("GET", "/apis/v2/objects/p001", "") };
    let told = world.send(one).await;
    assert!(told.body.starts_with("name: p001\nkind: Pipeline\nversion: "), "{}", told.body);
    assert_eq!(world.check("GET", "/apis/v2/objects?namespace=none", "", 200, "").await.body, "[]");
}

#[tokio::test]
async fn warnings_travel_in_a_header_without_breaking_it() {
    let world = world();
    let told = world.check("POST", BASE, "name: p\nkind: Pipeline\ncolour: red", 201, "").await;
    assert_eq!(told.headers["Warning"], "299 tidegate \"colour: unknown 'key' ' ignored\"");
}

#[tokio::test]
async fn more_configuration_than_a_node_takes_is_refused() {
    let world = world();
    let loader = world.loader.lock().unwrap().take().unwrap();
    let handle = loader.handle();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let running = tokio::spawn(loader.run(stopped));
    let body = |name: &str| format!("{{\"name\":\"{name}\",\"kind\":\"Pipeline\",\"x\":\"{}\"}}", "x".repeat(650_000));
    for name in ["a", "bad"] {
        assert_eq!(world.send(request("POST", BASE, &body(name))).await.status, 201);
        while !handle.statuses().contains_key(name) {
            tokio::task::yield_now().await;
        }
    }
    let told = world.send(request("POST", BASE, &body("c"))).await;
    assert_eq!((told.status, told.body.contains("may hold 2MiB")), (413, true), "{}", told.body);
    let told = world.send(request("GET", "/apis/v2/status/objects", "")).await;
    let statuses: Value = serde_json::from_str(&told.body).unwrap();
    assert_eq!(statuses["eg-traffic-default/a/m1"]["status"]["health"], "");
    assert_eq!(statuses["eg-traffic-default/bad/m1"]["status"]["health"], "port 1 is taken");
    assert_eq!(statuses["eg-traffic-default/a/m1"]["spec"]["name"], "a");
    let told = world.send(request("GET", "/apis/v2/status/objects/a", "")).await;
    assert_eq!(serde_json::from_str::<Value>(&told.body).unwrap().as_object().unwrap().len(), 1);
    stop.send(true).unwrap();
    running.await.unwrap();
}
