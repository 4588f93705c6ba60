//! Settings of `RateLimiter`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_base::Budget;
use tidegate_pipeline::{GoDuration, Problems};

use super::window;
use crate::matcher::StringMatcher;

/// Settings of the `RateLimiter` filter.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// How much is allowed, by name.
    pub(super) policies: Vec<Policy>,
    /// The policy of a url that names none.
    #[serde(default)]
    pub(super) default_policy_ref: String,
    /// What is limited; the first that fits a request counts, each with a count of its own.
    pub(super) urls: Vec<Url>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Policy {
    /// Its name.
    pub(super) name: String,
    /// Longest that a request waits for its turn; 100ms unless given.
    #[serde(default)]
    pub(super) timeout_duration: Option<GoDuration>,
    /// Length of a cycle; 10ms unless given.
    #[serde(default)]
    pub(super) limit_refresh_period: Option<GoDuration>,
    /// Requests of one cycle; 50 unless given.
    #[serde(default = "fifty")]
    pub(super) limit_for_period: u64,
}

const fn fifty() -> u64 {
    50
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Url {
    /// Methods that are limited; none: all.
    #[serde(default)]
    pub(super) methods: Vec<String>,
    /// Which paths are limited.
    pub(super) url: StringMatcher,
    /// Name of the policy.
    #[serde(default)]
    pub(super) policy_ref: String,
}

impl Config {
    /// Adds what is wrong; gives the policy of each url that has one.
    pub(super) fn check(&self, budget: &Budget, problems: &mut Problems) -> Vec<window::Policy> {
        for (index, policy) in self.policies.iter().enumerate() {
            let at = format!("policies[{index}]");
            problems.require(!policy.name.is_empty(), format!("{at}.name"), "must not be empty");
            problems.require(policy.limit_for_period > 0, format!("{at}.limitForPeriod"), "must be 1 or more");
            let period = policy.limit_refresh_period.is_none_or(|period| !period.0.is_zero());
            problems.require(period, format!("{at}.limitRefreshPeriod"), "must be longer than zero");
        }
        let mut found = Vec::new();
        for (index, url) in self.urls.iter().enumerate() {
            let at = format!("urls[{index}]");
            url.url.check(&format!("{at}.url"), budget, problems);
            let name = if url.policy_ref.is_empty() { &self.default_policy_ref } else { &url.policy_ref };
            match self.policies.iter().find(|policy| policy.name == *name) {
                Some(policy) => found.push(policy.prepared()),
                None => problems.add(format!("{at}.policyRef"), format!("there is no policy \"{name}\"")),
            }
        }
        found
    }
}

impl Policy {
    fn prepared(&self) -> window::Policy {
        let or = |given: Option<GoDuration>, millis| given.map_or(Duration::from_millis(millis), |given| given.0);
        window::Policy {
            limit: self.limit_for_period,
            period: or(self.limit_refresh_period, 10),
            timeout: or(self.timeout_duration, 100),
        }
    }
}
