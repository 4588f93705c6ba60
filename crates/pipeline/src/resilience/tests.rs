use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_base::clock;

use super::*;
use crate::{Problems, Report};

fn settings(config: Value) -> BreakerSettings {
    let config: BreakerConfig = serde_json::from_value(config).unwrap();
    config.check("", &mut Problems::default()).unwrap()
}

/// Runs a script at seconds from the start: `ok`, `bad` and `slow` are whole calls, `no` is one that is refused, `take` is
/// let through and stays, `end` ends the first that stayed well, `drop` ends it without a result, `late` ends it as failed.
/// Gives the state at the end.
fn run(config: Value, script: &[(u64, &str, u32)]) -> Phase {
    let start = clock::now();
    let at = |seconds: u64| start + Duration::from_secs(seconds);
    let mut breaker = Breaker::new(settings(config), start);
    let mut kept: Vec<Ticket> = Vec::new();
    for (second, what, times) in script {
        for time in 0..*times {
            let now = at(*second);
            let ended = match *what {
                "end" | "late" => {
                    let ticket = kept.remove(0);
                    breaker.record(ticket, *what == "late", Duration::ZERO, now);
                    continue;
                }
                "drop" => {
                    breaker.release(kept.remove(0));
                    continue;
                }
                _ => breaker.acquire(now).ticket,
            };
            assert_eq!(ended.is_none(), *what == "no", "{what} {time} at {second}, {:?}", breaker.phase());
            let Some(ticket) = ended else { continue };
            let took = Duration::from_secs(if *what == "slow" { 2 } else { 0 });
            match *what {
                "take" => kept.push(ticket),
                _ => drop(breaker.record(ticket, *what == "bad", took, now)),
            }
        }
    }
    breaker.phase()
}

fn small(extra: Value) -> Value {
    let mut config = json!({
        "slidingWindowSize": 10, "minimumNumberOfCalls": 4, "permittedNumberOfCallsInHalfOpenState": 3,
        "slowCallDurationThreshold": "2s", "slowCallRateThreshold": 75, "waitDurationInOpenState": "5s",
    });
    config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    config
}

#[test]
fn the_last_calls_open_it() {
    let check = |script: &[(u64, &str, u32)], expected: Phase| {
        assert_eq!(run(small(json!({})), script), expected, "{script:?}");
    };
    check(&[(0, "bad", 3)], Phase::Closed); // too few to tell
    check(&[(0, "bad", 4)], Phase::Open);
    check(&[(0, "bad", 4), (4, "no", 1)], Phase::Open);
    check(&[(0, "ok", 2), (0, "bad", 1), (0, "bad", 1)], Phase::Open); // 50 %
    check(&[(0, "ok", 10), (0, "bad", 4)], Phase::Closed); // 40 %
    check(&[(0, "ok", 10), (0, "bad", 5)], Phase::Open); // five of ten, the oldest have left
    check(&[(0, "ok", 1), (0, "slow", 3)], Phase::Open);
    check(&[(0, "ok", 2), (0, "slow", 2)], Phase::Closed);
    check(&[(0, "ok", 10), (0, "bad", 4), (0, "ok", 10), (0, "bad", 4)], Phase::Closed);
}

#[test]
fn rates_are_cut_to_whole_percents() {
    // Two of three are 66.6 %.
    let config = json!({"slidingWindowSize": 3, "minimumNumberOfCalls": 3, "failureRateThreshold": 67});
    assert_eq!(run(config, &[(0, "bad", 2), (0, "ok", 1)]), Phase::Closed);
    let config = json!({"slidingWindowSize": 3, "minimumNumberOfCalls": 3, "failureRateThreshold": 66});
    assert_eq!(run(config, &[(0, "bad", 2), (0, "ok", 1)]), Phase::Open);
}

#[test]
fn it_never_opens_when_more_calls_are_needed_than_the_window_holds() {
    assert_eq!(run(small(json!({"minimumNumberOfCalls": 11})), &[(0, "bad", 1000)]), Phase::Closed);
}

