//! Distribution of a number over the last seconds.

use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

/// `N` counts, `PARTS` to each power of two from `1 << FIRST` on; the first also has what is less, the last what is more.
/// Counts halve with every tick, so the last seconds weigh most. A value read from it is off by at most half a part.
#[derive(Debug)]
pub struct Histogram<const N: usize, const PARTS: usize, const FIRST: u32>([AtomicU16; N]);

impl<const N: usize, const PARTS: usize, const FIRST: u32> Default for Histogram<N, PARTS, FIRST> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU16::new(0)))
    }
}

impl<const N: usize, const PARTS: usize, const FIRST: u32> Histogram<N, PARTS, FIRST> {
    fn place(value: u64) -> usize {
        let value = value.max(1 << FIRST);
        let power = value.ilog2();
        // In 128 bits: the largest values times the parts are more than 64 take.
        let part = (u128::from(value - (1 << power)) * PARTS as u128) >> power;
        let place = u128::from(power - FIRST) * PARTS as u128 + part;
        usize::try_from(place).unwrap_or(N).min(N - 1)
    }

    /// Least value of a place.
    fn low(place: usize) -> f64 {
        let (power, part) = (place / PARTS, place % PARTS);
        let base = f64::from(1u32 << FIRST) * 2f64.powi(i32::try_from(power).unwrap_or(i32::MAX));
        base * (1.0 + part as f64 / PARTS as f64)
    }

    /// Only for the thread that writes it.
    pub fn record(&self, value: u64) {
        let count = &self.0[Self::place(value)];
        match count.load(Relaxed).checked_add(1) {
            Some(more) => count.store(more, Relaxed),
            None => {
                self.halve(1);
                count.store(count.load(Relaxed) + 1, Relaxed);
            }
        }
    }

    /// As that many ticks do. Only for the thread that writes it.
    pub fn halve(&self, times: u32) {
        for count in &self.0 {
            let before = count.load(Relaxed);
            if before > 0 {
                count.store(before.checked_shr(times).unwrap_or(0), Relaxed);
            }
        }
    }

    /// Adds the counts to `sum`, as they are `ticks` later.
    pub fn add_to(&self, sum: &mut Quantiles, ticks: u32) {
        sum.counts.resize(N, (0, 0.0));
        for (place, (count, sum)) in self.0.iter().zip(&mut sum.counts).enumerate() {
            sum.0 += u64::from(count.load(Relaxed).checked_shr(ticks).unwrap_or(0));
            sum.1 = Self::low(place);
        }
        sum.end = Self::low(N);
    }
}

/// Counts of several threads.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Quantiles {
    /// Count and least value of each place.
    counts: Vec<(u64, f64)>,
    end: f64,
}

impl Quantiles {
    /// The value that `part` of all are at most; 0 where nothing was counted.
    pub fn at(&self, part: f64) -> f64 {
        let total: u64 = self.counts.iter().map(|(count, _)| count).sum();
        let wanted = part * total as f64;
        let mut before = 0.0;
        for (place, (count, low)) in self.counts.iter().enumerate() {
            let count = *count as f64;
            if count > 0.0 && before + count >= wanted {
                let high = self.counts.get(place + 1).map_or(self.end, |(_, low)| *low);
                return low + (high - low) * ((wanted - before) / count).clamp(0.0, 1.0);
            }
            before += count;
        }
        0.0
    }
}
