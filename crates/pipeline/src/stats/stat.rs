//! The numbers of one object on one thread.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Instant,
};

use super::{Sample, Snapshot, add, codes::Codes, histogram::Histogram, rates::Rates, snapshot::Extremes, tick};

/// Bytes of a [`Stat`], with what an allocation and its entry in a list cost.
pub const STAT_BYTES: u64 = 512;

/// Times from 32 µs to 134 s, five parts to a power of two.
pub(super) type Times = Histogram<110, 5, 5>;

/// Written by one thread, read by any.
#[derive(Debug)]
pub struct Stat {
    tick: AtomicU32,
    /// Ticks since the first request; it is 0 until then.
    age: AtomicU32,
    count: AtomicU64,
    errors: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    /// µs
    took: AtomicU64,
    took_least: AtomicU32,
    took_most: AtomicU32,
    rates: Rates,
    error_rates: Rates,
    codes: Codes,
    times: Times,
}

impl Default for Stat {
    fn default() -> Self {
        Self {
            tick: AtomicU32::new(0),
            age: AtomicU32::new(0),
            count: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            took: AtomicU64::new(0),
            took_least: AtomicU32::new(u32::MAX),
            took_most: AtomicU32::new(0),
            rates: Rates::default(),
            error_rates: Rates::default(),
            codes: Codes::default(),
            times: Times::default(),
        }
    }
}

impl Stat {
    /// Only for the thread whose it is.
    pub fn record(&self, now: Instant, sample: &Sample) {
        let now = tick(now);
        let before = self.tick.load(Relaxed);
        if now != before {
            self.advance(now.saturating_sub(before));
            self.tick.store(now, Relaxed);
        }
        let took = u64::try_from(sample.took.as_micros()).unwrap_or(u64::MAX);
        let short = u32::try_from(took).unwrap_or(u32::MAX);
        add(&self.count, 1);
        add(&self.received, sample.received);
        add(&self.sent, sample.sent);
        add(&self.took, took);
        if short < self.took_least.load(Relaxed) {
            self.took_least.store(short, Relaxed);
        }
        if short > self.took_most.load(Relaxed) {
            self.took_most.store(short, Relaxed);
        }
        self.rates.count();
        if sample.is_error() {
            add(&self.errors, 1);
            self.error_rates.count();
        }
        self.codes.count(sample.status);
        self.times.record(took);
    }

    /// Called when the first request after `ticks` others comes.
    fn advance(&self, ticks: u32) {
        let first = self.age.load(Relaxed) == 0;
        if self.count.load(Relaxed) > 0 {
            self.rates.advance(ticks, first);
            self.error_rates.advance(ticks, first);
            self.codes.advance(ticks);
            self.times.halve(ticks);
            self.age.store(1, Relaxed);
        }
    }

    /// Adds its numbers, as they are now, to `sum`.
    pub fn add_to(&self, sum: &mut Snapshot, now: Instant) {
        let ticks = tick(now).saturating_sub(self.tick.load(Relaxed));
        let first = self.age.load(Relaxed) == 0;
        sum.count += self.count.load(Relaxed);
        sum.errors += self.errors.load(Relaxed);
        sum.received += self.received.load(Relaxed);
        sum.sent += self.sent.load(Relaxed);
        sum.took += self.took.load(Relaxed);
        sum.extremes.join(&Extremes { least: self.took_least.load(Relaxed), most: self.took_most.load(Relaxed) });
        for (sum, rates) in [(&mut sum.rates, &self.rates), (&mut sum.error_rates, &self.error_rates)] {
            let at = rates.read().after(ticks, first);
            sum.iter_mut().zip(at.averages).for_each(|(sum, average)| *sum += average);
        }
        self.codes.add_to(&mut sum.codes, ticks);
        // The last whole tick counts in full.
        self.times.add_to(&mut sum.times, ticks.saturating_sub(1));
    }
}
