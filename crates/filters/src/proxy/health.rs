//! Active health checks, on one of the I/O threads.
//!
//! A pool's task asks each of its servers again and again and tells what it finds by a flag that the threads read. Servers
//! are taken for well until a check says otherwise. The task ends when its pool is gone.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_base::{Budget, Holder, clock};
use tidegate_http::{
    message::{Method, RequestHead},
    upstream::{ASIDE_BYTES, Answer, Endpoint, Outgoing, PoolLimits, Pools, ask},
};
use tidegate_pipeline::{Deps, GoDuration, Problems};
use tokio::{sync::watch, task::JoinSet, time::sleep_until};

use super::hash::Random;
use crate::matcher::Pattern;

/// What is looked at of an answer's body; a longer one is read to its end and cut.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Most bytes of an answer to a check.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct HealthConfig {
    /// Between the end of a check and the next one of the same server.
    interval: GoDuration,
    /// Longest time for one check.
    timeout: GoDuration,
    /// So many failed checks in a row make a server unwell.
    fails: u32,
    /// So many good checks in a row make it well again.
    passes: u32,
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
    body: String,
    /// Name for basic authentication.
    username: String,
    /// Password for basic authentication.
    password: String,
    /// What a good answer looks like; unless given, its status is 200 to 399.
    #[serde(rename = "match")]
    matching: Match,
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
struct Match {
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
    pub(super) fn check(&mut self, at: &str, budget: &Budget, problems: &mut Problems) {
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
    fn request(&self, url: &str) -> Option<(RequestHead, Endpoint)> {
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
            let given = base64(format!("{}:{}", self.username, self.password).as_bytes());
            head.headers.set("Authorization", format!("Basic {given}").as_bytes());
        }
        Some((head, Endpoint::parse(&format!("http://{authority}")).ok()?))
    }
}

impl Match {
    fn fits(&self, answer: &Answer) -> bool {
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

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let bits = part.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - part.len()));
        for digit in 0..4 {
            let value = DIGITS[(bits >> (18 - 6 * digit) & 63) as usize];
            text.push(if digit <= part.len() { char::from(value) } else { '=' });
        }
    }
    text
}

/// Which servers are well, as the threads see it. While it lives, so does the task.
#[derive(Debug)]
pub(super) struct Health {
    well: Arc<[AtomicBool]>,
    _alive: watch::Sender<()>,
}

impl Health {
    /// Starts the checks of servers at `urls`, the first at once; without I/O threads nothing is started.
    pub(super) fn start(config: HealthConfig, urls: &[&str], deps: &Deps, random: &Random) -> Self {
        let well: Arc<[AtomicBool]> = urls.iter().map(|_| AtomicBool::new(true)).collect();
        let (alive, gone) = watch::channel(());
        if let Some(io) = &deps.io {
            let register = |(head, mut endpoint): (RequestHead, Endpoint)| {
                if let Some(resolver) = &deps.resolver {
                    resolver.register(&mut endpoint);
                }
                (head, endpoint)
            };
            let asked: Vec<_> = urls.iter().map(|url| config.request(url).map(register)).collect();
            let (budget, shared) = (deps.budget.clone(), Arc::clone(&well));
            let home = usize::try_from(random.next() % io.count().max(1) as u64).unwrap_or(0);
            let started = io.spawn(home, move || run(Arc::new(config), asked, shared, budget, gone));
            if let Err(error) = started {
                tracing::warn!(%error, "health checks of a pool are not started");
            }
        }
        Self { well, _alive: alive }
    }

    pub(super) fn is_well(&self, number: usize) -> bool {
        self.well.get(number).is_some_and(|well| well.load(Ordering::Relaxed))
    }
}

async fn run(
    config: Arc<HealthConfig>,
    asked: Vec<Option<(RequestHead, Endpoint)>>,
    well: Arc<[AtomicBool]>,
    budget: Budget,
    mut gone: watch::Receiver<()>,
) {
    let mut checks = JoinSet::new();
    for (number, asked) in asked.into_iter().enumerate() {
        let Some((head, endpoint)) = asked else { continue };
        let (config, well, budget) = (Arc::clone(&config), Arc::clone(&well), budget.clone());
        checks.spawn_local(async move {
            let mut streak = Streak::default();
            loop {
                // Without memory for it, a check tells nothing.
                if let Some(good) = check(&config, &head, &endpoint, &budget).await
                    && let Some(now) = streak.after(good, config.passes, config.fails)
                    && let Some(flag) = well.get(number)
                    && flag.swap(now, Ordering::Relaxed) != now
                {
                    tracing::info!(server = endpoint.authority(), well = now, "the health of a server has changed");
                }
                sleep_until((clock::now() + config.interval.0).into()).await;
            }
        });
    }
    // Fails when the pool is gone; the tasks go with their set.
    gone.changed().await.ok();
}

