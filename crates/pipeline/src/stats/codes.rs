//! Statuses of the last whole tick, and of the one that runs.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

/// Different statuses told of one tick; those beyond are left out of the list, though not of the totals.
const CODES_MAX: usize = 12;
/// Bits of a count, which stops at its largest value: a thread answers fewer requests in one tick.
const COUNT_BITS: u32 = 22;
const COUNT: u32 = (1 << COUNT_BITS) - 1;

/// Each a status and below it its count.
#[derive(Debug, Default)]
pub(super) struct Codes {
    running: [AtomicU32; CODES_MAX],
    whole: [AtomicU32; CODES_MAX],
}

impl Codes {
    pub(super) fn count(&self, status: u16) {
        let status = u32::from(status) & 0x3ff;
        for slot in &self.running {
            let held = slot.load(Relaxed);
            if held == 0 || held >> COUNT_BITS == status {
                return slot.store(status << COUNT_BITS | ((held & COUNT) + 1).min(COUNT), Relaxed);
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
                let status = u16::try_from(held >> COUNT_BITS).unwrap_or(u16::MAX);
                *sum.entry(status).or_default() += u64::from(held & COUNT);
            }
        }
    }
}
