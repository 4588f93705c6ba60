//! Every example of the filters' manual pages runs.

use serde_json::{Value, json};
use tidegate_testkit::MapStore;

use super::{Gateway, upstream::echo};

/// Blocks of YAML of a page.
fn blocks(page: &str) -> Vec<Value> {
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.map(|block| serde_yaml_ng::from_str(block).unwrap_or_else(|error| panic!("{error}: {block}"))).collect()
}

/// Sends what is for a server to the one that there is.
fn redirect(spec: &mut Value, upstream: &str) {
    match spec {
        Value::Object(map) => {
            for (name, value) in map {
                match value {
                    Value::String(url) if name == "url" && url.starts_with("http://") => upstream.clone_into(url),
                    value => redirect(value, upstream),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| redirect(item, upstream)),
        _ => {}
    }
}

#[test]
fn every_example_is_built_and_answers() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/filters");
    let upstream = format!("http://{}", echo());
    let (store, mut seen) = (MapStore::new(), 0);
    for page in std::fs::read_dir(directory).unwrap() {
        let path = page.unwrap().path();
        let examples = blocks(&std::fs::read_to_string(&path).unwrap());
        assert!(!examples.is_empty(), "{}", path.display());
        for mut example in examples {
            redirect(&mut example, &upstream);
            let list = |key: &str| example[key].as_array().cloned().unwrap_or_default();
            let (filters, mut flow) = match example["kind"].as_str() {
                Some("Pipeline") => (list("filters"), list("flow")),
                Some(_) => (vec![example.clone()], Vec::new()),
                None => panic!("{}: an example without a kind", path.display()),
            };
            let proxy = json!({"name": "server", "kind": "Proxy", "pools": [{"servers": [{ "url": upstream }]}]});
            // There is an answer before the example for those that change one, another in a namespace of its own, and one behind it
            // for the others.
            let ask = json!({"name": "ask", "kind": "RequestBuilder", "sourceNamespace": "DEFAULT"});
            let mut all = vec![proxy, ask];
            all.extend(filters.iter().cloned());
            if flow.is_empty() {
                flow = vec![
                    json!({"filter": "ask", "namespace": "second"}),
                    json!({"filter": "server", "alias": "second", "namespace": "second"}),
                    json!({"filter": "server"}),
                ];
                flow.extend(filters.iter().map(|filter| json!({ "filter": filter["name"] })));
                flow.push(json!({"filter": "server", "alias": "again"}));
            }
            let mut gateway = Gateway::with_store(&store);
            let pipeline = json!({"filters": all, "flow": flow, "resilience": list("resilience")});
            gateway.set("p", "Pipeline", pipeline);
            let server = json!({"port": 0, "address": "127.0.0.1", "rules": [{"paths": [{"backend": "p"}]}]});
            gateway.set("s", "HTTPServer", server);
            for (name, status) in gateway.apply() {
                let (error, warnings) = (status.error, status.warnings);
                assert!(error.is_none() && warnings.is_empty(), "{name}: {error:?} {warnings:?} {example}");
            }
            let answered = gateway.status("/api/v1");
            // None ends in what its filter cannot do.
            assert!((200..=599).contains(&answered) && answered != 500, "{answered}: {example}");
            seen += 1;
        }
    }
    assert!(seen > 15, "only {seen} examples were found");
}
