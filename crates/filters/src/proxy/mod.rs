//! `Proxy` sends the request to a server and brings its answer.
//!
//! Bodies are streamed both ways and never held whole. So a status that came cannot be taken back when the body behind it
//! breaks off or grows over its limit: the client's connection is cut then. An announced length over the limit is refused
//! before.

mod config;

use std::{
    rc::Rc,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use tidegate_base::{Budget, Holder, clock};
use tidegate_http::{
    message::{Known, Response},
    upstream::{Endpoint, Outgoing, PoolLimits, Pools, SendError, send},
};
use tidegate_pipeline::{Context, Deps, Filter, Local, LocalKey, Outcome, Problems, Step};

pub use config::Config;

/// Most bytes of an answer unless a spec says otherwise.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// Sends requests to the servers of a pool, in turn.
pub struct Proxy {
    servers: Vec<Target>,
    /// Turn of the node, shared by its threads.
    turn: AtomicUsize,
    timeout: Option<Duration>,
    answer_bytes_max: Option<u64>,
    failure_codes: Option<Vec<u16>>,
    limits: PoolLimits,
    budget: Budget,
    local: LocalKey,
}

struct Target {
    endpoint: Endpoint,
    /// Whether `Host` is the server's.
    own_host: bool,
}

/// Connections of one thread.
struct Kept(Rc<Pools>);

impl Local for Kept {
    fn tick(&self, now: Instant) {
        self.0.sweep(now);
    }
}

impl Filter for Proxy {
    const KIND: &'static str = "Proxy";
    const RESULTS: &'static [&'static str] =
        &["internalError", "clientError", "serverError", "failureCode", "timeout", "shortCircuited"];
    const EXAMPLE: &'static str = "\
name: proxy
kind: Proxy
pools:
- servers:
  - url: http://127.0.0.1:9095
  - url: http://127.0.0.1:9096
  loadBalance:
    policy: roundRobin
  timeout: 5s
";
    type Config = Config;

    fn new(config: Config, deps: &Deps) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let endpoints = config.check(&mut problems);
        problems.into_result()?;
        let mut pools = config.pools;
        let pool = pools.swap_remove(0);
        let target = |(mut endpoint, server): (Endpoint, &config::Server)| {
            if let Some(resolver) = &deps.resolver {
                resolver.register(&mut endpoint);
            }
            let own_host = !server.keep_host && (pool.set_upstream_host || !endpoint.is_literal());
            Target { endpoint, own_host }
        };
        let servers = endpoints.into_iter().zip(&pool.servers).map(target).collect();
        let share = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX).div_ceil(deps.threads.max(1));
        let limits = PoolLimits {
            per_endpoint_max: share(config.max_idle_conns_per_host),
            total_max: share(config.max_idle_conns),
            ..PoolLimits::default()
        };
        let answer_bytes_max = match (pool.server_max_body_size, config.server_max_body_size) {
            (0, 0) => Some(ANSWER_BYTES_MAX),
            (0, filter) => u64::try_from(filter).ok(),
            (pool, _) => u64::try_from(pool).ok(),
        };
        Ok(Self {
            servers,
            turn: AtomicUsize::new(0),
            timeout: pool.timeout.map(|timeout| timeout.0),
            answer_bytes_max,
            failure_codes: pool.failure_codes,
            limits,
            budget: deps.budget.clone(),
            local: LocalKey::default(),
        })
    }

    fn handle<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        Step::Wait(Box::pin(self.forward(cx)))
    }
}

impl Proxy {
    async fn forward(&self, cx: &mut Context) -> Outcome {
        let number = match self.servers.len() {
            0 | 1 => 0,
            // The turn wraps at the end of its width; one server then has its turn twice.
            servers => self.turn.fetch_add(1, Ordering::Relaxed) % servers,
        };
        let Some(target) = self.servers.get(number) else { return fail(cx, 503, "internalError") };
        let kept = cx.local.get(&self.local, || {
            Kept(Pools::new(self.servers.len(), self.limits, self.budget.clone(), Holder::Gateway))
        });
        let out = Outgoing {
            endpoint: &target.endpoint,
            number,
            host: target.own_host.then(|| target.endpoint.authority()),
            deadline: self.timeout.map(|timeout| clock::now() + timeout),
            answer_bytes_max: self.answer_bytes_max,
        };
        match send(&kept.0, &out, cx.exchange()).await {
            Ok(answer) => {
                let failed = match &self.failure_codes {
                    None => answer.status >= 500,
                    Some(codes) => codes.contains(&answer.status),
                };
                merge(cx, answer);
                if failed { Outcome::Result("failureCode") } else { Outcome::Next }
            }
            Err(error) => {
                let (status, result) = outcome(error);
                fail(cx, status, result)
            }
        }
    }
}