#[test]
fn half_open_lets_some_through_and_decides_by_them() {
    let opened = (0, "bad", 4);
    let check = |extra: Value, script: &[(u64, &str, u32)], expected: Phase| {
        let script: Vec<_> = [opened].iter().chain(script).copied().collect();
        assert_eq!(run(small(extra), &script), expected, "{script:?}");
    };
    check(json!({}), &[(5, "take", 3), (5, "no", 1)], Phase::HalfOpen);
    check(json!({}), &[(5, "take", 3), (900, "no", 1)], Phase::HalfOpen); // without limit
    check(json!({}), &[(5, "ok", 2)], Phase::HalfOpen);
    check(json!({}), &[(5, "ok", 3)], Phase::Closed);
    check(json!({}), &[(5, "ok", 1), (5, "bad", 2)], Phase::Open);
    check(json!({}), &[(5, "slow", 3)], Phase::Open);
    check(json!({}), &[(5, "ok", 2), (5, "bad", 1)], Phase::Closed); // 33 %
    assert_eq!(run(small(json!({"minimumNumberOfCalls": 1})), &[(0, "bad", 1), (5, "bad", 1)]), Phase::Open); // min(1, 3)
    // Closed again, its window is empty.
    check(json!({}), &[(5, "ok", 3), (6, "bad", 3)], Phase::Closed);
    check(json!({}), &[(5, "ok", 3), (6, "bad", 4)], Phase::Open);
    // A call that tells nothing gives its place back.
    check(json!({}), &[(5, "take", 3), (5, "drop", 1), (5, "take", 1), (5, "no", 1)], Phase::HalfOpen);
    let limit = json!({"maxWaitDurationInHalfOpenState": "2s"});
    check(limit.clone(), &[(5, "take", 3), (7, "no", 1)], Phase::HalfOpen); // not longer than that yet
    check(limit.clone(), &[(5, "take", 3), (8, "no", 1), (12, "no", 1)], Phase::Open);
    check(limit.clone(), &[(5, "take", 3), (8, "no", 1), (13, "take", 1)], Phase::HalfOpen);
    check(limit, &[(5, "take", 1), (60, "take", 1)], Phase::HalfOpen); // its calls come first
}

#[test]
fn results_of_another_state_do_not_count() {
    let late = &[(0, "take", 3), (0, "bad", 4), (5, "late", 3)];
    assert_eq!(run(small(json!({})), late), Phase::Open, "they began while it was closed");
    let late = &[(0, "take", 3), (0, "bad", 4), (5, "take", 1), (5, "late", 3), (5, "drop", 1)];
    assert_eq!(run(small(json!({})), late), Phase::HalfOpen);
    let late = &[(0, "take", 1), (0, "bad", 4), (5, "take", 3), (5, "drop", 1), (5, "no", 1)];
    assert_eq!(run(small(json!({})), late), Phase::HalfOpen, "nor does it give a place back");
}

#[test]
fn the_last_seconds_open_it() {
    let timed = |extra: Value| {
        let mut config = small(json!({"slidingWindowType": "TIME_BASED"}));
        config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        config
    };
    let check = |script: &[(u64, &str, u32)], expected: Phase| {
        assert_eq!(run(timed(json!({})), script), expected, "{script:?}");
    };
    check(&[(0, "bad", 4)], Phase::Open);
    check(&[(0, "bad", 3), (9, "bad", 1)], Phase::Open); // second 0 is one of the ten
    check(&[(0, "bad", 3), (10, "bad", 1)], Phase::Closed);
    check(&[(0, "bad", 3), (100_000, "bad", 3)], Phase::Closed); // a long silence
    check(&[(0, "ok", 100), (9, "bad", 50)], Phase::Closed); // 33 %
    // The good ones leave when a call is recorded, even a good one.
    check(&[(0, "ok", 100), (9, "bad", 50), (10, "ok", 1)], Phase::Open);
}

#[test]
fn changes_are_told_once() {
    let now = clock::now();
    let mut breaker = Breaker::new(settings(json!({"slidingWindowSize": 1, "minimumNumberOfCalls": 1})), now);
    let ticket = breaker.acquire(now).ticket.unwrap();
    assert_eq!(breaker.record(ticket, true, Duration::ZERO, now), Some(Phase::Open));
    assert_eq!(breaker.acquire(now), Admission { ticket: None, changed: None });
    let later: Instant = now + Duration::from_secs(60);
    let half = breaker.acquire(later);
    assert_eq!(half.changed, Some(Phase::HalfOpen));
    assert_eq!(breaker.acquire(later).changed, None);
    assert_eq!(breaker.record(half.ticket.unwrap(), false, Duration::ZERO, later), Some(Phase::Closed));
}

