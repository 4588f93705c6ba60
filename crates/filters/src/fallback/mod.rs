//! `Fallback` answers in the place of a service that failed.

use std::collections::BTreeMap;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_http::message::{Body, Known};
use tidegate_pipeline::{Context, Deps, Filter, Outcome, Problems, Step};

/// Settings of the `Fallback` filter.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Status of the answer, 200 to 599.
    mock_code: u16,
    /// Headers of the answer; each takes the place of what the answer had under its name.
    #[serde(default)]
    mock_headers: BTreeMap<String, String>,
    /// Body of the answer.
    #[serde(default)]
    mock_body: String,
}

/// Writes over status, body and some headers of the answer that there is.
pub struct Fallback {
    config: Config,
    body: Bytes,
}

impl Filter for Fallback {
    const KIND: &'static str = "Fallback";
    const RESULTS: &'static [&'static str] = &["fallback", "responseNotFound"];
    const EXAMPLE: &'static str = "\
name: fallback
kind: Fallback
mockCode: 503
mockHeaders:
  Content-Type: application/json
mockBody: '{\"message\": \"try again later\"}'
";
    type Config = Config;

    fn new(config: Config, _: &Deps) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        problems.require((200..=599).contains(&config.mock_code), "mockCode", "must be 200 to 599");
        problems.into_result()?;
        Ok(Self { body: Bytes::from(config.mock_body.clone()), config })
    }

    fn handle<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let Some(response) = &mut cx.response else { return Step::Done(Outcome::Result("responseNotFound")) };
        response.status = self.config.mock_code;
        // What described the old body does not describe this one.
        for name in [Known::ContentLength, Known::ContentEncoding, Known::ETag] {
            response.headers.remove_known(name);
        }
        for (name, value) in &self.config.mock_headers {
            response.headers.set(name, value.as_bytes());
        }
        response.body = if self.body.is_empty() { Body::Empty } else { Body::Full(self.body.clone()) };
        Step::Done(Outcome::Result("fallback"))
    }
}
