//! Who may go on, and when. Pure.
//!
//! ```text
//!   cycles of `period` since the limiter was made, each with `limit` permits
//!   │ 0 ████ │ 1 ██░░ │ 2      │       taken in order, so ahead of time only when the present cycle is used up
//!       now ▲      └ the next caller waits until cycle 1 begins
//! ```

use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) limit: u64,
    pub(super) period: Duration,
    pub(super) timeout: Duration,
}

/// Permits that are given out, of the present cycle and of those to come.
#[derive(Debug, Default)]
pub(super) struct Window {
    cycle: u128,
    taken: u64,
}

impl Window {
    /// Takes a permit at `elapsed` since the limiter was made; gives how long to wait for it. `None`: too many wait already.
    pub(super) fn take(&mut self, policy: &Policy, elapsed: Duration) -> Option<Duration> {
        let period = policy.period.as_nanos().max(1);
        let cycle = elapsed.as_nanos() / period;
        if let Some(passed) = cycle.checked_sub(self.cycle) {
            // What was left of a cycle is lost.
            let used = passed.saturating_mul(u128::from(policy.limit));
            self.taken = self.taken.saturating_sub(u64::try_from(used).unwrap_or(u64::MAX));
            self.cycle = cycle;
        }
        let ahead = u64::try_from(policy.timeout.as_nanos() / period).unwrap_or(u64::MAX);
        if self.taken >= policy.limit.saturating_mul(ahead.saturating_add(1)) {
            return None;
        }
        let cycles = u128::from(self.taken / policy.limit.max(1));
        self.taken += 1;
        if cycles == 0 {
            return Some(Duration::ZERO);
        }
        let begins = (self.cycle + cycles).saturating_mul(period);
        let wait = begins.saturating_sub(elapsed.as_nanos());
        Some(Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn take(window: &mut Window, policy: &Policy, at: u64) -> Option<u64> {
        window.take(policy, ms(at)).map(|wait| u64::try_from(wait.as_millis()).unwrap())
    }

    #[test]
    fn permits_are_of_their_cycle_and_some_of_the_next_ones() {
        let policy = Policy { limit: 2, period: ms(10), timeout: ms(25) };
        let mut window = Window::default();
        let taken: Vec<_> = (0..7).map(|_| take(&mut window, &policy, 3)).collect();
        assert_eq!(
            taken,
            [Some(0), Some(0), Some(7), Some(7), Some(17), Some(17), None],
            "25 / 10 is two cycles ahead"
        );
        assert_eq!(take(&mut window, &policy, 10), Some(20), "one cycle more is open");
        assert_eq!(take(&mut window, &policy, 15), Some(15));
        assert_eq!(take(&mut window, &policy, 19), None);
        assert_eq!(take(&mut window, &policy, 1000), Some(0));
        assert_eq!(take(&mut window, &policy, 2000), Some(0), "what was left is not saved");
        assert_eq!([take(&mut window, &policy, 2000), take(&mut window, &policy, 2001)], [Some(0), Some(9)]);
    }

    #[test]
    fn without_patience_only_the_present_cycle_counts() {
        let policy = Policy { limit: 1, period: ms(100), timeout: ms(0) };
        let mut window = Window::default();
        let at = [0, 50, 99, 100, 150, 300];
        assert_eq!(at.map(|at| take(&mut window, &policy, at)), [Some(0), None, None, Some(0), None, Some(0)]);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let policy = Policy { limit: u64::MAX, period: Duration::from_nanos(1), timeout: Duration::MAX };
        let mut window = Window::default();
        assert_eq!(window.take(&policy, Duration::MAX), Some(Duration::ZERO));
        assert_eq!(window.take(&policy, Duration::ZERO), Some(Duration::ZERO), "a clock that goes back");
    }
}
