//! Which requests a pool is for.

use std::{collections::BTreeMap, net::IpAddr};

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_base::Budget;
use tidegate_http::message::{Method, RequestHead};
use tidegate_pipeline::Problems;

use super::hash::{Fnv, Random, of_client};
use crate::matcher::StringMatcher;

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RequestMatcher {
    /// `general` (or nothing): by `headers` and `urls`. `ipHash`, `headerHash` and `random`: a part of all requests, by `permil`.
    #[serde(default)]
    policy: String,
    /// Conditions on headers, by name. Of several values of a header one is enough.
    #[serde(default)]
    headers: BTreeMap<String, StringMatcher>,
    /// Whether all conditions on headers must hold, and not one of them.
    #[serde(default)]
    match_all_headers: bool,
    /// Paths and methods, of which one must fit where there are any.
    #[serde(default)]
    urls: Vec<Url>,
    /// How many of a thousand requests fit, 1 to 1000.
    #[serde(default)]
    permil: u32,
    /// The header that `headerHash` goes by: requests of one value all fit, or none.
    #[serde(default)]
    header_hash_key: String,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Url {
    /// Methods, in upper case; none: all of them.
    #[serde(default)]
    methods: Vec<String>,
    /// Condition on the path.
    url: StringMatcher,
}

impl RequestMatcher {
    /// Its policy's name.
    pub(super) fn policy(&self) -> &'static str {
        ["ipHash", "headerHash", "random"].into_iter().find(|name| *name == self.policy).unwrap_or("general")
    }

    pub(super) fn check(&self, at: &str, budget: &Budget, problems: &mut Problems) {
        let general = matches!(self.policy.as_str(), "" | "general");
        let known = general || matches!(self.policy.as_str(), "ipHash" | "headerHash" | "random");
        problems.require(known, format!("{at}.policy"), "must be general, ipHash, headerHash or random");
        if general {
            problems.require(!self.headers.is_empty(), format!("{at}.headers"), "is required for this policy");
        } else {
            let good = (1..=1000).contains(&self.permil);
            problems.require(good, format!("{at}.permil"), "must be 1 to 1000 for this policy");
        }
        let keyed = self.policy != "headerHash" || !self.header_hash_key.is_empty();
        problems.require(keyed, format!("{at}.headerHashKey"), "is required for headerHash");
        for (name, matcher) in &self.headers {
            matcher.check(&format!("{at}.headers.{name}"), budget, problems);
        }
        for (index, url) in self.urls.iter().enumerate() {
            url.url.check(&format!("{at}.urls[{index}].url"), budget, problems);
            for (number, name) in url.methods.iter().enumerate() {
                let good = Method::of(name.as_bytes()) != Method::Other;
                let field = format!("{at}.urls[{index}].methods[{number}]");
                problems.require(good, field, format!("\"{name}\" is no method"));
            }
        }
    }

    pub(super) fn fits(&self, head: &RequestHead, peer: Option<IpAddr>, random: &Random) -> bool {
        let hash = match self.policy.as_str() {
            "ipHash" => u64::from(of_client(head, peer)),
            "headerHash" => u64::from(Fnv::of(head.headers.find(&self.header_hash_key).unwrap_or_default())),
            "random" => random.next(),
            _ => return self.fits_headers(head) && self.fits_url(head),
        };
        hash % 1000 < u64::from(self.permil)
    }

    fn fits_headers(&self, head: &RequestHead) -> bool {
        let mut fits = self.headers.iter().map(|(name, matcher)| {
            let mut values = head.headers.matching(name).peekable();
            if values.peek().is_none() { matcher.fits(None) } else { values.any(|value| matcher.fits(Some(value))) }
        });
        if self.match_all_headers { fits.all(|fits| fits) } else { fits.any(|fits| fits) }
    }

    fn fits_url(&self, head: &RequestHead) -> bool {
        let fits = |url: &Url| {
            let method = url.methods.is_empty() || url.methods.iter().any(|name| name.as_bytes() == head.method_text());
            method && url.url.fits(Some(head.path()))
        };
        self.urls.is_empty() || self.urls.iter().any(fits)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidegate_base::{ByteSize, Limits, Profile};

    use super::*;

    fn build(spec: Value) -> Result<RequestMatcher, Problems> {
        let budget = Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap());
        let matcher: RequestMatcher = serde_json::from_value(spec).unwrap();
        let mut problems = Problems::default();
        matcher.check("f", &budget, &mut problems);
        problems.into_result().map(|()| matcher)
    }

    #[test]
    fn requests_fit_by_headers_and_urls() {
        let two = json!({"X-A": {"exact": "1"}, "X-B": {"prefix": "2"}});
        let any = build(json!({ "headers": two })).unwrap();
        let all = build(json!({"policy": "general", "headers": two, "matchAllHeaders": true})).unwrap();
        let url = json!([{"methods": ["PUT"], "url": {"exact": "/x"}}, {"url": {"regex": "^/[ab]$"}}]);
        let urls = build(json!({"headers": {"X-A": {"empty": true}}, "urls": url})).unwrap();
        let check = |matcher: &RequestMatcher, path: &str, headers: &[(&str, &str)], expected: bool| {
            let mut head = RequestHead::default();
            head.set_path(path.as_bytes());
            for (name, value) in headers {
                head.headers.append(name, value.as_bytes());
            }
            assert_eq!(matcher.fits(&head, None, &Random::new()), expected, "{path} {headers:?}");
        };
        check(&any, "/", &[("x-a", "0"), ("x-a", "1")], true);
        check(&any, "/", &[("x-a", "2")], false);
        check(&all, "/", &[("x-a", "1")], false);
        check(&all, "/", &[("x-a", "1"), ("x-b", "23")], true);
        check(&urls, "/a", &[], true);
        check(&urls, "/x", &[], false);
        check(&urls, "/a", &[("x-a", "")], false);
    }

    #[test]
    fn a_part_of_the_requests_fits() {
        let by_header = build(json!({"policy": "headerHash", "headerHashKey": "X-User", "permil": 300})).unwrap();
        let by_chance = build(json!({"policy": "random", "permil": 300})).unwrap();
        let random = Random::new();
        let (mut hashed, mut chosen) = (0, 0);
        for user in 0..2000 {
            let mut head = RequestHead::default();
            head.headers.append("X-User", format!("user-{user}").as_bytes());
            let fits = by_header.fits(&head, None, &random);
            assert_eq!(fits, Fnv::of(format!("user-{user}").as_bytes()) % 1000 < 300);
            hashed += u32::from(fits);
            chosen += u32::from(by_chance.fits(&head, None, &random));
        }
        assert!((450..750).contains(&hashed) && (450..750).contains(&chosen), "{hashed} {chosen}");
    }

    #[test]
    fn what_a_policy_needs_is_required() {
        let fields = |spec: Value| {
            let problems = build(spec).err().unwrap();
            problems.iter().map(|problem| problem.field.clone()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(fields(json!({})), "f.headers");
        assert_eq!(fields(json!({"policy": "x", "permil": 1})), "f.policy");
        assert_eq!(fields(json!({"policy": "headerHash", "permil": 1001})), "f.permil f.headerHashKey");
        let urls = json!([{"methods": ["get"], "url": {}}]);
        let spec = json!({"policy": "random", "permil": 1, "urls": urls});
        assert_eq!(fields(spec), "f.urls[0].url f.urls[0].methods[0]");
    }
}
