//! `HeaderToJSON` copies headers of a request into its body.

mod rewrite;

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_base::{Budget, Holder};
use tidegate_http::message::{BodyError, Known};
use tidegate_pipeline::{Context, Deps, Filter, Outcome, Problems, Step};

use rewrite::{Out, rewrite};

/// Settings of the `HeaderToJSON` filter.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Which header becomes which field.
    header_map: Vec<Field>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
struct Field {
    /// Name of the header.
    header: String,
    /// Name of the field.
    json: String,
}

/// Adds fields to the object in the body, or to each of an array.
pub struct HeaderToJson {
    fields: Vec<Field>,
    budget: Budget,
}

enum Failed {
    Read(BodyError),
    Json,
}

impl Filter for HeaderToJson {
    const KIND: &'static str = "HeaderToJSON";
    const RESULTS: &'static [&'static str] = &["jsonEncodeDecodeErr", "bodyReadErr"];
    const EXAMPLE: &'static str = "\
name: headers
kind: HeaderToJSON
headerMap:
- header: X-User
  json: username
- header: X-Tenant
  json: tenant
";
    type Config = Config;

    fn new(config: Config, deps: &Deps) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        problems.require(!config.header_map.is_empty(), "headerMap", "must have at least one header");
        for (index, field) in config.header_map.iter().enumerate() {
            for (name, text) in [("header", &field.header), ("json", &field.json)] {
                problems.require(!text.is_empty(), format!("headerMap[{index}].{name}"), "must not be empty");
            }
            let twice = config.header_map.iter().take(index).any(|before| before.json == field.json);
            problems.require(!twice, format!("headerMap[{index}].json"), "stands for another header already");
        }
        problems.into_result()?;
        Ok(Self { fields: config.header_map, budget: deps.budget.clone() })
    }

    fn handle<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let headers = &cx.request().headers;
        let mut fields = Vec::new();
        for field in &self.fields {
            if let Some(value) = headers.find(&field.header) {
                fields.push((text(field.json.as_bytes()), text(value)));
            }
        }
        if fields.is_empty() {
            return Step::Done(Outcome::Next);
        }
        Step::Wait(Box::pin(async move {
            match self.change(cx, &fields).await {
                Ok(()) => Outcome::Next,
                Err(Failed::Json) => {
                    cx.reject(400);
                    Outcome::Result("jsonEncodeDecodeErr")
                }
                Err(Failed::Read(error)) => {
                    cx.reject(error.status());
                    Outcome::Result("bodyReadErr")
                }
            }
        }))
    }
}

/// A JSON string. Bytes that are no text are replaced.
fn text(bytes: &[u8]) -> String {
    serde_json::Value::String(String::from_utf8_lossy(bytes).into_owned()).to_string()
}

impl HeaderToJson {
    async fn change(&self, cx: &mut Context, fields: &[(String, String)]) -> Result<(), Failed> {
        let exchange = cx.exchange();
        let body = exchange.body().await.map_err(Failed::Read)?;
        let most = exchange.body_limit().unwrap_or(u64::MAX);
        let mut lease = self.budget.empty(Holder::Gateway);
        let mut out = Out { text: Vec::new(), lease: &mut lease, most, full: false };
        let done = rewrite(&body, fields, &mut out);
        let (full, text) = (out.full, out.text);
        drop(body);
        match done {
            Ok(()) => {}
            Err(_) if full => return Err(Failed::Read(BodyError::TooLarge)),
            Err(_) => return Err(Failed::Json),
        }
        // The exchange takes a lease of its own.
        drop(lease);
        exchange.set_body(text).await.map_err(Failed::Read)?;
        let headers = &mut exchange.head_mut().headers;
        if headers.get(Known::ContentType).is_none() {
            headers.set_known(Known::ContentType, b"application/json");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_base::{ByteSize, Limits, Profile};

    use super::*;

    #[test]
    fn every_problem_is_named() {
        let budget = Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap());
        let fields = |map: serde_json::Value| {
            let config = serde_json::from_value(json!({ "headerMap": map })).unwrap();
            let problems = HeaderToJson::new(config, &Deps::new(budget.clone(), 1)).err().unwrap();
            problems.iter().map(|problem| problem.field.clone()).collect::<Vec<_>>()
        };
        assert_eq!(fields(json!([])), ["headerMap"]);
        let map = json!([{"header": "", "json": "a"}, {"header": "B", "json": "a"}, {"header": "C", "json": ""}]);
        assert_eq!(fields(map), ["headerMap[0].header", "headerMap[1].json", "headerMap[2].json"]);
    }
}