#[test]
fn waits_follow_the_policy() {
    let check = |config: Value, failed: u32, random: f64, millis: Option<u64>| {
        let retry = serde_json::from_value::<RetryConfig>(config.clone()).unwrap();
        let retry = retry.check("", &mut Problems::default()).unwrap();
        assert_eq!(retry.wait(failed, random), millis.map(Duration::from_millis), "{config} {failed} {random}");
    };
    let plain = json!({});
    check(plain.clone(), 1, 0.9, Some(500));
    check(plain.clone(), 2, 0.0, Some(500));
    check(plain, 3, 0.0, None); // no wait behind the last attempt
    check(json!({"maxAttempts": 1}), 1, 0.0, None);
    check(json!({"maxAttempts": 0}), 1, 0.0, None);
    let spread = json!({"waitDuration": "100ms", "randomizationFactor": 0.5});
    for (random, millis) in [(0.0, 50), (0.5, 100), (0.75, 125)] {
        check(spread.clone(), 2, random, Some(millis));
    }
    for name in ["exponential", "EXPONENTIAL", "Exponential"] {
        let growing = json!({"waitDuration": "100ms", "backOffPolicy": name, "maxAttempts": 4_000_000_000u32});
        for (failed, millis) in [(1, 100), (2, 150), (3, 225), (100, 3_600_000), (3_999_999_999, 3_600_000)] {
            check(growing.clone(), failed, 0.0, Some(millis));
        }
    }
}

#[test]
fn every_problem_of_a_policy_is_named() {
    let mut report = Report::default();
    let policies = Policies::read(
        &[
            json!({"name": "a", "kind": "Retry", "maxAttempts": "x", "backOffPolicy": "none"}),
            json!({"name": "a", "kind": "Retry", "backOffPolicy": "none", "randomizationFactor": 1.5, "waitDuration": "2h"}),
            json!({"name": "", "kind": "TimeLimiter"}),
            json!({"name": "b", "kind": "CircuitBreaker", "slidingWindowType": "x", "slidingWindowSize": 0,
                   "failureRateThreshold": 0, "slowCallRateThreshold": 101, "permittedNumberOfCallsInHalfOpenState": 0}),
            json!({"name": "c", "kind": "CircuitBreaker", "slidingWindowSize": 1_048_577}),
            json!({"name": "d", "kind": "CircuitBreaker", "slidingWindowSize": 87_382, "slidingWindowType": "TIME_BASED"}),
            json!({"name": "e", "kind": "CircuitBreaker", "slidingWindowSize": 10}),
            json!({"name": "f", "kind": "Retry"}),
        ],
        &mut report,
    );
    let fields: Vec<&str> = report.problems.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "resilience[0].maxAttempts",
            "resilience[1].name",
            "resilience[1].backOffPolicy",
            "resilience[1].randomizationFactor",
            "resilience[1].waitDuration",
            "resilience[2].name",
            "resilience[2].kind",
            "resilience[3].slidingWindowType",
            "resilience[3].slidingWindowSize",
            "resilience[3].failureRateThreshold",
            "resilience[3].slowCallRateThreshold",
            "resilience[3].permittedNumberOfCallsInHalfOpenState",
            "resilience[4].slidingWindowSize",
            "resilience[5].slidingWindowSize",
        ]
    );
    assert_eq!(report.warnings.len(), 1, "e never opens: {:?}", report.warnings);
    let mut problems = Problems::default();
    assert!(policies.retry("f", "p", &mut problems).is_some() && policies.breaker("e", "p", &mut problems).is_some());
    assert!(policies.breaker("c", "p", &mut problems).is_none() && problems.is_empty(), "told already");
    assert!(policies.retry("e", "wrong", &mut problems).is_none());
    assert!(policies.breaker("f", "kind", &mut problems).is_none());
    assert!(policies.retry("x", "missing", &mut problems).is_none());
    let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["wrong", "kind", "missing"]);
}
