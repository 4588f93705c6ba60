//! Specs of the objects that move traffic: their keys are those of Easegress.

mod rules;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tidegate_pipeline::{Deps, FlowNode, GoDuration, METADATA, Parts, Pipeline, Registry, Report, stored_form};

pub use rules::{HostSpec, PathSpec, RuleSpec};

use super::address::IpFilterSpec;

const ORDERED: &str = "Ordered";
const RADIX_TREE: &str = "RadixTree";

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
    /// Kind of router: empty or `Ordered` takes the first path that fits, `RadixTree` the most specific one of a rule.
    #[serde(default)]
    pub router_kind: String,
    /// Size of the cache of routes. Has no effect: none is needed.
    #[serde(default)]
    pub cache_size: Option<u32>,
    /// What a line of the access log says: text with `{{Time}}`, `{{RemoteAddr}}`, `{{RealIP}}`, `{{Method}}`, `{{URI}}`,
    /// `{{Proto}}`, `{{StatusCode}}`, `{{Duration}}`, `{{ReqSize}}`, `{{RespSize}}`, `{{ReqHeaders}}`, `{{RespHeaders}}` and
    /// `{{Tags}}`; empty: all but the headers.
    #[serde(default)]
    pub access_log_format: String,
    /// The rules, in order.
    #[serde(default)]
    pub rules: Vec<RuleSpec>,
    /// Whether clients speak TLS. Needs a certificate, or `autoCert`.
    #[serde(default)]
    pub https: bool,
    /// HTTP/3. Not supported yet.
    #[serde(default)]
    pub http3: bool,
    /// Whether certificates of the AutoCertManager are shown, too, to clients that ask for a name of it.
    #[serde(default)]
    pub auto_cert: bool,
    /// Authorities of clients, PEM in base64: each client must have a certificate of one of them.
    #[serde(default)]
    pub ca_cert_base64: Option<String>,
    /// A certificate with its chain, PEM in base64. It is shown to clients that ask for no host that another one is for.
    #[serde(default)]
    pub cert_base64: Option<String>,
    /// Key of `certBase64`, PEM in base64.
    #[serde(default)]
    pub key_base64: Option<String>,
    /// More certificates by a name of your choice, PEM as it is or in base64. The host that a client asks for decides which one
    /// it gets.
    #[serde(default)]
    pub certs: BTreeMap<String, String>,
    /// Keys of `certs`, by the same names.
    #[serde(default)]
    pub keys: BTreeMap<String, String>,
    /// Clients that are let in; the others get a 403.
    #[serde(default)]
    pub ip_filter: Option<IpFilterSpec>,
    /// Traces of requests, and where their spans go.
    #[serde(default)]
    pub tracing: Option<tidegate_telemetry::Spec>,
    /// Name of a GlobalFilter, whose pipelines run around those of the routes; one that does not exist has no effect.
    #[serde(default)]
    pub global_filter: String,
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
    /// Data that filters find under `PIPELINE`.
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

/// The spec of a server as it is kept, which has these two keys whatever was given.
pub(super) fn stored_server(spec: &Value) -> Value {
    let mut stored = stored_form::<HttpServerSpec>(spec, METADATA);
    if let Value::Object(map) = &mut stored {
        let told =
            |key: &str| spec.as_object().is_some_and(|spec| spec.keys().any(|own| own.eq_ignore_ascii_case(key)));
        if !told("keepAliveTimeout") {
            map.insert("keepAliveTimeout".to_owned(), "60s".into());
        }
        map.entry("https").or_insert(Value::Bool(false));
    }
    stored
}

impl HttpServerSpec {
    pub(super) fn is_tree(&self) -> bool {
        self.router_kind == RADIX_TREE
    }

    /// As the spec has it: empty where it says nothing.
    pub(super) fn known_router_kind(&self) -> &'static str {
        ["", ORDERED, RADIX_TREE].into_iter().find(|kind| *kind == self.router_kind).unwrap_or_default()
    }

    /// Adds what a schema cannot say, but for the rules.
    pub(super) fn check(&self, report: &mut Report) {
        if self.cache_size.is_some_and(|size| size > 0) {
            report.warn("cacheSize", "has no effect: look-ups need no cache");
        }
        let problems = &mut report.problems;
        problems.require(!self.http3, "http3", NOT_YET);
        let known = matches!(self.router_kind.as_str(), "" | ORDERED | RADIX_TREE);
        problems.require(known, "routerKind", "must be Ordered or RadixTree");
        problems.require(self.max_connections > 0, "maxConnections", "must be at least 1");
        let address = self.address.is_empty() || self.address.parse::<std::net::IpAddr>().is_ok();
        problems.require(address, "address", "must be an IP address");
        problems.require(!self.keep_alive_timeout.0.is_zero(), "keepAliveTimeout", "must not be zero");
    }
}

impl PipelineSpec {
    /// `None` when the report has problems.
    pub(super) fn build(self, name: &str, registry: &Registry, deps: &Deps, report: &mut Report) -> Option<Pipeline> {
        let filters: Vec<Value> = self.filters.into_iter().map(Value::Object).collect();
        let parts = Parts { name, flow: &self.flow, filters: &filters, resilience: &self.resilience, data: self.data };
        Pipeline::build(parts, registry, deps, report)
    }
}
