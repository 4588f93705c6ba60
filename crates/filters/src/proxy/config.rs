//! Settings of `Proxy`.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tidegate_http::upstream::Endpoint;
use tidegate_pipeline::{GoDuration, Problems};

/// Settings of the `Proxy` filter.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Pools of servers. One, so far: the main pool, without a `filter`.
    pub(super) pools: Vec<Pool>,
    /// Most connections kept unused to all servers together.
    #[serde(default = "default_idle")]
    pub(super) max_idle_conns: u32,
    /// Most connections kept unused to each server.
    #[serde(default = "default_idle_per_host")]
    pub(super) max_idle_conns_per_host: u32,
    /// Most bytes of an answer's body: 0 stands for 4 MiB, a negative number for no limit.
    #[serde(default)]
    pub(super) server_max_body_size: i64,
    /// Redirects to follow. Only 0, which passes them on, is supported yet.
    #[serde(default)]
    pub(super) max_redirection: u32,
    /// Copies of requests. Not supported yet.
    #[serde(default)]
    pub(super) mirror_pool: Option<Value>,
    /// Compression of answers. Not supported yet.
    #[serde(default)]
    pub(super) compression: Option<Value>,
    /// TLS to the servers. Not supported yet.
    #[serde(default)]
    pub(super) mtls: Option<Value>,
}

const fn default_idle() -> u32 {
    10_240
}

const fn default_idle_per_host() -> u32 {
    1024
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pool {
    /// The servers.
    #[serde(default)]
    pub(super) servers: Vec<Server>,
    /// How a server is picked.
    #[serde(default)]
    pub(super) load_balance: Option<LoadBalance>,
    /// Longest time for one attempt, from picking a server to the end of the answer. None: unlimited.
    #[serde(default)]
    pub(super) timeout: Option<GoDuration>,
    /// Statuses of servers that end as `failureCode`; all of 500 and above unless given.
    #[serde(default)]
    pub(super) failure_codes: Option<Vec<u16>>,
    /// Whether the server's own name goes into `Host` instead of the client's.
    #[serde(default)]
    pub(super) set_upstream_host: bool,
    /// As the filter's, for this pool; 0 takes the filter's.
    #[serde(default)]
    pub(super) server_max_body_size: i64,
    /// Which requests the pool serves. Not supported yet.
    #[serde(default)]
    pub(super) filter: Option<Value>,
    /// Discovery of servers. Not supported yet.
    #[serde(default)]
    pub(super) service_registry: Option<String>,
    /// Discovery of servers. Not supported yet.
    #[serde(default)]
    pub(super) service_name: Option<String>,
    /// Discovery of servers. Not supported yet.
    #[serde(default)]
    pub(super) server_tags: Option<Vec<String>>,
    /// Name of a retry policy. Not supported yet.
    #[serde(default)]
    pub(super) retry_policy: Option<String>,
    /// Name of a circuit breaker. Not supported yet.
    #[serde(default)]
    pub(super) circuit_breaker_policy: Option<String>,
    /// Cache of answers. Not supported yet.
    #[serde(default)]
    pub(super) memory_cache: Option<Value>,
    /// Active health checks. Not supported yet.
    #[serde(default)]
    pub(super) health_check: Option<Value>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Server {
    /// `http://HOST[:PORT][/PATH]`; the path goes before each request's path as it is.
    pub(super) url: String,
    /// Whether `Host` stays the client's even where the URL has a name and not an address.
    #[serde(default)]
    pub(super) keep_host: bool,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct LoadBalance {
    /// `roundRobin`, the only one yet.
    #[serde(default)]
    pub(super) policy: String,
    /// Sticky sessions. Not supported yet.
    #[serde(default)]
    pub(super) sticky_session: Option<Value>,
}

const NOT_YET: &str = "is not supported yet";

impl Config {
    /// Adds what is wrong; gives the endpoints of the main pool.
    pub(super) fn check(&self, problems: &mut Problems) -> Vec<Endpoint> {
        for (field, given) in [
            ("mirrorPool", self.mirror_pool.is_some()),
            ("compression", self.compression.is_some()),
            ("mtls", self.mtls.is_some()),
            ("maxRedirection", self.max_redirection > 0),
        ] {
            problems.require(!given, field, NOT_YET);
        }
        problems.require(self.pools.len() == 1, "pools", "must be one pool: candidate pools are not supported yet");
        self.pools.first().map_or_else(Vec::new, |pool| pool.check(problems))
    }
}

impl Pool {
    fn check(&self, problems: &mut Problems) -> Vec<Endpoint> {
        for (field, given) in [
            ("filter", self.filter.is_some()),
            ("serviceRegistry", self.service_registry.is_some()),
            ("serviceName", self.service_name.is_some()),
            ("serverTags", self.server_tags.is_some()),
            ("retryPolicy", self.retry_policy.is_some()),
            ("circuitBreakerPolicy", self.circuit_breaker_policy.is_some()),
            ("memoryCache", self.memory_cache.is_some()),
            ("healthCheck", self.health_check.is_some()),
        ] {
            problems.require(!given, format!("pools[0].{field}"), NOT_YET);
        }
        if let Some(balance) = &self.load_balance {
            // Unknown policies are this one in Easegress; the known others are not here yet, and are not the same.
            let good = matches!(balance.policy.as_str(), "" | "roundRobin");
            problems.require(good, "pools[0].loadBalance.policy", "only roundRobin is supported yet");
            problems.require(balance.sticky_session.is_none(), "pools[0].loadBalance.stickySession", NOT_YET);
        }
        problems.require(
            self.timeout.is_none_or(|timeout| !timeout.0.is_zero()),
            "pools[0].timeout",
            "must not be zero",
        );
        for (index, code) in self.failure_codes.iter().flatten().enumerate() {
            let good = (100..=599).contains(code);
            problems.require(good, format!("pools[0].failureCodes[{index}]"), "must be 100 to 599");
        }
        problems.require(!self.servers.is_empty(), "pools[0].servers", "must have at least one server");
        let mut endpoints = Vec::new();
        for (index, server) in self.servers.iter().enumerate() {
            match Endpoint::parse(&server.url) {
                Ok(endpoint) => endpoints.push(endpoint),
                Err(error) => problems.add(format!("pools[0].servers[{index}].url"), error.to_string()),
            }
        }
        endpoints
    }
}
