//! `RateLimiter` lets only so many requests through in a time; some more wait.

mod config;
mod window;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use tidegate_base::clock;
use tidegate_http::message::RequestHead;
use tidegate_pipeline::{Context, Deps, Filter, Outcome, Problems, Step};

pub use config::Config;
use config::Url;
use window::{Policy, Window};

/// One count for each url of the settings, shared by the node's threads: a limit is the node's. A spec bounds how many there are.
pub struct RateLimiter {
    limiters: Vec<Limiter>,
}

struct Limiter {
    url: Url,
    policy: Policy,
    count: Arc<Count>,
}

/// Survives an edit that leaves url and policy alone; meanwhile the old filter and the new one share it.
struct Count {
    made: Instant,
    window: Mutex<Window>,
}

impl Filter for RateLimiter {
    const KIND: &'static str = "RateLimiter";
    const RESULTS: &'static [&'static str] = &["rateLimited"];
    const EXAMPLE: &'static str = "\
name: limiter
kind: RateLimiter
policies:
- name: usual
  timeoutDuration: 100ms
  limitRefreshPeriod: 1s
  limitForPeriod: 200
- name: uploads
  timeoutDuration: 0s
  limitRefreshPeriod: 1s
  limitForPeriod: 5
defaultPolicyRef: usual
urls:
- methods: [POST, PUT]
  url:
    prefix: /uploads/
  policyRef: uploads
- url:
    prefix: /
";
    type Config = Config;

    fn new(config: Config, deps: &Deps) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let policies = config.check(&deps.budget, &mut problems);
        problems.into_result()?;
        let count = || Arc::new(Count { made: clock::now(), window: Mutex::default() });
        let limiter = |(url, policy)| Limiter { url, policy, count: count() };
        Ok(Self { limiters: config.urls.into_iter().zip(policies).map(limiter).collect() })
    }

    fn handle<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let Some(limiter) = self.limiters.iter().find(|limiter| limiter.url.fits(cx.request())) else {
            return Step::Done(Outcome::Next);
        };
        let now = clock::now();
        let wait = {
            let mut window = limiter.count.window.lock().unwrap_or_else(PoisonError::into_inner);
            window.take(&limiter.policy, now.saturating_duration_since(limiter.count.made))
        };
        match wait {
            Some(wait) if wait.is_zero() => Step::Done(Outcome::Next),
            Some(wait) => Step::Wait(Box::pin(async move {
                tokio::time::sleep_until((now + wait).into()).await;
                Outcome::Next
            })),
            None => {
                cx.reject(429).set("X-EG-Rate-Limiter", b"too-many-requests");
                Step::Done(Outcome::Result("rateLimited"))
            }
        }
    }

    fn inherit(&mut self, previous: &Self) {
        for limiter in &mut self.limiters {
            let same = |old: &&Limiter| old.url.is_same(&limiter.url) && old.policy == limiter.policy;
            if let Some(old) = previous.limiters.iter().find(same) {
                limiter.count = Arc::clone(&old.count);
            }
        }
    }
}

impl Url {
    /// Whether it limits the same requests. The name of its policy does not matter: what that says does.
    fn is_same(&self, other: &Self) -> bool {
        self.methods == other.methods && self.url == other.url
    }

    fn fits(&self, request: &RequestHead) -> bool {
        let method = request.method_text();
        let good = self.methods.is_empty() || self.methods.iter().any(|name| name.as_bytes() == method);
        good && self.url.fits(Some(request.path()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidegate_base::{Budget, ByteSize, Limits, Profile};
    use tidegate_http::message::Method;

    use super::*;

    fn build(config: Value) -> Result<RateLimiter, Problems> {
        let budget = Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap());
        RateLimiter::new(serde_json::from_value(config).unwrap(), &Deps::new(budget, 1))
    }

    #[test]
    fn the_first_url_that_fits_counts() {
        let limiter = build(json!({
            "policies": [{"name": "a"}, {"name": "b", "limitForPeriod": 7}], "defaultPolicyRef": "a",
            "urls": [{"methods": ["PUT"], "url": {"exact": "/x"}, "policyRef": "b"}, {"url": {"prefix": "/x"}}],
        }))
        .unwrap();
        let fits = |method: &str, path: &str| {
            let mut request = RequestHead::default();
            request.method = Method::of(method.as_bytes());
            request.set_path(path.as_bytes());
            limiter.limiters.iter().position(|limiter| limiter.url.fits(&request))
        };
        assert_eq!(fits("PUT", "/x"), Some(0));
        assert_eq!([fits("GET", "/x"), fits("PUT", "/xy")], [Some(1); 2]);
        assert_eq!(fits("GET", "/y"), None);
        assert_eq!((limiter.limiters[0].policy.limit, limiter.limiters[1].policy.limit), (7, 50));
    }

    #[test]
    fn counts_survive_where_url_and_policy_stay() {
        let spec = |limit: u64, path: &str, policy: &str| {
            let policies = json!([{"name": policy, "limitForPeriod": limit}]);
            let urls = json!([{"url": {"exact": "/new"}}, {"url": {"regex": path}}]);
            build(json!({"policies": policies, "defaultPolicyRef": policy, "urls": urls})).unwrap()
        };
        let old = spec(7, "^/x", "a");
        let kept = |mut new: RateLimiter| {
            new.inherit(&old);
            [0, 1].map(|at| Arc::ptr_eq(&new.limiters[at].count, &old.limiters[at].count))
        };
        assert_eq!(kept(spec(7, "^/x", "b")), [true, true], "another name of the same policy");
        assert_eq!(kept(spec(7, "^/y", "a")), [true, false], "another url");
        assert_eq!(kept(spec(8, "^/x", "a")), [false, false], "another policy");
    }

    #[test]
    fn every_problem_is_named() {
        let problems = build(json!({
            "policies": [{"name": "", "limitForPeriod": 0, "limitRefreshPeriod": "0s"}],
            "urls": [{"url": {}, "policyRef": "none"}, {"url": {"exact": "/"}}],
        }));
        let problems = problems.err().unwrap();
        let mut fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
        fields.sort_unstable();
        assert_eq!(
            fields,
            [
                "policies[0].limitForPeriod",
                "policies[0].limitRefreshPeriod",
                "policies[0].name",
                "urls[0].policyRef",
                "urls[0].url",
            ]
        );
    }
}
