//! Retries: how often, and after which wait.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{GoDuration, Problems};

/// Longest wait before an attempt, however often it has grown.
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// By how much an exponential wait grows with each failure.
const GROWTH: f64 = 1.5;

/// Settings of a `Retry` policy.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RetryConfig {
    /// Most attempts, the first included. 0 counts as 1.
    pub(super) max_attempts: u32,
    /// Wait before the second attempt, at most an hour. There is none after the last.
    pub(super) wait_duration: GoDuration,
    /// `random`: every wait has this length. `exponential`: each is half as long again as the one before. In any case of letters.
    pub(super) back_off_policy: String,
    /// By which part of its length a wait may be longer or shorter, 0 to 1.
    pub(super) randomization_factor: f64,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            wait_duration: GoDuration(Duration::from_millis(500)),
            back_off_policy: "random".to_owned(),
            randomization_factor: 0.0,
        }
    }
}

impl RetryConfig {
    /// `None` when there is a problem.
    pub(super) fn check(&self, path: &str, problems: &mut Problems) -> Option<Retry> {
        let exponential = self.back_off_policy.eq_ignore_ascii_case("exponential");
        let known =
            exponential || self.back_off_policy.is_empty() || self.back_off_policy.eq_ignore_ascii_case("random");
        problems.require(known, format!("{path}.backOffPolicy"), "must be random or exponential");
        let factor = self.randomization_factor;
        let part = (0.0..=1.0).contains(&factor);
        problems.require(part, format!("{path}.randomizationFactor"), "must be 0 to 1");
        let short = self.wait_duration.0 <= WAIT_MAX;
        problems.require(short, format!("{path}.waitDuration"), "must be at most 1h");
        (known && part && short).then_some(Retry {
            attempts_max: self.max_attempts.max(1),
            wait: self.wait_duration.0,
            exponential,
            factor,
        })
    }
}

/// A checked [`RetryConfig`].
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    attempts_max: u32,
    wait: Duration,
    exponential: bool,
    factor: f64,
}

impl Retry {
    /// The wait before the next attempt after `failed` of them, 1 or more; `None`: there is none. `random` is at least 0 and
    /// less than 1.
    pub fn wait(&self, failed: u32, random: f64) -> Option<Duration> {
        if failed >= self.attempts_max {
            return None;
        }
        let grown = if self.exponential { GROWTH.powf(f64::from(failed.saturating_sub(1))) } else { 1.0 };
        let seconds = self.wait.as_secs_f64() * grown * (1.0 + self.factor * (2.0 * random - 1.0));
        // What grew out of all bounds is no number of seconds any more.
        Some(Duration::try_from_secs_f64(seconds).map_or(WAIT_MAX, |wait| wait.min(WAIT_MAX)))
    }

    /// Whether there may be a second attempt.
    pub fn repeats(&self) -> bool {
        self.attempts_max > 1
    }
}
