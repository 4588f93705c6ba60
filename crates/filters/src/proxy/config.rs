//! Settings of `Proxy`.

use std::sync::atomic::AtomicUsize;

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_base::{Holder, clock};
use tidegate_http::upstream::{Endpoint, Protocol};
use tidegate_pipeline::{Deps, GoDuration, Problems, resilience::Breaker};

use super::{
    balance::LoadBalance,
    cache::CacheConfig,
    compress::Compression,
    hash::Random,
    health::{Health, HealthConfig},
    pool::{Guard, Pool, Target},
    request::RequestMatcher,
    tls::{Mtls, Tls},
};

/// Most bytes of an answer unless a spec says otherwise.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// Most redirects of one request.
const REDIRECTS_MAX: u32 = 20;

/// Settings of the `Proxy` filter.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Pools of servers: one main pool, without a `filter`, and candidate pools, which get the requests that fit theirs. Of
    /// several candidates the first counts.
    pools: Vec<PoolConfig>,
    /// A pool that gets copies of the requests that fit its `filter`. Its answers are read and dropped. It has no policies.
    #[serde(default)]
    mirror_pool: Option<PoolConfig>,
    /// Most connections kept unused to all servers together.
    #[serde(default = "default_idle")]
    pub(super) max_idle_conns: u32,
    /// Most connections kept unused to each server.
    #[serde(default = "default_idle_per_host")]
    pub(super) max_idle_conns_per_host: u32,
    /// Most bytes of an answer's body: 0 stands for 4 MiB, a negative number for no limit.
    #[serde(default)]
    server_max_body_size: i64,
    /// Redirects to follow, as far as they lead to servers of the pool; 0, and those beyond, go to the client.
    #[serde(default)]
    pub(super) max_redirection: u32,
    /// Packs answers (gzip) for clients that take it.
    #[serde(default)]
    compression: Option<Compression>,
    /// TLS to servers of `https`. Without it **none of their certificates is verified**.
    #[serde(default)]
    mtls: Option<Mtls>,
}

const fn default_idle() -> u32 {
    10_240
}

