//! `Mock` answers by itself: for tests, for services that do not exist yet, for maintenance.

mod config;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use tidegate_base::clock;
use tidegate_http::message::{Body, Headers, Known, RequestHead, Response};
use tidegate_pipeline::{Context, Deps, Filter, Outcome, Problems, Step};

pub use config::Config;
use config::Rule;

/// Answers the first rule that fits. Where none fits, the request goes on.
pub struct Mock {
    rules: Vec<Prepared>,
}

struct Prepared {
    rule: Rule,
    headers: Headers,
    body: Bytes,
}

const MOCKED: Outcome = Outcome::Result("mocked");

impl Filter for Mock {
    const KIND: &'static str = "Mock";
    const RESULTS: &'static [&'static str] = &["mocked"];
    const EXAMPLE: &'static str = "\
name: mock
kind: Mock
rules:
- match:
    pathPrefix: /status
    headers:
      X-Mode:
        exact: maintenance
  code: 503
  headers:
    Retry-After: '60'
  body: be back soon
  delay: 10ms
- match:
    path: /hello
  code: 200
  body: hello
";
    type Config = Config;

    fn new(config: Config, deps: &Deps) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        for (index, rule) in config.rules.iter().enumerate() {
            rule.check(&format!("rules[{index}]"), &deps.budget, &mut problems);
        }
        problems.into_result()?;
        Ok(Self { rules: config.rules.into_iter().map(prepare).collect() })
    }

    fn handle<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let Some(found) = self.rules.iter().find(|prepared| fits(&prepared.rule, cx.request())) else {
            return Step::Done(Outcome::Next);
        };
        let mut response = Response::new(found.rule.code);
        response.headers = found.headers.clone();
        if !found.body.is_empty() {
            response.body = Body::Full(found.body.clone());
        }
        cx.response = Some(response);
        match found.rule.delay.map_or(Duration::ZERO, |delay| delay.0) {
            Duration::ZERO => Step::Done(MOCKED),
            delay => Step::Wait(Box::pin(async move {
                tokio::time::sleep_until((clock::now() + delay).into()).await;
                MOCKED
            })),
        }
    }
}

fn prepare(rule: Rule) -> Prepared {
    let mut headers = Headers::new();
    for (name, value) in &rule.headers {
        headers.append(name, value.as_bytes());
    }
    if !rule.body.is_empty() && headers.get(Known::ContentType).is_none() {
        headers.append_known(Known::ContentType, content_type(&rule.body).as_bytes());
    }
    let body = Bytes::from(rule.body.clone());
    Prepared { rule, headers, body }
}

/// What a reader would take a body for that comes without a type.
fn content_type(body: &str) -> &'static str {
    let start: String = body.trim_start().chars().take(14).collect::<String>().to_ascii_lowercase();
    if ["<!doctype html", "<html", "<head", "<body"].iter().any(|tag| start.starts_with(tag)) {
        "text/html; charset=utf-8"
    } else {
        "text/plain; charset=utf-8"
    }
}

fn fits(rule: &Rule, request: &RequestHead) -> bool {
    let condition = &rule.matching;
    let path = request.path();
    let any_path = condition.path.is_empty() && condition.path_prefix.is_empty();
    let exact = !condition.path.is_empty() && condition.path.as_bytes() == path;
    let prefix = !condition.path_prefix.is_empty() && path.starts_with(condition.path_prefix.as_bytes());
    if !(any_path || exact || prefix) {
        return false;
    }
    let mut headers = condition.headers.iter().map(|(name, matcher)| matcher.fits(request.headers.find(name)));
    condition.headers.is_empty()
        || if condition.match_all_headers { headers.all(|fits| fits) } else { headers.any(|fits| fits) }
}
