//! What is to be ordered when. Time and randomness are inputs.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Wait after the first failure; each further one doubles it.
const BACKOFF_FIRST: Duration = Duration::from_secs(60);
const BACKOFF_MAX: Duration = Duration::from_secs(6 * 3600);

/// When a certificate was made and when it expires, since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) from: Duration,
    pub(super) until: Duration,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    /// The order of this name, which has failed so many times before.
    Order { domain: &'a str, failed: u32 },
    /// Nothing before so long.
    Wait(Duration),
}

/// Orders that failed since they last succeeded. Bounded by the names of the settings.
#[derive(Debug, Default)]
pub(super) struct Schedule(BTreeMap<String, Failed>);

#[derive(Debug)]
struct Failed {
    times: u32,
    again: Instant,
}

impl Life {
    /// When it is to be renewed. Not in the first half of its life, or a certificate that is made for a short time would be
    /// ordered again at once, for ever.
    pub(super) fn renewed_at(self, before: Duration) -> Duration {
        let half = self.from + self.until.saturating_sub(self.from) / 2;
        self.until.saturating_sub(before).max(half)
    }
}

impl Schedule {
    /// The name that has been due for longest. `life` tells of the certificates there are.
    pub(super) fn next<'a>(
        &self,
        domains: &'a [String],
        before: Duration,
        now: Instant,
        wall: Duration,
        life: impl Fn(&str) -> Option<Life>,
    ) -> Next<'a> {
        let due = domains.iter().map(|domain| {
            let (failed, again) = self.0.get(domain).map_or((0, now), |failed| (failed.times, failed.again));
            let renewed = life(domain).map_or(Duration::ZERO, |life| life.renewed_at(before));
            (again.saturating_duration_since(now).max(renewed.saturating_sub(wall)), renewed, domain, failed)
        });
        match due.min() {
            Some((Duration::ZERO, _, domain, failed)) => Next::Order { domain, failed },
            Some((wait, ..)) => Next::Wait(wait),
            None => Next::Wait(Duration::MAX),
        }
    }

    /// Notes a certificate that came. One that is to be renewed already lives for minutes, or one of two clocks is wrong: its
    /// orders must not follow each other closely, so it is waited as after a failure, which is returned.
    pub(super) fn issued(
        &mut self,
        domain: &str,
        renewed_at: Option<Duration>,
        now: Instant,
        wall: Duration,
        random: f64,
    ) -> Option<Duration> {
        if renewed_at.is_some_and(|at| at > wall) {
            self.0.remove(domain);
            return None;
        }
        Some(self.failed(domain, now, random))
    }

    /// Notes a failure, and returns the wait until the next try. `random` is below 1.
    pub(super) fn failed(&mut self, domain: &str, now: Instant, random: f64) -> Duration {
        let failed = self.0.entry(domain.to_owned()).or_insert(Failed { times: 0, again: now });
        let wait = backoff(failed.times, random);
        failed.times = failed.times.saturating_add(1);
        failed.again = now + wait;
        wait
    }
}

/// A minute, doubled up to six hours, and up to a quarter less or more of it: nodes that failed together do not come back
/// together.
fn backoff(times: u32, random: f64) -> Duration {
    let wait = BACKOFF_FIRST.saturating_mul(1 << times.min(16)).min(BACKOFF_MAX);
    wait.mul_f64(0.75 + random.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use tidegate_base::clock;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn waits_double_from_a_minute_to_six_hours() {
        let check =
            |times, random, seconds| assert_eq!(backoff(times, random), Duration::from_secs(seconds), "{times}");
        for (times, seconds) in
            [(0, 60), (1, 120), (2, 240), (8, 15_360), (9, 21_600), (10, 21_600), (u32::MAX, 21_600)]
        {
            check(times, 0.5, seconds);
        }
        check(0, 0.0, 45);
        check(0, 1.0, 75);
        check(20, 1.0, 27_000);
    }

    #[test]
    fn certificates_are_renewed_before_they_expire_but_not_at_once() {
        let check = |life: u64, before: u64, at: u64| {
            let life = Life { from: DAY * 100, until: DAY * (100 + u32::try_from(life).unwrap()) };
            assert_eq!(life.renewed_at(DAY * u32::try_from(before).unwrap()), DAY * u32::try_from(at).unwrap());
        };
        check(90, 30, 160);
        check(40, 30, 120); // in the middle of its life
        check(2, 30, 101);
        check(90, 1000, 145);
        let upside_down = Life { from: DAY * 9, until: DAY };
        assert_eq!(upside_down.renewed_at(DAY), DAY * 9);
    }

    #[test]
    fn the_name_that_waits_for_longest_is_ordered() {
        let now = clock::now();
        let domains = ["a", "b", "c"].map(str::to_owned);
        let mut schedule = Schedule::default();
        let life = |until: u32| Life { from: DAY, until: DAY * until };
        let next = |schedule: &Schedule, wall: u32, now: Instant| match schedule.next(
            &domains,
            DAY * 30,
            now,
            DAY * wall,
            |name| match name {
                "a" => Some(life(91)),
                "b" => Some(life(95)),
                _ => None,
            },
        ) {
            Next::Order { domain, failed } => Ok((domain.to_owned(), failed)),
            Next::Wait(wait) => Err(wait),
        };
        // One without a certificate goes first, then that which expires first.
        assert_eq!(next(&schedule, 64, now), Ok(("c".to_owned(), 0)));
        assert_eq!(schedule.failed("c", now, 0.5), Duration::from_secs(60));
        assert_eq!(next(&schedule, 66, now), Ok(("a".to_owned(), 0)));
        schedule.failed("a", now, 0.5);
        assert_eq!(next(&schedule, 66, now), Ok(("b".to_owned(), 0)));
        schedule.failed("b", now, 0.5);
        assert_eq!(next(&schedule, 66, now), Err(Duration::from_secs(60)));
        let later = now + Duration::from_secs(60);
        assert_eq!(next(&schedule, 66, later), Ok(("c".to_owned(), 1)));
        assert_eq!(schedule.failed("c", later, 0.5), Duration::from_secs(120));
        assert_eq!(schedule.issued("a", Some(DAY * 67), now, DAY * 66, 0.5), None);
        assert_eq!(next(&schedule, 66, now), Ok(("a".to_owned(), 0)));
        // One that is due when it comes waits longer each time.
        assert_eq!(schedule.issued("a", Some(DAY * 66), now, DAY * 66, 0.5), Some(Duration::from_secs(60)));
        assert_eq!(schedule.issued("a", Some(DAY * 66), now, DAY * 66, 0.5), Some(Duration::from_secs(120)));
        assert_eq!(next(&schedule, 66, later), Ok(("b".to_owned(), 1)));
        // Long before any expires, it is the one without a certificate that is waited for.
        assert_eq!(next(&schedule, 2, later), Err(Duration::from_secs(120)));
        assert_eq!(schedule.next(&[], DAY, now, DAY, |_| None), Next::Wait(Duration::MAX));
    }
}
