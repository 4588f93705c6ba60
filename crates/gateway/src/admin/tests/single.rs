//! The AutoCertManager, of which there may be one.

use tidegate_http::io::Threads;
use tidegate_pipeline::Registry;

use super::*;
use crate::{
    AutoCert, StoreData,
    data::{self, DataPlane},
};

const FIRST: &str = r#"{"name":"first","kind":"AutoCertManager","email":"a@b.test","domains":[{"name":"a.test"}]}"#;

#[tokio::test]
async fn there_may_be_one_manager_of_certificates() {
    let io = Threads::start(1, "io").unwrap();
    let budget = Budget::new(Limits::new(Limits::DEFAULT, Profile::Server).unwrap());
    let (store, limit) = (MapStore::new(), ByteSize::mib(2));
    let shared = Arc::new(store.clone());
    let records = StoreData::start(shared.clone(), shared.clone(), budget.clone()).unwrap();
    let auto_cert = Some(AutoCert::new(Arc::new(records), || false));
    let options = data::Options { auto_cert, disable_io_uring: true, ..data::Options::default() };
    let kinds = Registry::new(tidegate_filters::KINDS);
    let plane: Arc<dyn Plane> = Arc::new(DataPlane::with(io.handle(), budget.clone(), kinds, options).unwrap());
    let config = Config::new(None, limit);
    let loader = Loader::new(shared.clone(), shared.clone(), Arc::clone(&plane), budget.clone(), config);
    let handle = loader.handle();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let loading = loader.spawn(stopped).unwrap();
    let admin =
        Admin::new(Store::new(shared), plane, handle.clone(), budget.clone(), limit, "m1".into(), Arc::new(Fixed));
    let world = World { admin, store, budget, loader: Mutex::new(None) };
    // What the node runs is paid for, so that not all is given back after each request.
    let check = async |method: &str, target: &str, body: &str, status: u16, part: &str| {
        let told = world.send(request(method, target, body)).await;
        assert!(told.status == status && told.body.contains(part), "{method} {target}: {} {}", told.status, told.body);
        told
    };

    let told = check("GET", "/apis/v2/objects-yaml/autocert/x", "", 200, "kind: AutoCertManager").await;
    assert!(told.body.contains("renewBefore: 720h") && told.body.contains("enableTLSALPN01: true"), "{}", told.body);
    check("POST", BASE, &FIRST.replace("a.test\"}", "*.test\"}"), 400, "unimplemented").await;
    check("POST", BASE, FIRST, 201, "").await;
    let told = world.send(request("GET", &format!("{BASE}/first"), "")).await;
    let spec: Value = serde_json::from_str(&told.body).unwrap();
    assert_eq!(spec["directoryURL"], "https://acme-v02.api.letsencrypt.org/directory");
    assert_eq!((&spec["renewBefore"], &spec["enableHTTP01"]), (&json!("720h"), &json!(true)));
    while !handle.statuses().contains_key("first") {
        tokio::task::yield_now().await;
    }
    let second = FIRST.replace("\"first\"", "\"second\"");
    check("POST", BASE, &second, 400, "there may be one AutoCertManager, and first is one").await;
    check("POST", &format!("{BASE}?dryRun=true"), &second, 400, "first is one").await;
    check("PUT", &format!("{BASE}/first"), FIRST, 200, "").await;
    let told = world.send(request("GET", "/apis/v2/status/objects/first", "")).await;
    let mut status: Value = serde_json::from_str(&told.body).unwrap();
    let status = status["default/first/m1"].as_object_mut().unwrap();
    assert!(status.remove("timestamp").is_some());
    let domains = json!([{"name": "a.test", "expireTime": "0001-01-01T00:00:00Z"}]);
    assert_eq!(Value::from(status.clone()), json!({"health": "", "domains": domains}));
    // Once it is gone there is room for another one.
    check("DELETE", &format!("{BASE}/first"), "", 200, "").await;
    while handle.statuses().contains_key("first") {
        tokio::task::yield_now().await;
    }
    check("POST", BASE, &second, 201, "").await;
    stop.send(true).unwrap();
    loading.join().unwrap();
    drop(world);
    io.stop();
}
