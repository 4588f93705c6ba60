use serde_json::{Value, json};
use tidegate_base::{ByteSize, Limits, Profile};
use tidegate_pipeline::{Parts, Pipeline, Registry, Report};
use tidegate_testkit::pki::fill;

use super::*;

fn deps() -> Deps {
    Deps::new(Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap()), 2)
}

fn build(config: Value) -> Result<Proxy, Problems> {
    Proxy::new(serde_json::from_value(config).unwrap(), &deps())
}

fn fields(config: Value) -> Vec<String> {
    let problems = build(config).err().unwrap();
    let mut fields: Vec<String> = problems.iter().map(|problem| problem.field.clone()).collect();
    fields.sort_unstable();
    fields
}

#[test]
fn every_problem_is_named() {
    let cache = json!({"expiration": "1s", "maxEntryBytes": 1, "codes": [200], "methods": ["GET"]});
    assert_eq!(
        fields(json!({
            "pools": [{
                "servers": [{"url": "127.0.0.1:80"}, {"url": "https://a", "weight": 101}],
                "loadBalance": {"policy": "headerHash", "stickySession": {"mode": "x"}},
                "timeout": "0s", "failureCodes": [200, 700], "retryPolicy": "r", "circuitBreakerPolicy": "b",
                "serviceName": "s", "healthCheck": {"fails": 0},
            }, {"servers": [{"url": "http://a"}], "filter": {}}],
            "mirrorPool": {"servers": [], "retryPolicy": "r", "memoryCache": cache}, "maxRedirection": 21,
            "mtls": {"certBase64": "LS0t"},
        })),
        [
            "maxRedirection",
            "mirrorPool.filter",
            "mirrorPool.memoryCache",
            "mirrorPool.retryPolicy",
            "mirrorPool.retryPolicy",
            "mirrorPool.servers",
            "mtls.keyBase64",
            "mtls.rootCertBase64",
            "pools[0].circuitBreakerPolicy",
            "pools[0].failureCodes[1]",
            "pools[0].healthCheck.fails",
            "pools[0].loadBalance.headerHashKey",
            "pools[0].loadBalance.stickySession.mode",
            "pools[0].retryPolicy",
            "pools[0].servers",
            "pools[0].servers[0].url",
            "pools[0].servers[1].weight",
            "pools[0].serviceName",
            "pools[0].timeout",
            "pools[1].filter.headers",
        ]
    );
    let main = json!({"servers": [{"url": "http://a"}]});
    assert_eq!(fields(json!({"pools": []})), ["pools"]);
    assert_eq!(fields(json!({"pools": [main, main]})), ["pools"]);
    assert_eq!(fields(json!({"pools": [{"servers": []}]})), ["pools[0].servers"]);
}

#[test]
fn sizes_and_hosts_follow_the_spec() {
    let one = |extra: Value| {
        let mut config = json!({"pools": [{"servers": [{"url": "http://127.0.0.1"}, {"url": "http://a.test"}]}]});
        config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        build(config).unwrap()
    };
    assert_eq!(one(json!({})).main.answer_bytes_max, Some(4 << 20));
    assert_eq!(one(json!({"serverMaxBodySize": -1})).main.answer_bytes_max, None);
    assert_eq!(one(json!({"serverMaxBodySize": 9})).main.answer_bytes_max, Some(9));
    let hosts: Vec<bool> = one(json!({})).main.targets.iter().map(|target| target.own_host).collect();
    assert_eq!(hosts, [false, true], "a name takes the place of the client's host, an address does not");
    assert_eq!(one(json!({})).limits.per_endpoint_max, 512, "half of the node's for each of two threads");
    assert!(one(json!({})).plain);
}

/// Every YAML example of the manual page is a filter or a whole pipeline that can be built.
#[test]
fn examples_of_the_manual_are_built() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/filters/Proxy.md");
    let page = std::fs::read_to_string(page).unwrap();
    let examples: Vec<&str> = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 5);
    for example in examples {
        let spec: Value = serde_yaml_ng::from_str(&fill(example)).unwrap();
        let list = |key: &str| spec[key].as_array().cloned().unwrap_or_default();
        let filters = if spec["kind"] == "Pipeline" { list("filters") } else { vec![spec.clone()] };
        let (mut report, registry) = (Report::default(), Registry::new(crate::KINDS));
        let parts = Parts { filters: &filters, resilience: &list("resilience"), ..Parts::default() };
        let built = Pipeline::build(parts, &registry, &deps(), &mut report);
        assert!(built.is_some() && report == Report::default(), "{example}\n{report:?}");
    }
}