const fn default_idle_per_host() -> u32 {
    1024
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct PoolConfig {
    /// The servers.
    #[serde(default)]
    servers: Vec<Server>,
    /// What is spoken with the servers, health checks and copies of requests included: `http1`; `http2`, with servers of `http` in the clear
    /// (h2c, which they must know of); `auto`, what each server of `https` chooses, and HTTP/1.1 with the others.
    #[serde(default)]
    protocol: Spoken,
    /// How a server is picked.
    #[serde(default)]
    load_balance: Option<LoadBalance>,
    /// Longest time for one attempt, from picking a server to the end of the answer. None: unlimited.
    #[serde(default)]
    timeout: Option<GoDuration>,
    /// Statuses of servers that end as `failureCode`; all of 500 and above unless given.
    #[serde(default)]
    failure_codes: Option<Vec<u16>>,
    /// Whether the server's own name goes into `Host` instead of the client's.
    #[serde(default)]
    set_upstream_host: bool,
    /// As the filter's, for this pool; 0 takes the filter's.
    #[serde(default)]
    server_max_body_size: i64,
    /// Which requests the pool serves; none for the main pool.
    #[serde(default)]
    filter: Option<RequestMatcher>,
    /// Name of a `Retry` policy of the pipeline. Bodies of requests are then held whole, up to the server's limit.
    #[serde(default)]
    retry_policy: Option<String>,
    /// Name of a `CircuitBreaker` policy of the pipeline. The pool has a breaker of its own.
    #[serde(default)]
    circuit_breaker_policy: Option<String>,
    /// Checks of the servers; those that fail them get no requests.
    #[serde(default)]
    health_check: Option<HealthConfig>,
    /// Discovery of servers. Not supported yet.
    #[serde(default)]
    service_registry: Option<String>,
    /// Discovery of servers. Not supported yet.
    #[serde(default)]
    service_name: Option<String>,
    /// Discovery of servers. Not supported yet.
    #[serde(default)]
    server_tags: Option<Vec<String>>,
    /// What spans of its calls are called where the server is traced; empty: `proxy#FILTER#POOL`.
    #[serde(default)]
    span_name: String,
    /// Keeps answers in memory, at most 4 MiB of them.
    #[serde(default)]
    memory_cache: Option<CacheConfig>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Server {
    /// `http://HOST[:PORT][/PATH]`, or the same with `https`; the path goes before each request's path as it is.
    url: String,
    /// Whether `Host` stays the client's even where the URL has a name and not an address.
    #[serde(default)]
    keep_host: bool,
    /// Its part of the requests under `weightedRandom`, 0 to 100. Either all servers of a pool have one, or none.
    #[serde(default)]
    weight: u32,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Spoken {
    #[default]
    Http1,
    Http2,
    Auto,
}

impl From<Spoken> for Protocol {
    fn from(spoken: Spoken) -> Self {
        match spoken {
            Spoken::Http1 => Protocol::Http1,
            Spoken::Http2 => Protocol::Http2,
            Spoken::Auto => Protocol::Auto,
        }
    }
}

const NOT_YET: &str = "is not supported yet";

/// The pools of a filter.
pub(super) struct Built {
    pub(super) main: Pool,
    pub(super) candidates: Vec<Pool>,
    pub(super) mirror: Option<Pool>,
    pub(super) compression: Option<Compression>,
    /// Servers of all of them.
    pub(super) servers: usize,
    pub(super) tls: Option<Tls>,
}

/// What pools are built with.
struct Site<'a> {
    deps: &'a Deps,
    random: &'a Random,
    /// The filter's `serverMaxBodySize`.
    answer_size: i64,
    servers: usize,
    tls: Option<Tls>,
    problems: Problems,
}

impl Config {
    /// # Errors
    /// All problems.
    pub(super) fn build(self, deps: &Deps, random: &Random) -> Result<Built, Problems> {
        let answer_size = self.server_max_body_size;
        let mut problems = Problems::default();
        let all = self.pools.iter().chain(&self.mirror_pool).flat_map(|pool| &pool.servers);
        let secure = |server: &&Server| Endpoint::parse(&server.url).is_ok_and(|endpoint| endpoint.is_secure());
        let tls = Tls::new(self.mtls.as_ref(), all.filter(secure).count(), deps, &mut problems);
        let mut site = Site { deps, random, answer_size, servers: 0, tls, problems };
        let few = self.max_redirection <= REDIRECTS_MAX;
        site.problems.require(few, "maxRedirection", format!("must be at most {REDIRECTS_MAX}"));
        let mains = self.pools.iter().filter(|pool| pool.filter.is_none()).count();
        site.problems.require(mains == 1, "pools", "must have one main pool, which is one without a filter");
        let (mut main, mut candidates) = (None, Vec::new());
        for (index, pool) in self.pools.into_iter().enumerate() {
            let name = match &pool.filter {
                None => "main".to_owned(),
                Some(_) => format!("candidate#{}", candidates.len()),
            };
            match pool.build(&format!("pools[{index}]"), name, &mut site) {
                Some(pool) if pool.filter.is_none() => main = Some(pool),
                pool => candidates.extend(pool),
            }
        }
        let mirror = self.mirror_pool.and_then(|pool| {
            let problems = &mut site.problems;
            problems.require(pool.filter.is_some(), "mirrorPool.filter", "is required");
            for (field, name) in
                [("retryPolicy", &pool.retry_policy), ("circuitBreakerPolicy", &pool.circuit_breaker_policy)]
            {
                problems.require(named(name).is_none(), format!("mirrorPool.{field}"), "a mirror pool has no policies");
            }
            let cached = pool.memory_cache.is_some();
            problems.require(!cached, "mirrorPool.memoryCache", "a mirror pool has no cache");
            pool.build("mirrorPool", "mirror".to_owned(), &mut site)
        });
        let (servers, tls) = (site.servers, site.tls);
        match (site.problems.into_result(), main) {
            (Ok(()), Some(main)) => Ok(Built { main, candidates, mirror, compression: self.compression, servers, tls }),
            (Err(problems), _) => Err(problems),
            (Ok(()), None) => Err(Problems::default()),
        }
    }
}

fn named(name: &Option<String>) -> Option<&str> {
    name.as_deref().filter(|name| !name.is_empty())
}

impl PoolConfig {
    fn check(&self, at: &str, problems: &mut Problems) {
        for (field, given) in [
            ("serviceRegistry", named(&self.service_registry).is_some()),
            ("serviceName", named(&self.service_name).is_some()),
            ("serverTags", self.server_tags.is_some()),
        ] {
            problems.require(!given, format!("{at}.{field}"), NOT_YET);
        }
        let timeout = self.timeout.is_none_or(|timeout| !timeout.0.is_zero());
        problems.require(timeout, format!("{at}.timeout"), "must not be zero");
        for (index, code) in self.failure_codes.iter().flatten().enumerate() {
            let good = (100..=599).contains(code);
            problems.require(good, format!("{at}.failureCodes[{index}]"), "must be 100 to 599");
        }
        problems.require(!self.servers.is_empty(), format!("{at}.servers"), "must have at least one server");
        let weighted = self.servers.iter().filter(|server| server.weight > 0).count();
        let all = weighted == 0 || weighted == self.servers.len();
        problems.require(all, format!("{at}.servers"), "must all have a weight, or none of them");
        for (index, server) in self.servers.iter().enumerate() {
            problems.require(server.weight <= 100, format!("{at}.servers[{index}].weight"), "must be 0 to 100");
        }
    }

    fn targets(&self, at: &str, site: &mut Site<'_>) -> Vec<Target> {
        let mut targets = Vec::with_capacity(self.servers.len());
        for (index, server) in self.servers.iter().enumerate() {
            match Endpoint::parse(&server.url) {
                Ok(mut endpoint) => {
                    endpoint.set_protocol(self.protocol.into());
                    if let Some(resolver) = &site.deps.resolver {
                        resolver.register(&mut endpoint);
                    }
                    let own_host = !server.keep_host && (self.set_upstream_host || !endpoint.is_literal());
                    targets.push(Target { endpoint, url: server.url.clone(), own_host });
                }
                Err(error) => site.problems.add(format!("{at}.servers[{index}].url"), error.to_string()),
            }
        }
        targets
    }

    fn answer_bytes_max(&self, of_filter: i64) -> Option<u64> {
        match (self.server_max_body_size, of_filter) {
            (0, 0) => Some(ANSWER_BYTES_MAX),
            (0, filter) => u64::try_from(filter).ok(),
            (pool, _) => u64::try_from(pool).ok(),
        }
    }

    fn guard(&self, at: &str, site: &mut Site<'_>) -> Option<Guard> {
        let (name, field) = (named(&self.circuit_breaker_policy)?, format!("{at}.circuitBreakerPolicy"));
        let settings = site.deps.policies.breaker(name, &field, &mut site.problems)?;
        let Some(lease) = site.deps.budget.try_lease(Holder::Gateway, settings.bytes()) else {
            site.problems.add(field, "no memory is free for the breaker's window");
            return None;
        };
        Some(Guard::new(Breaker::new(settings.clone(), clock::now()), lease))
    }

    fn build(mut self, at: &str, name: String, site: &mut Site<'_>) -> Option<Pool> {
        let before = site.problems.iter().count();
        self.check(at, &mut site.problems);
        let targets = self.targets(at, site);
        let urls: Vec<&str> = targets.iter().map(|target| target.url.as_str()).collect();
        let budget = &site.deps.budget;
        if let Some(filter) = &self.filter {
            filter.check(&format!("{at}.filter"), budget, &mut site.problems);
        }
        let balance = self.load_balance.take().unwrap_or_default();
        let field = format!("{at}.loadBalance");
        let weights = self.servers.iter().map(|server| server.weight).collect();
        let policy = balance.policy(&field, weights, &mut site.problems);
        let field = format!("{field}.stickySession");
        let sticky = balance.sticky_session.as_ref();
        let sticky = sticky.and_then(|sticky| sticky.build(&field, &urls, &mut site.problems));
        let breaker = self.guard(at, site);
        let (field, policies) = (format!("{at}.retryPolicy"), &site.deps.policies);
        let retry =
            named(&self.retry_policy).and_then(|name| policies.retry(name, &field, &mut site.problems)).cloned();
        let mut health = self.health_check.take().or(balance.health_check);
        if let Some(health) = &mut health {
            health.check(&format!("{at}.healthCheck"), budget, &mut site.problems);
        }
        let cache = self.memory_cache.take();
        let cache = cache.map(|cache| cache.build(&format!("{at}.memoryCache"), budget, &mut site.problems));
        if site.problems.iter().count() > before {
            return None;
        }
        let tls = site.tls.as_ref().map(|tls| &tls.client);
        let health =
            health.map(|health| Health::start(health, &urls, self.protocol.into(), site.deps, site.random, tls));
        let first = site.servers;
        site.servers += targets.len();
        Some(Pool {
            name,
            span_name: (!self.span_name.is_empty()).then(|| self.span_name.as_str().into()),
            first,
            policy,
            turn: AtomicUsize::new(0),
            sticky,
            health,
            timeout: self.timeout.map(|timeout| timeout.0),
            answer_bytes_max: self.answer_bytes_max(site.answer_size),
            failure_codes: self.failure_codes.take(),
            filter: self.filter.take(),
            retry,
            breaker,
            cache,
            targets,
        })
    }
}
