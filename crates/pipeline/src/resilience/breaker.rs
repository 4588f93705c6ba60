//! The circuit breaker: it stops calls to what fails, and lets a few through after a while to see whether it is well.
//!
//! ```text
//!   closed ──rate over a threshold──► open ──wait is over, at the next call──► half-open ──rates are good──► closed
//!                                      ▲                                          │
//!                                      └──── a rate is over, or it lasts too long ┘
//! ```
//! Each change of state has a number, which calls carry: what ends in another state than it began in is not counted.

use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Deserialize;

use super::window::{Counts, Sample, Second, Window};
use crate::{GoDuration, Problems};

/// Most bytes of one breaker's window.
const WINDOW_BYTES_MAX: usize = 1 << 20;

/// Settings of a `CircuitBreaker` policy.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BreakerConfig {
    /// `COUNT_BASED`: the last calls count. `TIME_BASED`: the calls of the last seconds count.
    pub(super) sliding_window_type: String,
    /// Calls, or seconds, that the window holds. It takes at most 1 MiB: 1048576 calls, or 87381 seconds.
    pub(super) sliding_window_size: u32,
    /// From this percentage of failed calls on it opens, 1 to 100.
    pub(super) failure_rate_threshold: u8,
    /// From this percentage of slow calls on it opens, 1 to 100.
    pub(super) slow_call_rate_threshold: u8,
    /// A call that lasts at least this long and does not fail is slow.
    pub(super) slow_call_duration_threshold: GoDuration,
    /// With fewer calls in the window it does not open.
    pub(super) minimum_number_of_calls: u32,
    /// Calls let through while it is half-open.
    pub(super) permitted_number_of_calls_in_half_open_state: u32,
    /// How long it may stay half-open once these calls are on their way; 0: without limit.
    pub(super) max_wait_duration_in_half_open_state: GoDuration,
    /// How long it stays open.
    pub(super) wait_duration_in_open_state: GoDuration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            sliding_window_type: "COUNT_BASED".to_owned(),
            sliding_window_size: 100,
            failure_rate_threshold: 50,
            slow_call_rate_threshold: 100,
            slow_call_duration_threshold: GoDuration(Duration::from_secs(60)),
            minimum_number_of_calls: 100,
            permitted_number_of_calls_in_half_open_state: 10,
            max_wait_duration_in_half_open_state: GoDuration(Duration::ZERO),
            wait_duration_in_open_state: GoDuration(Duration::from_secs(60)),
        }
    }
}

/// A checked [`BreakerConfig`].
#[derive(Debug, Clone)]
pub struct BreakerSettings {
    by_time: bool,
    size: usize,
    failure_rate: u64,
    slow_rate: u64,
    slow_after: Duration,
    minimum: u64,
    permitted: u64,
    half_open_max: Duration,
    open_for: Duration,
}

impl BreakerConfig {
    /// `None` when there is a problem.
    pub(super) fn check(&self, path: &str, problems: &mut Problems) -> Option<BreakerSettings> {
        let before = problems.iter().count();
        let mut need = |good: bool, field: &str, message: &str| {
            problems.require(good, format!("{path}.{field}"), message);
        };
        let by_time = match self.sliding_window_type.as_str() {
            "COUNT_BASED" | "" => false,
            kind => {
                need(kind == "TIME_BASED", "slidingWindowType", "must be COUNT_BASED or TIME_BASED");
                true
            }
        };
        let size = usize::try_from(self.sliding_window_size).unwrap_or(usize::MAX);
        need(size > 0, "slidingWindowSize", "must be at least 1");
        let most = WINDOW_BYTES_MAX / slot_bytes(by_time);
        need(
            size <= most,
            "slidingWindowSize",
            &format!("must be at most {most}: the window would take more than 1 MiB"),
        );
        for (rate, field) in [
            (self.failure_rate_threshold, "failureRateThreshold"),
            (self.slow_call_rate_threshold, "slowCallRateThreshold"),
        ] {
            need((1..=100).contains(&rate), field, "must be 1 to 100");
        }
        let permitted = u64::from(self.permitted_number_of_calls_in_half_open_state);
        need(permitted > 0, "permittedNumberOfCallsInHalfOpenState", "must be at least 1: it would never close again");
        (problems.iter().count() == before).then(|| BreakerSettings {
            by_time,
            size,
            failure_rate: u64::from(self.failure_rate_threshold),
            slow_rate: u64::from(self.slow_call_rate_threshold),
            slow_after: self.slow_call_duration_threshold.0,
            minimum: u64::from(self.minimum_number_of_calls),
            permitted,
            half_open_max: self.max_wait_duration_in_half_open_state.0,
            open_for: self.wait_duration_in_open_state.0,
        })
    }
}

