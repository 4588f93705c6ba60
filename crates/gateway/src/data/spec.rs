//! Specs of the objects that move traffic: their keys are those of Easegress.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tidegate_http::message::Method;
use tidegate_pipeline::{FlowNode, GoDuration, Problems, Report};

const NOT_YET: &str = "is not supported yet";

/// A listener and its routes.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpServerSpec {
    /// Port to listen on; 0 takes a free one, which is logged.
    pub port: u16,
    /// Address to listen on; empty: all of them.
    #[serde(default)]
    pub address: String,
    /// Whether connections serve more than one request.
    #[serde(default = "yes")]
    pub keep_alive: bool,
    /// Longest wait for the next request.
    #[serde(default = "default_keep_alive")]
    pub keep_alive_timeout: GoDuration,
    /// Most connections served at once; further ones wait to be accepted.
    #[serde(default = "default_connections")]
    pub max_connections: u32,
    /// Whether the client's address is added to `X-Forwarded-For`.
    #[serde(default)]
    pub x_forwarded_for: bool,
    /// Most bytes of a request's body: 0 stands for 4 MiB, a negative number for no limit.
    #[serde(default)]
    pub client_max_body_size: i64,
    /// Kind of router: empty or `Ordered`.
    #[serde(default)]
    pub router_kind: String,
    /// Size of the cache of routes. Has no effect: none is needed.
    #[serde(default)]
    pub cache_size: Option<u32>,
    /// Form of the access log. Has no effect yet.
    #[serde(default)]
    pub access_log_format: Option<String>,
    /// The rules, in order.
    #[serde(default)]
    pub rules: Vec<RuleSpec>,
    /// TLS. Not supported yet.
    #[serde(default)]
    pub https: bool,
    /// HTTP/3. Not supported yet.
    #[serde(default)]
    pub http3: bool,
    /// Certificates by ACME. Not supported yet.
    #[serde(default)]
    pub auto_cert: bool,
    /// Client certificates. Not supported yet.
    #[serde(default)]
    pub ca_cert_base64: Option<String>,
    /// Filter of client addresses. Not supported yet.
    #[serde(default)]
    pub ip_filter: Option<Value>,
    /// Tracing. Not supported yet.
    #[serde(default)]
    pub tracing: Option<Value>,
    /// Name of a global filter. Not supported yet.
    #[serde(default)]
    pub global_filter: Option<String>,
}

/// Hosts, and the paths below them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleSpec {
    /// Host, exact or with one `*` at its start or end; empty: every host.
    #[serde(default)]
    pub host: String,
    /// More hosts.
    #[serde(default)]
    pub hosts: Vec<HostSpec>,
    /// Paths; without one the rule fits nothing.
    #[serde(default)]
    pub paths: Vec<PathSpec>,
    /// Host as a regular expression. Not supported yet.
    #[serde(default)]
    pub host_regexp: Option<String>,
    /// Filter of client addresses. Not supported yet.
    #[serde(default)]
    pub ip_filter: Option<Value>,
}

/// One of several hosts.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostSpec {
    /// Host, exact or with one `*` at its start or end.
    pub value: String,
    /// Whether it is a regular expression. Not supported yet.
    #[serde(default)]
    pub is_regexp: bool,
}

/// A path and where its requests go.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PathSpec {
    /// The whole path. With `pathPrefix` too one of them is enough; with neither every path fits.
    #[serde(default)]
    pub path: String,
    /// What the path begins with.
    #[serde(default)]
    pub path_prefix: String,
    /// What takes the place of the path, or of its prefix.
    #[serde(default)]
    pub rewrite_target: String,
    /// Methods, in upper case; none: all of them.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Name of the pipeline.
    #[serde(default)]
    pub backend: String,
    /// As the server's, for this path; 0 takes the server's.
    #[serde(default)]
    pub client_max_body_size: i64,
    /// Path as a regular expression. Not supported yet.
    #[serde(default)]
    pub path_regexp: Option<String>,
    /// Conditions on headers. Not supported yet.
    #[serde(default)]
    pub headers: Vec<Value>,
    /// Conditions on the query. Not supported yet.
    #[serde(default)]
    pub queries: Vec<Value>,
    /// Filter of client addresses. Not supported yet.
    #[serde(default)]
    pub ip_filter: Option<Value>,
    /// Headers to set on the request. Not supported yet.
    #[serde(default)]
    pub set_headers: Map<String, Value>,
    /// A pool in place of a pipeline. Not supported yet.
    #[serde(default)]
    pub backend_pool: Option<Value>,
}

/// Filters and the flow between them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PipelineSpec {
    /// Order of the filters; empty: as they are defined.
    #[serde(default)]
    pub flow: Vec<FlowNode>,
    /// The filters, each with `name`, `kind` and the keys of its kind.
    pub filters: Vec<Map<String, Value>>,
    /// Policies that filters may name, each with `name` and `kind` (`Retry` or `CircuitBreaker`) and the keys of its kind.
    #[serde(default)]
    pub resilience: Vec<Value>,
    /// Data for templates. Has no effect yet.
    #[serde(default)]
    pub data: Map<String, Value>,
}

