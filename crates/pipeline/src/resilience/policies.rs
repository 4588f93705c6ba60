//! The policies of a pipeline, by name.

use serde_json::Value;

use super::{BreakerConfig, BreakerSettings, Retry, RetryConfig};
use crate::{METADATA, Problems, Report, decode, flow::name_of, is_url_name, spec::metadata};

const CIRCUIT_BREAKER: &str = "CircuitBreaker";
const RETRY: &str = "Retry";

#[derive(Debug)]
enum Policy {
    CircuitBreaker(BreakerSettings),
    Retry(Retry),
    /// It has problems of its own: who names it is not wrong on top of that.
    Broken,
}

/// What pools may name.
#[derive(Debug, Default)]
pub struct Policies(Vec<(String, Policy)>);

impl Policies {
    /// Reads the list `resilience`; what is wrong with it goes into the report.
    pub(crate) fn read(specs: &[Value], report: &mut Report) -> Self {
        let mut policies = Self::default();
        for (index, spec) in specs.iter().enumerate() {
            let path = format!("resilience[{index}]");
            let name = name_of(spec);
            let good = is_url_name(name);
            let message = "must be 1 to 253 letters, digits, -, _, . or ~";
            report.problems.require(good, format!("{path}.name"), message);
            let twice = policies.0.iter().any(|(known, _)| known == name);
            report.problems.require(!twice, format!("{path}.name"), format!("there is another policy \"{name}\""));
            let policy = match metadata(spec, "kind") {
                CIRCUIT_BREAKER => decode::<BreakerConfig>(spec, &path, METADATA, report).and_then(|config| {
                    let settings = config.check(&path, &mut report.problems)?;
                    if !settings.can_open() {
                        let message = "is more than slidingWindowSize: the breaker never opens";
                        report.warn(&format!("{path}.minimumNumberOfCalls"), message);
                    }
                    Some(Policy::CircuitBreaker(settings))
                }),
                RETRY => decode::<RetryConfig>(spec, &path, METADATA, report)
                    .and_then(|config| config.check(&path, &mut report.problems))
                    .map(Policy::Retry),
                kind => {
                    let message = format!("\"{kind}\" is none of {CIRCUIT_BREAKER}, {RETRY}");
                    report.problems.add(format!("{path}.kind"), message);
                    None
                }
            };
            policies.0.push((name.to_owned(), policy.unwrap_or(Policy::Broken)));
        }
        policies
    }

    /// The retry policy that `field` names.
    pub fn retry(&self, name: &str, field: &str, problems: &mut Problems) -> Option<&Retry> {
        match self.find(name, field, problems)? {
            Policy::Retry(retry) => Some(retry),
            Policy::Broken => None,
            Policy::CircuitBreaker(_) => {
                problems.add(field, format!("\"{name}\" is a {CIRCUIT_BREAKER}, not a {RETRY}"));
                None
            }
        }
    }

    /// The circuit breaker that `field` names.
    pub fn breaker(&self, name: &str, field: &str, problems: &mut Problems) -> Option<&BreakerSettings> {
        match self.find(name, field, problems)? {
            Policy::CircuitBreaker(settings) => Some(settings),
            Policy::Broken => None,
            Policy::Retry(_) => {
                problems.add(field, format!("\"{name}\" is a {RETRY}, not a {CIRCUIT_BREAKER}"));
                None
            }
        }
    }

    fn find(&self, name: &str, field: &str, problems: &mut Problems) -> Option<&Policy> {
        let found = self.0.iter().find(|(known, _)| known == name).map(|(_, policy)| policy);
        problems.require(found.is_some(), field, format!("there is no policy \"{name}\" in resilience"));
        found
    }
}
