//! Dry runs and former versions.

use super::*;

#[tokio::test]
async fn a_dry_run_tells_everything_and_writes_nothing() {
    let world = world();
    world.check("POST", BASE, PIPELINE, 201, "").await;
    let revision = world.store.revision();
    let check = async |method: &str, target: &str, body: &str, status: u16, expected: Value| {
        let told = world.send(request(method, &format!("{target}dryRun=true"), body)).await;
        assert_eq!(told.status, status, "{method} {target} {body}: {}", told.body);
        assert_eq!(told.headers["X-Config-Version"], if body == "[]" { "0" } else { "1" });
        let answer: Value = serde_json::from_str(&told.body).unwrap();
        assert_eq!(answer, expected, "{method} {target} {body}");
    };
    let base = "/apis/v2/objects?";
    let q = PIPELINE.replace("\"p\"", "\"q\"");
    let fine = |action: &str, name: &str| {
        json!({"dryRun": true, "action": action, "name": name, "kind": "Pipeline",
        "problems": [], "warnings": []})
    };
    check("POST", base, &q, 200, fine("create", "q")).await;
    check("PUT", "/apis/v2/objects/p?", PIPELINE, 200, fine("update", "p")).await;
    check("POST", "/apis/v2/objects/p/rollback?version=1&", "", 200, fine("rollback", "p")).await;
    let gone = json!({"dryRun": true, "action": "delete", "name": "p", "problems": [], "warnings": []});
    check("DELETE", "/apis/v2/objects/p?", "", 200, gone).await;
    let missing = json!({"code": 404, "message": "the object q does not exist", "dryRun": true, "action": "delete",
        "name": "q", "problems": [{"field": "", "message": "the object q does not exist"}], "warnings": []});
    check("DELETE", "/apis/v2/objects/q?", "", 404, missing).await;
    // Problems of the spec, its warnings, and what the store says, all at once.
    let message = r#"{"jsonschemaErrs":["port: is required"],"generalErrs":["two of \"a\" kind"]}"#;
    let all = json!({"code": 400, "message": message, "dryRun": true, "action": "create", "name": "p", "kind": "HTTPServer",
        "problems": [{"field": "port", "message": "is required"}, {"field": "", "message": "two of \"a\" kind"},
            {"field": "", "message": "the object p exists already"}],
        "warnings": ["colour: unknown \"key\" — ignored"]});
    check("POST", base, "name: p\nkind: HTTPServer\ncolour: red", 400, all).await;
    let told = world.send(request("POST", "/apis/v2/objects?dryRun=true", "port: 1")).await;
    let answer: Value = serde_json::from_str(&told.body).unwrap();
    assert_eq!((told.status, answer["problems"].as_array().unwrap().len()), (400, 2), "{answer}");
    world.check("DELETE", "/apis/v2/objects?all=true&dryRun=true", "", 200, "delete all").await;
    assert_eq!(world.store.revision(), revision, "nothing of this was written");
}

#[tokio::test]
async fn a_former_version_comes_back_as_a_new_one() {
    let world = world();
    let port = |port: u16| SERVER.replace("10080", &port.to_string());
    world.check("POST", BASE, &port(1), 201, "").await;
    world.check("PUT", "/apis/v2/objects/s", &port(2), 200, "").await;
    let told = world.check("GET", "/apis/v2/objects/s/versions", "", 200, "").await;
    let versions: Vec<Value> = serde_json::from_str(&told.body).unwrap();
    let told = |key: &str| versions.iter().map(|version| version[key].clone()).collect::<Vec<_>>();
    assert_eq!(told("version"), [json!(2), json!(1)]);
    assert_eq!(told("action"), [json!("update"), json!("create")]);
    assert_eq!((&told("who")[0], &told("kind")[0]), (&json!("local"), &json!("HTTPServer")));
    assert!(told("revision")[0].as_i64() > told("revision")[1].as_i64());
    world.check("GET", "/apis/v2/objects/s/versions/1", "", 200, "\"port\":1,").await;
    let yaml = AdminRequest { accept: "text/x-yaml".into(), ..request("GET", "/apis/v2/objects/s/versions/1", "") };
    assert!(world.send(yaml).await.body.contains("\nport: 1\n"));

    let told = world.check("POST", "/apis/v2/objects/s/rollback?version=1", "", 200, "").await;
    assert_eq!((told.body.as_str(), &*told.headers["X-Config-Version"]), ("", "3"));
    world.check("GET", "/apis/v2/objects/s", "", 200, "\"port\":1,").await;
    world.check("DELETE", "/apis/v2/objects/s", "", 200, "").await;
    world.check("GET", "/apis/v2/objects/s/versions/4", "", 404, "version 4 of s is its deletion").await;
    world.check("POST", "/apis/v2/objects/s/rollback?version=4", "", 400, "is its deletion").await;
    world.check("POST", "/apis/v2/objects/s/rollback?version=2", "", 200, "").await;
    world.check("GET", "/apis/v2/objects/s", "", 200, "\"port\":2,").await;
    let told = world.check("GET", "/apis/v2/objects/s/versions", "", 200, "").await;
    let versions: Vec<Value> = serde_json::from_str(&told.body).unwrap();
    assert_eq!((versions.len(), &versions[0]["action"]), (5, &json!("rollback")));
    // What a name stands for now is not overwritten by a version of another kind.
    world.check("DELETE", "/apis/v2/objects/s", "", 200, "").await;
    world.check("POST", BASE, "name: s\nkind: Pipeline", 201, "").await;
    world.check("POST", "/apis/v2/objects/s/rollback?version=1", "", 400, "s is a Pipeline and cannot become").await;
}