const fn slot_bytes(by_time: bool) -> usize {
    if by_time { size_of::<Second>() } else { size_of::<Option<Sample>>() }
}

impl BreakerSettings {
    /// Bytes that a breaker with these settings holds.
    pub fn bytes(&self) -> u64 {
        (size_of::<Breaker>() + self.size * slot_bytes(self.by_time)) as u64
    }

    /// Whether the window can ever hold as many calls as a decision needs. If not, the breaker never opens.
    pub(super) fn can_open(&self) -> bool {
        self.by_time || self.minimum <= self.size as u64
    }
}

/// A call that was let through, to be ended by [`Breaker::record`] or [`Breaker::release`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

/// The state as others may see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Closed,
    HalfOpen,
    Open,
}

/// What was said to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// None: the call must not be made.
    pub ticket: Option<Ticket>,
    /// The new state, where this changed it.
    pub changed: Option<Phase>,
}

#[derive(Debug)]
enum State {
    Closed(Window),
    /// No result leaves the window here, so sums are enough.
    HalfOpen {
        admitted: u64,
        counts: Counts,
    },
    Open,
}

/// One breaker.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    state: State,
    number: u64,
    since: Instant,
}

impl Breaker {
    /// A closed one.
    pub fn new(settings: BreakerSettings, now: Instant) -> Self {
        let state = State::Closed(window(&settings, now));
        Self { settings, state, number: 0, since: now }
    }

    pub fn phase(&self) -> Phase {
        match self.state {
            State::Closed(_) => Phase::Closed,
            State::HalfOpen { .. } => Phase::HalfOpen,
            State::Open => Phase::Open,
        }
    }

    /// Asks whether a call may be made.
    pub fn acquire(&mut self, now: Instant) -> Admission {
        let lasted = now.saturating_duration_since(self.since);
        let mut changed = None;
        if matches!(self.state, State::Open) && lasted >= self.settings.open_for {
            changed = Some(self.change(State::HalfOpen { admitted: 0, counts: Counts::default() }, now));
        }
        let admitted = match &mut self.state {
            State::Closed(_) => true,
            State::Open => false,
            State::HalfOpen { admitted, .. } if *admitted < self.settings.permitted => {
                *admitted += 1;
                true
            }
            State::HalfOpen { .. } => {
                // Only once all its calls are let through: a short limit must not keep it from trying at all.
                if !self.settings.half_open_max.is_zero() && lasted > self.settings.half_open_max {
                    changed = Some(self.change(State::Open, now));
                }
                false
            }
        };
        Admission { ticket: admitted.then_some(Ticket(self.number)), changed }
    }

    /// Counts a call that ended `now` and took `took`; gives the new state where that changes it.
    pub fn record(&mut self, ticket: Ticket, failed: bool, took: Duration, now: Instant) -> Option<Phase> {
        if ticket.0 != self.number {
            return None;
        }
        let sample = match failed {
            true => Sample::Failure,
            false if took >= self.settings.slow_after => Sample::Slow,
            false => Sample::Success,
        };
        let (counts, needed, half_open) = match &mut self.state {
            State::Closed(window) => (window.record(sample, now), self.settings.minimum, false),
            State::HalfOpen { counts, .. } => {
                counts.add(sample);
                (*counts, self.settings.minimum.min(self.settings.permitted), true)
            }
            // No call is let through with the number of an open state.
            State::Open => return None,
        };
        if counts.total < needed {
            return None;
        }
        if counts.failure_rate() >= self.settings.failure_rate || counts.slow_rate() >= self.settings.slow_rate {
            Some(self.change(State::Open, now))
        } else if half_open {
            let state = State::Closed(window(&self.settings, now));
            Some(self.change(state, now))
        } else {
            None
        }
    }

    /// Ends a call that tells nothing: its place goes to another one.
    pub fn release(&mut self, ticket: Ticket) {
        if let State::HalfOpen { admitted, .. } = &mut self.state
            && ticket.0 == self.number
        {
            *admitted = admitted.saturating_sub(1);
        }
    }

    fn change(&mut self, state: State, now: Instant) -> Phase {
        self.state = state;
        self.number += 1;
        self.since = now;
        self.phase()
    }
}

fn window(settings: &BreakerSettings, now: Instant) -> Window {
    if settings.by_time { Window::seconds(settings.size, now) } else { Window::calls(settings.size) }
}
