//! Rates that decay: events a second, weighted over 1, 5 and 15 minutes.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::TICK;

const MINUTES: [f64; 3] = [1.0, 5.0, 15.0];

/// An average for each of [`MINUTES`], and what came since the last tick. Written by one thread.
#[derive(Debug, Default)]
pub(super) struct Rates {
    averages: [AtomicU64; 3],
    pending: AtomicU32,
}

/// The averages at some tick. Source of the rule: the reference, a tick of 5 s; the first one sets the average.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct At {
    pub(super) averages: [f64; 3],
    pub(super) pending: u32,
}

impl At {
    /// `first`: nothing was averaged before.
    pub(super) fn after(mut self, ticks: u32, first: bool) -> Self {
        if ticks == 0 {
            return self;
        }
        let seconds = TICK.as_secs_f64();
        let rate = f64::from(std::mem::take(&mut self.pending)) / seconds;
        for (average, minutes) in self.averages.iter_mut().zip(MINUTES) {
            let keep = (-seconds / 60.0 / minutes).exp();
            *average = if first { rate } else { *average * keep + rate * (1.0 - keep) };
            *average *= keep.powi(i32::try_from(ticks - 1).unwrap_or(i32::MAX));
        }
        self
    }
}

impl Rates {
    pub(super) fn read(&self) -> At {
        At {
            averages: self.averages.each_ref().map(|bits| f64::from_bits(bits.load(Relaxed))),
            pending: self.pending.load(Relaxed),
        }
    }

    pub(super) fn advance(&self, ticks: u32, first: bool) {
        let At { averages, pending } = self.read().after(ticks, first);
        for (bits, average) in self.averages.iter().zip(averages) {
            bits.store(average.to_bits(), Relaxed);
        }
        self.pending.store(pending, Relaxed);
    }

    pub(super) fn count(&self) {
        self.pending.store(self.pending.load(Relaxed).saturating_add(1), Relaxed);
    }
}
