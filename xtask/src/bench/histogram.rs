//! Latencies, in buckets that are at most one part in 32 wide.

use std::time::Duration;

const SUB_BITS: u32 = 5;
const SUB: u64 = 1 << SUB_BITS;

/// Counts of nanoseconds. Values below 32 have buckets of their own; each power of two above has 32.
#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; bucket(u64::MAX) + 1], total: 0 }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "there are less than 2000 buckets")]
const fn bucket(value: u64) -> usize {
    if value < SUB {
        return value as usize;
    }
    let shift = value.ilog2() - SUB_BITS;
    (shift as usize + 1) * SUB as usize + ((value >> shift) - SUB) as usize
}

/// Least value of a bucket.
const fn floor(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < SUB {
        return bucket;
    }
    let shift = bucket / SUB - 1;
    (SUB + bucket % SUB) << shift
}

impl Histogram {
    pub(crate) fn record(&mut self, latency: Duration) {
        self.counts[bucket(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX))] += 1;
        self.total += 1;
    }

    pub(crate) fn add(&mut self, other: &Histogram) {
        for (mine, others) in self.counts.iter_mut().zip(&other.counts) {
            *mine += others;
        }
        self.total += other.total;
    }

    /// The latency that `percent` of all stay at or below, in milliseconds, rounded down to its bucket.
    #[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
    pub(crate) fn percentile(&self, percent: u64) -> f64 {
        let wanted = (self.total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return floor(bucket) as f64 / 1e6;
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_one_another_and_hold_their_floor() {
        for number in 0..bucket(u64::MAX) {
            assert_eq!(bucket(floor(number)), number);
            assert!(floor(number) < floor(number + 1));
        }
        assert_eq!(bucket(floor(1000) - 1), 999);
    }

    #[test]
    fn percentiles_are_within_one_part_in_32() {
        let mut histogram = Histogram::default();
        for ms in 1..=1000 {
            histogram.record(Duration::from_millis(ms));
        }
        for (percent, expected) in [(50, 500.0), (99, 990.0), (100, 1000.0)] {
            let value = histogram.percentile(percent);
            assert!(value <= expected && value > expected * (1.0 - 1.0 / 32.0), "p{percent}: {value}");
        }
        assert!(Histogram::default().percentile(50) == 0.0);
    }
}
