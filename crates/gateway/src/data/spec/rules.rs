//! Rules of an HTTPServer.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tidegate_http::message::Method;
use tidegate_pipeline::Problems;

use crate::data::{
    address::IpFilterSpec,
    conditions::{ConditionSpec, require_unique},
};

/// Longest `rewriteTarget`, and most parts of a path that it repeats: what one request can make of it is a few hundred KiB.
const REWRITE_MAX: usize = 4096;
const REFERENCES_MAX: usize = 32;

/// Hosts, and the paths below them. Without a host it is for every host.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleSpec {
    /// Host, exact or with one `*` at its start or end, in any case.
    #[serde(default)]
    pub host: String,
    /// Host as a regular expression in the syntax of RE2, in any case, searched for anywhere in it.
    #[serde(default)]
    pub host_regexp: String,
    /// More hosts, of which one is enough.
    #[serde(default)]
    pub hosts: Vec<HostSpec>,
    /// Paths; without one the rule fits nothing.
    #[serde(default)]
    pub paths: Vec<PathSpec>,
    /// Clients that the rule is for.
    #[serde(default)]
    pub ip_filter: Option<IpFilterSpec>,
}

/// One of several hosts.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostSpec {
    /// Host, exact or with one `*` at its start or end.
    pub value: String,
    /// Whether it is a regular expression.
    #[serde(default)]
    pub is_regexp: bool,
}

/// A path and where its requests go. Of `path`, `pathPrefix` and `pathRegexp` one is enough; with none every path fits.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PathSpec {
    /// The whole path. For a RadixTree it may have placeholders, `{name}` or `{name:regexp}`, and a `*` at its end.
    #[serde(default)]
    pub path: String,
    /// What the path begins with. Not for a RadixTree.
    #[serde(default)]
    pub path_prefix: String,
    /// Path as a regular expression in the syntax of RE2, searched for anywhere in it. Not for a RadixTree.
    #[serde(default)]
    pub path_regexp: String,
    /// What takes the place of the path, of its prefix, or of what the expression fits, where `$1` and `${name}` are groups.
    /// For a RadixTree it may have the placeholders of the path, and `{EG_WILDCARD}` for what its `*` stands for.
    #[serde(default)]
    pub rewrite_target: String,
    /// Methods, in upper case; none: all of them.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Conditions on headers.
    #[serde(default)]
    pub headers: Vec<ConditionSpec>,
    /// Whether all of `headers` must hold, and not one of them.
    #[serde(default)]
    pub match_all_header: bool,
    /// Conditions on parameters of the query.
    #[serde(default)]
    pub queries: Vec<ConditionSpec>,
    /// Whether all of `queries` must hold, and not one of them.
    #[serde(default)]
    pub match_all_query: bool,
    /// Name of the pipeline.
    #[serde(default)]
    pub backend: String,
    /// As the server's, for this path; 0 takes the server's.
    #[serde(default)]
    pub client_max_body_size: i64,
    /// Clients that the path is for.
    #[serde(default)]
    pub ip_filter: Option<IpFilterSpec>,
    /// Headers to set on the request; one that comes out empty is removed. Values may have variables such as `$host` or
    /// `${arg_id:none}`, and the placeholders or groups of the path.
    #[serde(default)]
    pub set_headers: BTreeMap<String, String>,
    /// A pool of servers in place of a pipeline: as one of a Proxy, whose pipeline is made for it.
    #[serde(default)]
    pub backend_pool: Option<Value>,
}

impl RuleSpec {
    /// Adds what a schema cannot say, but for what is found when it is compiled.
    pub(in crate::data) fn check(&self, at: &str, problems: &mut Problems) {
        let hosts = self.hosts.iter().enumerate().filter(|(_, host)| !host.is_regexp);
        let hosts = hosts.map(|(index, host)| (format!("{at}.hosts[{index}].value"), &host.value));
        for (field, host) in std::iter::once((format!("{at}.host"), &self.host)).chain(hosts) {
            let inner = host.strip_prefix('*').or_else(|| host.strip_suffix('*')).unwrap_or(host);
            problems.require(!inner.contains('*'), field, "may have one *, at its start or its end");
        }
        for (index, host) in self.hosts.iter().enumerate() {
            problems.require(!host.value.is_empty(), format!("{at}.hosts[{index}].value"), "must not be empty");
        }
    }
}

impl PathSpec {
    /// The methods as a set; 0: all.
    pub(in crate::data) fn method_bits(&self) -> u16 {
        self.methods.iter().fold(0, |bits, name| bits | Method::of(name.as_bytes()).bit())
    }

    pub(in crate::data) fn check(&self, at: &str, problems: &mut Problems) {
        for (field, path) in [("path", &self.path), ("pathPrefix", &self.path_prefix)] {
            let good = path.is_empty() || path.starts_with('/');
            problems.require(good, format!("{at}.{field}"), "must begin with /");
        }
        for (index, name) in self.methods.iter().enumerate() {
            let good = Method::of(name.as_bytes()) != Method::Other;
            problems.require(good, format!("{at}.methods[{index}]"), format!("\"{name}\" is no method"));
        }
        require_unique(&self.methods, &format!("{at}.methods"), problems);
        let places = [&self.path, &self.path_prefix, &self.path_regexp];
        let rewritten = self.rewrite_target.is_empty() || places.into_iter().any(|text| !text.is_empty());
        problems.require(rewritten, format!("{at}.rewriteTarget"), "needs path, pathPrefix or pathRegexp");
        let references = self.rewrite_target.matches(['$', '{']).count();
        let short = self.rewrite_target.len() <= REWRITE_MAX && references <= 2 * REFERENCES_MAX;
        let message = format!("may have {REWRITE_MAX} bytes and {REFERENCES_MAX} references to parts of the path");
        problems.require(short, format!("{at}.rewriteTarget"), message);
        let backend = !self.backend.is_empty() || self.backend_pool.is_some();
        problems.require(backend, format!("{at}.backend"), "is required");
    }
}