/// Status and result of an attempt without an answer.
const fn outcome(error: SendError) -> (u16, &'static str) {
    match error {
        SendError::NoAddress | SendError::Connect(_) | SendError::NoAnswer | SendError::BadAnswer(_) => {
            (503, "serverError")
        }
        SendError::Timeout => (408, "timeout"),
        SendError::ClientGone => (499, "clientError"),
        SendError::ClientBody(error) => (error.status(), "clientError"),
        SendError::Tunnel => (501, "internalError"),
        SendError::TooLarge | SendError::BodyGone => (500, "internalError"),
        SendError::NoMemory => (503, "internalError"),
    }
}

fn fail(cx: &mut Context, status: u16, result: &'static str) -> Outcome {
    cx.reject(status);
    Outcome::Result(result)
}

/// Headers that filters have set stay, but where the server says something of its own about sharing across origins.
fn merge(cx: &mut Context, mut answer: Response) {
    if let Some(before) = cx.response.take() {
        for (name, value) in before.headers.iter() {
            let Ok(name) = std::str::from_utf8(name) else { continue };
            let known = Known::of(name.as_bytes());
            let sharing = name.get(..15).is_some_and(|start| start.eq_ignore_ascii_case("Access-Control-"));
            if known != Known::ContentLength && !(sharing && answer.headers.find(name).is_some()) {
                answer.headers.append(name, value);
            }
        }
    }
    cx.response = Some(answer);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidegate_base::{ByteSize, Limits, Profile};

    use super::*;

    fn build(config: Value) -> Result<Proxy, Problems> {
        let limits = Limits::new(ByteSize::mib(256), Profile::Server).unwrap();
        let deps = Deps::new(Budget::new(limits), 2);
        Proxy::new(serde_json::from_value(config).unwrap(), &deps)
    }

    #[test]
    fn every_problem_is_named() {
        let problems = build(json!({
            "pools": [{
                "servers": [{"url": "127.0.0.1:80"}, {"url": "https://a"}], "loadBalance": {"policy": "random"},
                "timeout": "0s", "failureCodes": [200, 700], "retryPolicy": "r",
            }],
            "mirrorPool": {}, "maxRedirection": 1,
        }));
        let problems = problems.err().unwrap();
        let mut fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
        fields.sort_unstable();
        assert_eq!(
            fields,
            [
                "maxRedirection",
                "mirrorPool",
                "pools[0].failureCodes[1]",
                "pools[0].loadBalance.policy",
                "pools[0].retryPolicy",
                "pools[0].servers[0].url",
                "pools[0].servers[1].url",
                "pools[0].timeout",
            ]
        );
        for pools in [json!([]), json!([{"servers": []}]), json!([{}, {}])] {
            assert!(build(json!({ "pools": pools })).is_err());
        }
    }

    #[test]
    fn sizes_and_hosts_follow_the_spec() {
        let one = |extra: Value| {
            let mut config = json!({"pools": [{"servers": [{"url": "http://127.0.0.1"}, {"url": "http://a.test"}]}]});
            config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            build(config).unwrap()
        };
        assert_eq!(one(json!({})).answer_bytes_max, Some(4 << 20));
        assert_eq!(one(json!({"serverMaxBodySize": -1})).answer_bytes_max, None);
        assert_eq!(one(json!({"serverMaxBodySize": 9})).answer_bytes_max, Some(9));
        let hosts: Vec<bool> = one(json!({})).servers.iter().map(|target| target.own_host).collect();
        assert_eq!(hosts, [false, true], "a name takes the place of the client's host, an address does not");
        assert_eq!(one(json!({})).limits.per_endpoint_max, 512, "half of the node's for each of two threads");
    }
}
