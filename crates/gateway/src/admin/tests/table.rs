//! Every route against the real kinds: request, status, headers, body.

use tidegate_http::io::Threads;
use tidegate_pipeline::Registry;

use super::*;
use crate::data::{self, DataPlane};

/// A body that is expected: as it stands, as JSON, or a part of it.
enum Told {
    Text(&'static str),
    Json(Value),
    Part(&'static str),
}
use Told::{Json, Part, Text};

/// Method, target and body; status, content type and body of the answer.
type Line<'a> = (&'a str, &'a str, &'a str, u16, Option<&'static str>, Told);

const JSON_TYPE: Option<&'static str> = Some("application/json");
const TEXT_TYPE: Option<&'static str> = Some("text/plain; charset=utf-8");

/// `createdAt` and times of members change from run to run.
fn without_times(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                match key.as_str() {
                    "createdAt" | "lastHeartbeatTime" | "startTime" => *value = json!("TIME"),
                    "timestamp" => *value = json!(0),
                    _ => without_times(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(without_times),
        _ => {}
    }
}

fn server(more: Value) -> Value {
    let mut spec = json!({"name": "s", "kind": "HTTPServer", "version": "easegress.megaease.com/v2",
        "labels": {"easegress/owner": "user-api"}, "createdAt": "TIME", "port": 10080, "keepAlive": true,
        "keepAliveTimeout": "60s", "maxConnections": 10240, "https": false});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

#[tokio::test]
async fn every_route_answers_as_recorded() {
    let io = Threads::start(1, "io").unwrap();
    let budget = Budget::new(Limits::new(Limits::DEFAULT, Profile::Server).unwrap());
    // Rings have leases of their own.
    let options = data::Options { disable_io_uring: true, ..data::Options::default() };
    let kinds = Registry::new(tidegate_filters::KINDS);
    let plane = DataPlane::with(io.handle(), budget.clone(), kinds, options).unwrap();
    let plane: Arc<dyn Plane> = Arc::new(plane);
    let store = MapStore::new();
    let (shared, limit) = (Arc::new(store.clone()), ByteSize::mib(2));
    let handle = crate::objects::Handle::default();
    let admin = Admin::new(Store::new(shared), plane, handle, budget.clone(), limit, "m1".into(), Arc::new(Fixed));
    let world = World { admin, store, budget, loader: Mutex::new(None) };

    let given = "name: s\nkind: HTTPServer\nPORT: 10080\nunknown: 1\nxForwardedFor: false\nrules:\n- paths: [{pathPrefix: /, backend: p}]\n";
    let moved = given.replace("10080", "10081");
    let rules = json!({"rules": [{"paths": [{"pathPrefix": "/", "backend": "p"}]}]});
    let pipeline = r#"{"name":"p","kind":"Pipeline","flow":[],"filters":[{"name":"m","kind":"Mock","Rules":[{"match":{},"CODE":201}]}]}"#;
    let stored_pipeline = json!({"name": "p", "kind": "Pipeline", "version": "easegress.megaease.com/v2",
        "labels": {"easegress/owner": "user-api"}, "createdAt": "TIME",
        "filters": [{"name": "m", "kind": "Mock", "Rules": [{"match": {}, "CODE": 201}]}]});
    let system = |kind: &str| {
        let mut spec = json!({"name": kind, "kind": kind, "version": "easegress.megaease.com/v2",
            "labels": {"easegress/owner": "user-api"}});
        if kind == "ServiceRegistry" {
            spec["syncInterval"] = json!("10s");
        }
        spec
    };
    let all = json!([
        system("RawConfigTrafficController"),
        system("ServiceRegistry"),
        system("StatusSyncController"),
        system("TrafficController"),
        stored_pipeline,
        server(rules.clone())
    ]);
    let v2 = |path: &str| format!("/apis/v2{path}");
    let mut covered = std::collections::BTreeSet::new();
    let table: Vec<Line<'_>> = vec![
        ("GET", "", "", 200, JSON_TYPE, Part(r#"[{"Group":"about","Entries":[{"path":"/about","method":"GET"}"#)),
        ("GET", "/about", "", 200, TEXT_TYPE, Part("Tidegate ")),
        ("GET", "/healthz/", "", 200, None, Text("")),
        ("GET", "/metrics", "", 200, Some("text/plain; version=0.0.4"), Part("up 1\n")),
        ("GET", "/debug/memory", "", 200, JSON_TYPE, Text("{}")),
        (
            "GET",
            "/object-kinds",
            "",
            200,
            JSON_TYPE,
            Json(json!([
                "AutoCertManager",
                "GlobalFilter",
                "HTTPServer",
                "Pipeline",
                "RawConfigTrafficController",
                "ServiceRegistry",
                "StatusSyncController",
                "TrafficController"
            ])),
        ),
        (
            "GET",
            "/object-api-resources",
            "",
            200,
            JSON_TYPE,
            Part(
                r#"{"Category":"TrafficGate","Kind":"HTTPServer","Name":"httpserver","Aliases":["httpservers","hs"]}"#,
            ),
        ),
        ("POST", "/objects", given, 201, None, Text("")),
        ("POST", "/objects", pipeline, 201, None, Text("")),
        ("POST", "/objects", "name: TrafficController\nkind: TrafficController", 409, None, Part("runs by itself")),
        ("POST", "/objects", "name: m\nkind: MeshController", 400, None, Part("MeshController is not a kind")),
        ("POST", "/objects", "name: x\nkind: HTTPServer\nport: '80'", 400, None, Part("port: must be of type integer")),
        ("GET", "/objects/s", "", 200, JSON_TYPE, Json(server(rules.clone()))),
        ("GET", "/objects/p?namespace=default", "", 200, JSON_TYPE, Json(stored_pipeline.clone())),
        (
            "GET",
            "/objects/p?namespace=mesh",
            "",
            404,
            None,
            Json(json!({"code": 404, "message": "the object p does not exist"})),
        ),
        ("GET", "/objects/ServiceRegistry", "", 200, JSON_TYPE, Json(system("ServiceRegistry"))),
        ("GET", "/objects", "", 200, JSON_TYPE, Json(all.clone())),
        ("GET", "/objects?namespace=default", "", 200, JSON_TYPE, Json(all.clone())),
        ("GET", "/objects?namespace=mesh", "", 200, JSON_TYPE, Text("[]")),
        ("GET", "/objects?all-namespaces=true", "", 200, JSON_TYPE, Json(json!({ "default": all }))),
        ("PUT", "/objects/s", &moved, 200, None, Text("")),
        (
            "PUT",
            "/objects/ServiceRegistry",
            "name: ServiceRegistry\nkind: ServiceRegistry\nsyncInterval: 5s",
            200,
            None,
            Text(""),
        ),
        ("GET", "/objects/ServiceRegistry", "", 200, JSON_TYPE, Part("\"syncInterval\":\"5s\"")),
        ("DELETE", "/objects/ServiceRegistry", "", 400, None, Part("runs by itself")),
        ("GET", "/objects/s/versions", "", 200, JSON_TYPE, Part(r#"[{"version":3,"revision":4,"time":""#)),
        ("GET", "/objects/s/versions/1", "", 200, JSON_TYPE, Json(server(rules.clone()))),
        ("POST", "/objects/s/rollback?version=1", "", 200, None, Text("")),
        ("GET", "/objects/s", "", 200, JSON_TYPE, Json(server(rules))),
        (
            "GET",
            "/objects-yaml/httpserver/n",
            "",
            200,
            Some("text/x-yaml"),
            Text(
                "name: n\nkind: HTTPServer\nversion: easegress.megaease.com/v2\nport: 0\nkeepAlive: true\n\
                  keepAliveTimeout: 60s\nmaxConnections: 10240\nhttps: false\n",
            ),
        ),
        ("GET", "/objects-yaml/None/n", "", 404, None, Part("None is not a kind")),
        (
            "GET",
            "/status/objects",
            "",
            200,
            JSON_TYPE,
            Json(json!({
                "default/RawConfigTrafficController/m1": {"health": "", "timestamp": 0},
                "default/ServiceRegistry/m1": {"health": "", "timestamp": 0},
                "default/StatusSyncController/m1": {"health": "", "timestamp": 0},
            })),
        ),
        ("GET", "/status/objects/none", "", 404, None, Part("none does not exist")),
        (
            "GET",
            "/status/members",
            "",
            200,
            TEXT_TYPE,
            Part(r#"[{"options":{"ConfigFile":"","ForceNewCluster":false,"Name":"m1""#),
        ),
        ("DELETE", "/status/members/m2", "", 404, None, Part("m2 does not exist")),
        (
            "GET",
            "/metadata/objects/pipeline/filters",
            "",
            200,
            JSON_TYPE,
            Part(r#"["CORSAdaptor","Fallback","HeaderLookup","HeaderToJSON","Mock","Proxy","RateLimiter""#),
        ),
        ("GET", "/metadata/objects/pipeline/filters/RateLimiter/description", "", 200, TEXT_TYPE, Part("RateLimiter")),
        (
            "GET",
            "/metadata/objects/pipeline/filters/RateLimiter/results",
            "",
            200,
            JSON_TYPE,
            Text(r#"["rateLimited"]"#),
        ),
        (
            "GET",
            "/metadata/objects/pipeline/filters/RateLimiter/schema",
            "",
            200,
            JSON_TYPE,
            Part(r#""required":["name","kind""#),
        ),
        ("GET", "/metadata/objects/pipeline/filters/None/schema", "", 404, None, Part("None is not a kind of filters")),
        ("POST", "/customdatakinds", "name: k", 201, None, Text("")),
        ("PUT", "/customdatakinds", "name: k\nidField: id", 200, None, Text("")),
        ("GET", "/customdatakinds", "", 200, JSON_TYPE, Text(r#"[{"name":"k","idField":"id","len":0}]"#)),
        ("GET", "/customdatakinds/k", "", 200, JSON_TYPE, Text(r#"{"name":"k","idField":"id","len":0}"#)),
        ("POST", "/customdata/k", "id: a", 201, None, Text("")),
        ("PUT", "/customdata/k", "id: a\nx: 1", 200, None, Text("")),
        ("GET", "/customdata/k", "", 200, JSON_TYPE, Text(r#"[{"id":"a","x":1}]"#)),
        ("GET", "/customdata/k/a", "", 200, JSON_TYPE, Text(r#"{"id":"a","x":1}"#)),
        ("DELETE", "/customdata/k/a", "", 200, None, Text("")),
        ("POST", "/customdata/k/items", "list: [{id: b}]", 200, None, Text("")),
        ("DELETE", "/customdata/k/items", "", 200, None, Text("")),
        ("DELETE", "/customdatakinds/k", "", 200, None, Text("")),
        ("DELETE", "/customdatakinds", "", 200, None, Text("")),
        ("GET", "/profile", "", 200, JSON_TYPE, Text(r#"{"cpuPath":"","memoryPath":""}"#)),
        ("POST", "/profile/start/cpu", "", 501, None, Part("\"code\":501")),
        ("POST", "/profile/start/memory", "", 501, None, Part("/debug/memory")),
        ("POST", "/profile/stop", "", 200, None, Text("")),
        ("GET", "/logs?tail=500&follow=false", "", 500, None, Part("\"code\":500")),
        ("GET", "/logs/level", "", 501, None, Part("\"code\":501")),
        ("PUT", "/logs/level/debug", "", 501, None, Part("\"code\":501")),
        ("PUT", "/logs/level/warn", "", 400, None, Part("debug or info")),
        ("DELETE", "/objects/s", "", 200, None, Text("")),
        ("DELETE", "/objects", "", 200, None, Text("")),
        ("GET", "/objects/p", "", 200, JSON_TYPE, Part("\"p\"")),
        ("DELETE", "/objects?all=true", "", 200, None, Text("")),
        ("GET", "/objects/p", "", 404, None, Part("does not exist")),
        ("GET", "/mesh/tenants", "", 404, TEXT_TYPE, Text("404 page not found\n")),
        ("POST", "/wasm/code", "", 404, TEXT_TYPE, Text("404 page not found\n")),
        ("PATCH", "/objects", "", 405, None, Text("")),
        ("POST", "/about", "", 405, None, Text("")),
    ];
    for (method, target, body, status, content_type, expected) in table {
        let told = world.check(method, &v2(target), body, status, "").await;
        let line = format!("{method} {target}");
        assert_eq!(told.content_type, content_type, "{line}");
        match expected {
            Text(text) => assert_eq!(told.body, text, "{line}"),
            Part(part) => assert!(told.body.contains(part), "{line}: {}", told.body),
            Json(expected) => {
                let mut value: Value = serde_json::from_str(&told.body).unwrap();
                without_times(&mut value);
                assert_eq!(value, expected, "{line}");
            }
        }
        let path = v2(target.split('?').next().unwrap());
        covered.extend(
            route::route(method, &path)
                .ok()
                .map(|route| std::mem::discriminant(&route))
                .map(|kind| format!("{kind:?}")),
        );
    }
    for entry in route::ENTRIES {
        let path = v2(&entry.path.replace(['{', '}'], ""));
        let route = route::route(entry.method, &path).unwrap();
        let kind = format!("{:?}", std::mem::discriminant(&route));
        assert!(covered.contains(&kind), "{} {} has no line", entry.method, entry.path);
    }
    drop(world);
    io.stop();
}

#[tokio::test]
async fn yaml_is_answered_to_who_accepts_it() {
    let world = world();
    world.check("POST", BASE, PIPELINE, 201, "").await;
    for target in [
        "",
        "/object-kinds",
        "/object-api-resources",
        "/objects",
        "/objects/p",
        "/objects?all-namespaces=true",
        "/status/objects",
        "/status/members",
        "/customdatakinds",
        "/objects/p/versions",
        "/profile",
    ] {
        let target = format!("/apis/v2{target}");
        let json = world.send(request("GET", &target, "")).await;
        let yaml = world.send(AdminRequest { accept: "text/x-yaml".into(), ..request("GET", &target, "") }).await;
        assert_eq!(yaml.content_type, Some("text/x-yaml"), "{target}");
        let (mut one, mut other): (Value, Value) =
            (serde_json::from_str(&json.body).unwrap(), serde_yaml_ng::from_str(&yaml.body).unwrap());
        without_times(&mut one);
        without_times(&mut other);
        assert_eq!(one, other, "{target}");
    }
}
