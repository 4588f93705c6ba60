//! `HeaderLookup` looks a record of the store up by a header and sets headers from it.

mod cache;

use std::sync::Arc;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tidegate_base::Budget;
use tidegate_http::message::{Headers, RequestHead};
use tidegate_pipeline::{Context, CustomData, Deps, Extent, Filter, Following, Outcome, Problems, Step};

use crate::matcher::Pattern;
use cache::{Cache, Found};

/// Settings of the `HeaderLookup` filter.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// What keys begin with, below `/custom-data/`. The header's value follows it as it is: it should end with a `/`.
    etcd_prefix: String,
    /// Header whose value names the record.
    header_key: String,
    /// Regular expression (RE2) on the path. Where it matches, `-` and its first group follow the header's value.
    #[serde(default)]
    path_reg_exp: Pattern,
    /// Which field of the record becomes which header.
    header_setters: Vec<Setter>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Setter {
    /// Name of the field.
    etcd_key: String,
    /// Name of the header.
    header_key: String,
}

/// Longest name of a record.
const KEY_BYTES_MAX: usize = 1 << 10;

/// Sets headers from records. Never fails: what is not found sets nothing.
pub struct HeaderLookup {
    config: Config,
    data: Option<Arc<dyn CustomData>>,
    budget: Budget,
    cache: Arc<Cache>,
    _following: Option<Following>,
}

impl Filter for HeaderLookup {
    const KIND: &'static str = "HeaderLookup";
    const RESULTS: &'static [&'static str] = &[];
    const EXAMPLE: &'static str = "\
name: lookup
kind: HeaderLookup
etcdPrefix: users/
headerKey: X-AUTH-USER
pathRegExp: ^/api/([a-z]+)
headerSetters:
- etcdKey: tenant
  headerKey: X-Tenant
- etcdKey: plan
  headerKey: X-Plan
";
    type Config = Config;

    fn new(config: Config, deps: &Deps) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        for (field, text) in [("etcdPrefix", &config.etcd_prefix), ("headerKey", &config.header_key)] {
            problems.require(!text.is_empty(), field, "must not be empty");
        }
        problems.require(!config.header_setters.is_empty(), "headerSetters", "must have at least one");
        for (index, setter) in config.header_setters.iter().enumerate() {
            for (field, text) in [("etcdKey", &setter.etcd_key), ("headerKey", &setter.header_key)] {
                problems.require(!text.is_empty(), format!("headerSetters[{index}].{field}"), "must not be empty");
            }
        }
        config.path_reg_exp.compile("pathRegExp", &deps.budget, &mut problems);
        problems.into_result()?;
        let cache = Arc::new(Cache::new(&deps.budget));
        let data = deps.custom_data.clone();
        let follow =
            |data: &Arc<dyn CustomData>| data.follow(config.prefix(), Extent::Changes, Arc::<Cache>::clone(&cache));
        Ok(Self { _following: data.as_ref().map(follow), config, data, budget: deps.budget.clone(), cache })
    }

    fn handle<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let key = self.config.key(cx.request());
        self.config.clear(&mut cx.request_mut().headers);
        let (Some(key), Some(data)) = (key, &self.data) else {
            return Step::Done(Outcome::Next);
        };
        match self.cache.find(&key) {
            Ok(found) => {
                set(&mut cx.request_mut().headers, &found);
                Step::Done(Outcome::Next)
            }
            Err(changes) => Step::Wait(Box::pin(async move {
                match data.get(&key).await {
                    Ok(record) => {
                        let found = self.config.read(record, &self.budget);
                        self.cache.keep(&key, &found, changes);
                        set(&mut cx.request_mut().headers, &found);
                    }
                    Err(error) => tracing::debug!(%error, "a record cannot be looked up"),
                }
                Outcome::Next
            })),
        }
    }
}

impl Config {
    fn prefix(&self) -> &str {
        self.etcd_prefix.trim_start_matches('/')
    }

    /// The record that a request names.
    fn key(&self, head: &RequestHead) -> Option<String> {
        let name = std::str::from_utf8(head.headers.find(&self.header_key)?).ok().filter(|name| !name.is_empty())?;
        let mut key = format!("{}{name}", self.prefix());
        if let Some(group) = self.path_reg_exp.first_group(head.path()) {
            key.push('-');
            key.push_str(std::str::from_utf8(&group).ok()?);
        }
        (key.len() <= KEY_BYTES_MAX).then_some(key)
    }

