//! When to collect the garbage of large values.
//!
//! A blob file goes by itself once all in it is garbage and a compaction has seen that: history ages in order, so nearly
//! always. Collection rewrites the live values among the oldest half of the files, at every compaction, garbage or not:
//! 2 to 4 times the bytes written, and puts ten times as slow. So it is on only while more than half of a large store is
//! garbage, which takes values that live long among others that do not.

/// Below this nobody misses the space.
const TOTAL_LEAST: u64 = 256 << 20;

/// Whether collection should be on, given whether it is. Two thresholds, so that it does not flap.
pub(crate) fn collect(on: bool, total: u64, garbage: u64) -> bool {
    let share = |percent: u64| total / 100 * percent;
    if on { garbage > share(30) } else { total > TOTAL_LEAST && garbage > share(50) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collects_from_half_to_a_third_of_garbage() {
        let mib = |n: u64| n << 20;
        let check = |on, total, garbage, expected| {
            assert_eq!(collect(on, mib(total), mib(garbage)), expected, "{on} {garbage} of {total}");
        };
        check(false, 0, 0, false);
        check(false, 200, 190, false);
        check(false, 1000, 490, false);
        check(false, 1000, 510, true);
        check(true, 1000, 490, true);
        check(true, 1000, 310, true);
        check(true, 1000, 290, false);
        check(true, 200, 100, true);
        check(true, 0, 0, false);
    }
}
