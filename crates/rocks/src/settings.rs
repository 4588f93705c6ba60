//! Sizes that follow from the size of the cache.

use tidegate_base::Limits;

const MIB: u64 = 1 << 20;

/// Cache, what memtables may take of it, and the unflushed bytes above which apply waits: measured points, joined by
/// straight lines. Below the first and above the last each keeps its ratio to the cache, up to [`MEMTABLES_MOST`].
const POINTS: [(u64, u64, u64); 3] =
    [(16 * MIB, 8 * MIB, 10 * MIB), (24 * MIB, 10 * MIB, 14 * MIB), (40 * MIB, 16 * MIB, 24 * MIB)];

/// More makes flushes rarer, and the log that a restart repeats longer.
const MEMTABLES_MOST: u64 = 64 * MIB;

/// Bytes that the engine may hold. All else is fixed, as measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Blocks, index and filter blocks, rows and memtables together.
    pub cache: u64,
}

impl Settings {
    pub const fn new(cache: u64) -> Self {
        Self { cache }
    }

    /// Bytes of memtables at which a flush begins, nearly: RocksDB begins at seven eighths.
    pub(crate) fn memtables(self) -> u64 {
        self.along(|(_, memtables, _)| memtables).min(MEMTABLES_MOST)
    }

    /// Unflushed bytes above which apply waits.
    pub(crate) fn unflushed_limit(self) -> u64 {
        self.along(|(_, _, hold)| hold).min(MEMTABLES_MOST * 3 / 2)
    }

    fn along(self, value: impl Fn((u64, u64, u64)) -> u64) -> u64 {
        let [first, middle, last] = POINTS;
        let between = |low: (u64, u64, u64), high: (u64, u64, u64)| {
            let (rise, run) = (value(high) - value(low), high.0 - low.0);
            value(low) + rise * (self.cache - low.0) / run
        };
        let in_ratio = |point: (u64, u64, u64)| {
            let bytes = u128::from(self.cache) * u128::from(value(point)) / u128::from(point.0);
            u64::try_from(bytes).unwrap_or(u64::MAX)
        };
        match self.cache {
            cache if cache < first.0 => in_ratio(first),
            cache if cache < middle.0 => between(first, middle),
            cache if cache < last.0 => between(middle, last),
            _ => in_ratio(last),
        }
    }
}

impl From<&Limits> for Settings {
    fn from(limits: &Limits) -> Self {
        Self::new(limits.engine_cache)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_the_measured_points() {
        let check = |cache: u64, memtables: u64, hold: u64| {
            let settings = Settings::new(cache * MIB);
            assert_eq!((settings.memtables(), settings.unflushed_limit()), (memtables * MIB, hold * MIB), "{cache}");
        };
        check(8, 4, 5);
        check(16, 8, 10);
        check(20, 9, 12);
        check(24, 10, 14);
        check(32, 13, 19);
        check(40, 16, 24);
        check(80, 32, 48);
        check(160, 64, 96);
        check(4096, 64, 96);
    }

    #[test]
    fn sizes_grow_with_the_cache_and_apply_waits_only_behind_a_flush() {
        let mut before = (0, 0);
        for cache in (1..400).map(|n| n * MIB / 2) {
            let now = (Settings::new(cache).memtables(), Settings::new(cache).unflushed_limit());
            assert!(now.0 >= before.0 && now.1 >= before.1);
            assert!(now.0 <= cache / 2 && now.1 > now.0, "a flush has begun before apply waits for it");
            before = now;
        }
    }
}