    /// Takes what the client sent under names that only the lookup may set. The key stays: it is there before the lookup.
    fn clear(&self, headers: &mut Headers) {
        for setter in &self.header_setters {
            if !setter.header_key.eq_ignore_ascii_case(&self.header_key) {
                headers.remove(&setter.header_key);
            }
        }
    }

    /// The headers that a record sets; none where it is none, malformed or too large.
    fn read(&self, record: Option<Bytes>, budget: &Budget) -> Found {
        let record: Map<String, Value> =
            record.and_then(|record| crate::record::read(&record, budget)).unwrap_or_default();
        let text = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        let found = self
            .header_setters
            .iter()
            .filter_map(|setter| Some((setter.header_key.clone(), record.get(&setter.etcd_key).and_then(text)?)));
        found.collect()
    }
}

fn set(headers: &mut Headers, found: &Found) {
    for (name, value) in &**found {
        headers.set(name, value.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_base::{ByteSize, Limits, Profile};

    use super::*;

    fn build(config: Value) -> Result<HeaderLookup, Problems> {
        let budget = Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap());
        HeaderLookup::new(serde_json::from_value(config).unwrap(), &Deps::new(budget, 1))
    }

    #[test]
    fn a_key_is_put_together_without_a_slash() {
        let setters = json!([{"etcdKey": "a", "headerKey": "A"}]);
        let key = |prefix: &str, pattern: &str, path: &str, value: &str| {
            let config =
                json!({"etcdPrefix": prefix, "headerKey": "X", "pathRegExp": pattern, "headerSetters": setters});
            let mut head = RequestHead::default();
            head.set_path(path.as_bytes());
            head.headers.append("X", value.as_bytes());
            build(config).ok().unwrap().config.key(&head)
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(key("users", "", "/a", "bob"), some("usersbob"));
        assert_eq!(key("/users/", "^/api/(\\w+)", "/api/v1/x", "bob"), some("users/bob-v1"));
        assert_eq!(key("users/", "^/api/(\\w+)", "/other", "bob"), some("users/bob"));
        assert_eq!(key("users/", "^/api", "/api", "bob"), some("users/bob"), "no group");
        assert_eq!(key("users/", "", "/", ""), None);
        assert_eq!(key("users/", "", "/", &"x".repeat(2000)), None);
    }

    #[test]
    fn records_are_read_in_json_and_yaml() {
        let setters = json!([{"etcdKey": "a", "headerKey": "A"}, {"etcdKey": "b", "headerKey": "B"}]);
        let filter = build(json!({"etcdPrefix": "u/", "headerKey": "X", "headerSetters": setters})).ok().unwrap();
        let read =
            |text: &'static str| filter.config.read(Some(Bytes::from_static(text.as_bytes())), &filter.budget).to_vec();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read("{\"a\": \"1\", \"b\": 2, \"c\": 3}"), [pair("A", "1"), pair("B", "2")]);
        assert_eq!(read("a: x\nb: [1]\n"), [pair("A", "x")]);
        assert_eq!(read("no record"), []);
        assert!(filter.config.read(None, &filter.budget).is_empty());
    }

    #[test]
    fn only_the_lookup_sets_its_headers() {
        let setters = json!([{"etcdKey": "a", "headerKey": "X-Plan"}, {"etcdKey": "b", "headerKey": "x-user"}]);
        let filter = build(json!({"etcdPrefix": "u/", "headerKey": "X-User", "headerSetters": setters})).ok().unwrap();
        let mut headers = Headers::new();
        for (name, value) in [("x-plan", "gold"), ("X-User", "ann"), ("X-Plan", "more"), ("X-Other", "1")] {
            headers.append(name, value.as_bytes());
        }
        filter.config.clear(&mut headers);
        assert_eq!((headers.find("X-Plan"), headers.find("X-User"), headers.len()), (None, Some(&b"ann"[..]), 2));
    }

    #[test]
    fn every_problem_is_named() {
        let problems = build(json!({
            "etcdPrefix": "", "headerKey": "", "pathRegExp": "(", "headerSetters": [{"etcdKey": "", "headerKey": "A"}],
        }));
        let fields: Vec<String> = problems.err().unwrap().iter().map(|problem| problem.field.clone()).collect();
        assert_eq!(fields, ["etcdPrefix", "headerKey", "headerSetters[0].etcdKey", "pathRegExp"]);
    }
}