const fn yes() -> bool {
    true
}

const fn default_keep_alive() -> GoDuration {
    GoDuration(std::time::Duration::from_secs(60))
}

const fn default_connections() -> u32 {
    10_240
}

impl HttpServerSpec {
    /// Adds what a schema cannot say.
    pub(super) fn check(&self, report: &mut Report) {
        if self.cache_size.is_some_and(|size| size > 0) {
            report.warn("cacheSize", "has no effect: look-ups need no cache");
        }
        if self.access_log_format.as_ref().is_some_and(|format| !format.is_empty()) {
            report.warn("accessLogFormat", "has no effect yet");
        }
        let problems = &mut report.problems;
        for (field, given) in [
            ("https", self.https),
            ("http3", self.http3),
            ("autoCert", self.auto_cert),
            ("caCertBase64", self.ca_cert_base64.as_ref().is_some_and(|text| !text.is_empty())),
            ("ipFilter", self.ip_filter.is_some()),
            ("tracing", self.tracing.is_some()),
            ("globalFilter", self.global_filter.as_ref().is_some_and(|name| !name.is_empty())),
        ] {
            problems.require(!given, field, NOT_YET);
        }
        let ordered = matches!(self.router_kind.as_str(), "" | "Ordered");
        problems.require(ordered, "routerKind", "only Ordered is supported yet");
        problems.require(self.max_connections > 0, "maxConnections", "must be at least 1");
        let address = self.address.is_empty() || self.address.parse::<std::net::IpAddr>().is_ok();
        problems.require(address, "address", "must be an IP address");
        problems.require(!self.keep_alive_timeout.0.is_zero(), "keepAliveTimeout", "must not be zero");
        for (index, rule) in self.rules.iter().enumerate() {
            rule.check(&format!("rules[{index}]"), problems);
        }
    }
}

impl RuleSpec {
    /// Every host pattern of the rule.
    pub(super) fn patterns(&self) -> Vec<String> {
        let more = self.hosts.iter().map(|host| &host.value);
        std::iter::once(&self.host).chain(more).filter(|host| !host.is_empty()).cloned().collect()
    }

    fn check(&self, at: &str, problems: &mut Problems) {
        let regexp = self.host_regexp.as_ref().is_some_and(|text| !text.is_empty());
        problems.require(!regexp, format!("{at}.hostRegexp"), NOT_YET);
        problems.require(self.ip_filter.is_none(), format!("{at}.ipFilter"), NOT_YET);
        let hosts =
            self.hosts.iter().enumerate().map(|(index, host)| (format!("{at}.hosts[{index}].value"), &host.value));
        for (field, host) in std::iter::once((format!("{at}.host"), &self.host)).chain(hosts) {
            let inner = host.strip_prefix('*').or_else(|| host.strip_suffix('*')).unwrap_or(host);
            problems.require(!inner.contains('*'), field, "may have one *, at its start or its end");
        }
        for (index, host) in self.hosts.iter().enumerate() {
            problems.require(!host.is_regexp, format!("{at}.hosts[{index}].isRegexp"), NOT_YET);
        }
        for (index, path) in self.paths.iter().enumerate() {
            path.check(&format!("{at}.paths[{index}]"), problems);
        }
    }
}

impl PathSpec {
    /// The methods as a set; 0: all.
    pub(super) fn method_bits(&self) -> u16 {
        self.methods.iter().fold(0, |bits, name| bits | Method::of(name.as_bytes()).bit())
    }

    fn check(&self, at: &str, problems: &mut Problems) {
        for (field, given) in [
            ("pathRegexp", self.path_regexp.as_ref().is_some_and(|text| !text.is_empty())),
            ("headers", !self.headers.is_empty()),
            ("queries", !self.queries.is_empty()),
            ("ipFilter", self.ip_filter.is_some()),
            ("setHeaders", !self.set_headers.is_empty()),
            ("backendPool", self.backend_pool.is_some()),
        ] {
            problems.require(!given, format!("{at}.{field}"), NOT_YET);
        }
        for (field, path) in [("path", &self.path), ("pathPrefix", &self.path_prefix)] {
            let good = path.is_empty() || path.starts_with('/');
            problems.require(good, format!("{at}.{field}"), "must begin with /");
        }
        for (index, name) in self.methods.iter().enumerate() {
            let good = Method::of(name.as_bytes()) != Method::Other;
            problems.require(good, format!("{at}.methods[{index}]"), format!("\"{name}\" is no method"));
        }
        let rewritten = self.rewrite_target.is_empty() || !self.path.is_empty() || !self.path_prefix.is_empty();
        problems.require(rewritten, format!("{at}.rewriteTarget"), "needs path or pathPrefix");
        problems.require(!self.backend.is_empty(), format!("{at}.backend"), "is required");
    }
}

impl PipelineSpec {
    pub(super) fn check(&self, report: &mut Report) {
        if !self.data.is_empty() {
            report.warn("data", "has no effect yet");
        }
    }
}
