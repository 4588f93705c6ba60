//! Settings of health checks: what is asked, and what a good answer looks like.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_base::Budget;
use tidegate_http::{
    message::{Method, RequestHead},
    upstream::{Answer, Endpoint},
};
use tidegate_pipeline::{GoDuration, Problems};

use crate::matcher::Pattern;

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::proxy) struct HealthConfig {
    /// Between the end of a check and the next one of the same server.
    pub(super) interval: GoDuration,
    /// Longest time for one check.
    pub(super) timeout: GoDuration,
    /// So many failed checks in a row make a server unwell.
    pub(super) fails: u32,
    /// So many good checks in a row make it well again.
    pub(super) passes: u32,
    /// Another port than the server's.
    port: Option<u16>,
    /// Path and query to ask for; empty: the path of the server's `url`.
    uri: String,
    /// An old name of `uri`, which counts where there is no `uri`.
    path: String,
    /// Method of the request; `GET` unless given.
    method: String,
    /// Headers of the request.
    headers: BTreeMap<String, String>,
    /// Body of the request.
    pub(super) body: String,
    /// Name for basic authentication.
    username: String,
    /// Password for basic authentication.
    password: String,
    /// What a good answer looks like; unless given, its status is 200 to 399.
    #[serde(rename = "match")]
    pub(super) matching: Match,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            interval: GoDuration(Duration::from_secs(60)),
            timeout: GoDuration(Duration::from_secs(3)),
            fails: 1,
            passes: 1,
            port: None,
            uri: String::new(),
            path: String::new(),
            method: "GET".to_owned(),
            headers: BTreeMap::new(),
            body: String::new(),
            username: String::new(),
            password: String::new(),
            matching: Match::default(),
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Match {
    /// Ranges of statuses, each with its first and its last.
    status_codes: Vec<Vec<u16>>,
    /// Headers, all of which must fit.
    headers: Vec<HeaderMatch>,
    /// What the body must have in its first 64 KiB.
    body: Option<BodyMatch>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct HeaderMatch {
    /// The header.
    name: String,
    /// Its first value, or an expression for it.
    #[serde(default)]
    value: String,
    /// `exact` (or nothing) or `regexp`.
    #[serde(default, rename = "type")]
    kind: String,
    /// The expression, compiled.
    #[serde(skip)]
    pattern: Pattern,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct BodyMatch {
    /// A part of the body, or an expression for one.
    value: String,
    /// `contains` (or nothing) or `regexp`.
    #[serde(default, rename = "type")]
    kind: String,
    /// The expression, compiled.
    #[serde(skip)]
    pattern: Pattern,
}

impl HealthConfig {
    pub(in crate::proxy) fn check(&mut self, at: &str, budget: &Budget, problems: &mut Problems) {
        for (field, duration) in [("interval", self.interval), ("timeout", self.timeout)] {
            problems.require(!duration.0.is_zero(), format!("{at}.{field}"), "must not be zero");
        }
        for (field, count) in [("fails", self.fails), ("passes", self.passes)] {
            problems.require(count > 0, format!("{at}.{field}"), "must be at least 1");
        }
        let method = !matches!(Method::of(self.method.as_bytes()), Method::Other | Method::Connect);
        problems.require(method, format!("{at}.method"), "is no method for a check");
        let both = self.username.is_empty() == self.password.is_empty();
        problems.require(both, format!("{at}.password"), "must be given together with username");
        for (index, range) in self.matching.status_codes.iter().enumerate() {
            let good = matches!(range[..], [first, last] if first <= last);
            problems.require(good, format!("{at}.match.statusCodes[{index}]"), "must be the first status and the last");
        }
        let mut kind = |kind: &str, plain: &str, field: String, value: &str| {
            problems.require(matches!(kind, "" | "regexp") || kind == plain, format!("{field}.type"), "is not known");
            let pattern = Pattern::from(if kind == "regexp" { value.to_owned() } else { String::new() });
            pattern.compile(&format!("{field}.value"), budget, problems);
            pattern
        };
        for (index, header) in self.matching.headers.iter_mut().enumerate() {
            let field = format!("{at}.match.headers[{index}]");
            header.pattern = kind(&header.kind, "exact", field, &header.value);
        }
        if let Some(body) = &mut self.matching.body {
            body.pattern = kind(&body.kind, "contains", format!("{at}.match.body"), &body.value);
        }
    }

    /// The request, and where it goes for a server at `url`.
    pub(super) fn request(&self, url: &str) -> Option<(RequestHead, Endpoint)> {
        let server = Endpoint::parse(url).ok()?;
        let authority = server.authority();
        let authority = match self.port {
            None => authority.to_owned(),
            Some(port) => {
                let host = authority.rsplit_once(':').filter(|(host, _)| !host.starts_with('[') || host.ends_with(']'));
                format!("{}:{port}", host.map_or(authority, |(host, _)| host))
            }
        };
        let target = [&self.uri, &self.path].into_iter().find(|text| !text.is_empty());
        let target = target.map_or(if server.base().is_empty() { "/" } else { server.base() }, String::as_str);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut head = RequestHead::default();
        head.method = Method::of(self.method.as_bytes());
        head.set_path(path.as_bytes());
        head.set_query(query.as_bytes());
        for (name, value) in &self.headers {
            head.headers.set(name, value.as_bytes());
        }
        if !self.username.is_empty() {
            let given = BASE64_STANDARD.encode(format!("{}:{}", self.username, self.password));
            head.headers.set("Authorization", format!("Basic {given}").as_bytes());
        }
        let scheme = if server.is_secure() { "https" } else { "http" };
        Some((head, Endpoint::parse(&format!("{scheme}://{authority}")).ok()?))
    }
}

impl Match {
    pub(super) fn fits(&self, answer: &Answer) -> bool {
        let status = if self.status_codes.is_empty() {
            (200..400).contains(&answer.status)
        } else {
            let within =
                |range: &Vec<u16>| matches!(range[..], [first, last] if (first..=last).contains(&answer.status));
            self.status_codes.iter().any(within)
        };
        let header = |header: &HeaderMatch| {
            let value = answer.headers.find(&header.name).unwrap_or_default();
            if header.kind == "regexp" { header.pattern.fits(value) } else { value == header.value.as_bytes() }
        };
        let body = |body: &BodyMatch| match body.kind.as_str() {
            "regexp" => body.pattern.fits(&answer.body),
            _ => {
                body.value.is_empty() || answer.body.windows(body.value.len()).any(|part| part == body.value.as_bytes())
            }
        };
        status && self.headers.iter().all(header) && self.body.as_ref().is_none_or(body)
    }
}