async fn check(config: &HealthConfig, head: &RequestHead, endpoint: &Endpoint, budget: &Budget) -> Option<bool> {
    let held = ASIDE_BYTES + 2 * (head.headers.allocated() + BODY_BYTES_MAX) as u64;
    let _lease = budget.try_lease(Holder::Gateway, held)?;
    let none = PoolLimits { per_endpoint_max: 0, total_max: 0, ..PoolLimits::default() };
    let pools = Pools::new(0, none, budget.clone(), Holder::Gateway);
    let out = Outgoing {
        endpoint,
        number: 0,
        host: None,
        deadline: Some(clock::now() + config.timeout.0),
        answer_bytes_max: Some(ANSWER_BYTES_MAX),
    };
    let answer = ask(&pools, &out, head, Bytes::from(config.body.clone()), BODY_BYTES_MAX).await;
    Some(answer.is_ok_and(|answer| config.matching.fits(&answer)))
}

/// Checks in a row that ended alike.
#[derive(Debug, Default)]
struct Streak {
    good: bool,
    length: u32,
}

impl Streak {
    /// Whether the server is well from now on; `None`: as before.
    fn after(&mut self, good: bool, passes: u32, fails: u32) -> Option<bool> {
        self.length = if self.good == good { self.length.saturating_add(1) } else { 1 };
        self.good = good;
        (self.length >= if good { passes } else { fails }).then_some(good)
    }
}

#[cfg(test)]
mod tests {
    use tidegate_base::{ByteSize, Limits, Profile};
    use tidegate_http::message::Headers;

    use super::*;

    fn build(text: &str) -> Result<HealthConfig, Problems> {
        let mut config: HealthConfig = serde_yaml_ng::from_str(text).unwrap();
        let (mut problems, limits) = (Problems::default(), Limits::new(ByteSize::mib(256), Profile::Server).unwrap());
        config.check("h", &Budget::new(limits), &mut problems);
        problems.into_result().map(|()| config)
    }

    #[test]
    fn streaks_decide() {
        let mut streak = Streak::default();
        let mut after = |good: bool| streak.after(good, 2, 3);
        assert_eq!([false, false, false].map(&mut after), [None, None, Some(false)]);
        assert_eq!([true, false, true, true].map(&mut after), [None, None, None, Some(true)]);
    }

    #[test]
    fn answers_fit_by_status_header_and_body() {
        let check = |text: &str, status: u16, expected: bool| {
            let mut headers = Headers::new();
            headers.append("X-State", b"ready-2");
            let answer = Answer { status, headers, body: Bytes::from_static(b"all is fine") };
            assert_eq!(build(text).unwrap().matching.fits(&answer), expected, "{text} {status}");
        };
        for (status, good) in [(199, false), (200, true), (399, true), (400, false)] {
            check("{}", status, good);
        }
        check("match: {statusCodes: [[500, 500], [404, 404]]}", 404, true);
        check("match: {statusCodes: [[500, 500], [404, 404]]}", 200, false);
        check("match: {headers: [{name: x-state, value: ready}]}", 200, false);
        check("match: {headers: [{name: x-state, value: '^ready-\\d$', type: regexp}]}", 200, true);
        check("match: {body: {value: is fine}}", 200, true);
        check("match: {body: {value: ^fine, type: regexp}}", 200, false);
        check("match: {body: {value: fine$, type: regexp}}", 200, true);
    }

    #[test]
    fn requests_go_where_the_spec_says() {
        let check = |text: &str, url: &str, authority: &str, path: &str| {
            let (head, endpoint) = build(text).unwrap().request(url).unwrap();
            assert_eq!((endpoint.authority(), &*head.path_text()), (authority, path), "{text} {url}");
            head
        };
        check("{}", "http://a:80/base", "a:80", "/base");
        check("{port: 81, path: /old}", "http://a/base", "a:81", "/old");
        check("{port: 81}", "http://[::1]", "[::1]:81", "/");
        let head = check("{port: 81, uri: '/x?y=1', username: u, password: p}", "http://[::1]:9", "[::1]:81", "/x");
        assert_eq!(head.query(), b"y=1");
        assert_eq!(head.headers.find("Authorization"), Some(&b"Basic dTpw"[..]));
        for (text, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(text.as_bytes()), coded);
        }
    }

    #[test]
    fn every_problem_is_named() {
        let problems = build(
            "{interval: 0s, fails: 0, method: get, username: u, match: {statusCodes: [[2, 1]], \
             headers: [{name: x, type: y}], body: {value: '(', type: regexp}}}",
        );
        let problems = problems.unwrap_err();
        let fields: Vec<&str> = problems.iter().filter_map(|problem| problem.field.strip_prefix("h.")).collect();
        let expected = "interval fails method password match.statusCodes[0] match.headers[0].type match.body.value";
        assert_eq!(fields.join(" "), expected);
    }
}
