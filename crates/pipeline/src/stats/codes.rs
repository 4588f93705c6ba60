//! Statuses of the last whole tick, and of the one that runs.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Different statuses told of one tick; those beyond are left out of the list, though not of the totals.
const CODES_MAX: usize = 6;

/// Each a status in the upper 16 bits and its count below.
#[derive(Debug, Default)]
pub(super) struct Codes {
    running: [AtomicU64; CODES_MAX],
    whole: [AtomicU64; CODES_MAX],
}

impl Codes {
    pub(super) fn count(&self, status: u16) {
        for slot in &self.running {
            let held = slot.load(Relaxed);
            if held == 0 || held >> 48 == u64::from(status) {
                let count = (held & ((1 << 48) - 1)) + 1;
                return slot.store(u64::from(status) << 48 | count, Relaxed);
            }
        }
    }

    pub(super) fn advance(&self, ticks: u32) {
        for (running, whole) in self.running.iter().zip(&self.whole) {
            let held = running.swap(0, Relaxed);
            whole.store(if ticks == 1 { held } else { 0 }, Relaxed);
        }
    }

    /// Adds the last whole tick's, seen `ticks` after the last count.
    pub(super) fn add_to(&self, sum: &mut BTreeMap<u16, u64>, ticks: u32) {
        let list = match ticks {
            0 => &self.whole,
            1 => &self.running,
            _ => return,
        };
        for slot in list {
            let held = slot.load(Relaxed);
            if held > 0 {
                *sum.entry((held >> 48) as u16).or_default() += held & ((1 << 48) - 1);
            }
        }
    }
}
