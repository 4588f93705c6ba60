//! What a breaker remembers of its last calls.

use std::time::{Duration, Instant};

/// How a call counts. Failed and slow exclude each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sample {
    Success,
    Slow,
    Failure,
}

/// Sums over the calls of a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) total: u64,
    slow: u64,
    failed: u64,
}

impl Counts {
    pub(super) fn add(&mut self, sample: Sample) {
        self.total += 1;
        self.slow += u64::from(sample == Sample::Slow);
        self.failed += u64::from(sample == Sample::Failure);
    }

    fn remove(&mut self, sample: Sample) {
        self.total -= 1;
        self.slow -= u64::from(sample == Sample::Slow);
        self.failed -= u64::from(sample == Sample::Failure);
    }

    /// Percent of calls that failed, cut to a whole number.
    pub(super) fn failure_rate(self) -> u64 {
        (self.failed * 100).checked_div(self.total).unwrap_or(0)
    }

    /// Percent of calls that were slow, cut to a whole number.
    pub(super) fn slow_rate(self) -> u64 {
        (self.slow * 100).checked_div(self.total).unwrap_or(0)
    }
}

/// Calls of one second.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Second {
    total: u32,
    slow: u32,
    failed: u32,
}

/// ```text
///   calls:   [S F S s · · · ·]          a ring of the last N, the oldest goes when it is full
///                    next ^
///   seconds: [ 3 | 0 | 7 | 1 ]          a ring of the last N seconds; seconds that are over are emptied
///              ^ first = `begin`        when a call is recorded, not before
/// ```
#[derive(Debug)]
pub(super) enum Window {
    Calls { ring: Box<[Option<Sample>]>, next: usize, counts: Counts },
    Seconds { ring: Box<[Second]>, first: usize, begin: Instant, counts: Counts },
}

impl Window {
    pub(super) fn calls(size: usize) -> Self {
        Self::Calls { ring: vec![None; size].into_boxed_slice(), next: 0, counts: Counts::default() }
    }

    pub(super) fn seconds(size: usize, now: Instant) -> Self {
        let ring = vec![Second::default(); size].into_boxed_slice();
        Self::Seconds { ring, first: 0, begin: now, counts: Counts::default() }
    }

    /// Records a call that ended `now`; gives the sums with it.
    pub(super) fn record(&mut self, sample: Sample, now: Instant) -> Counts {
        match self {
            Self::Calls { ring, next, counts } => {
                if let Some(slot) = ring.get_mut(*next)
                    && let Some(oldest) = slot.replace(sample)
                {
                    counts.remove(oldest);
                }
                counts.add(sample);
                *next = (*next + 1) % ring.len().max(1);
                *counts
            }
            Self::Seconds { ring, first, begin, counts } => {
                let size = ring.len().max(1);
                let passed = |begin: Instant| now.saturating_duration_since(begin).as_secs();
                if let Some(gone) = passed(*begin).checked_sub(size as u64 - 1).filter(|gone| *gone > 0) {
                    *begin += Duration::from_secs(gone);
                    // After a long silence each is emptied once.
                    for _ in 0..gone.min(size as u64) {
                        if let Some(second) = ring.get_mut(*first) {
                            let second = std::mem::take(second);
                            counts.total -= u64::from(second.total);
                            counts.slow -= u64::from(second.slow);
                            counts.failed -= u64::from(second.failed);
                        }
                        *first = (*first + 1) % size;
                    }
                }
                let at = usize::try_from(passed(*begin)).unwrap_or(0);
                if let Some(second) = ring.get_mut((*first + at) % size)
                    && second.total < u32::MAX
                {
                    second.total += 1;
                    second.slow += u32::from(sample == Sample::Slow);
                    second.failed += u32::from(sample == Sample::Failure);
                    counts.add(sample);
                }
                *counts
            }
        }
    }
}
