//! The numbers of one object, summed over its threads.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Quantiles;

/// Shortest and longest time, µs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extremes {
    pub(super) least: u32,
    pub(super) most: u32,
}

impl Default for Extremes {
    fn default() -> Self {
        Self { least: u32::MAX, most: 0 }
    }
}

impl Extremes {
    pub(super) fn join(&mut self, other: &Self) {
        self.least = self.least.min(other.least);
        self.most = self.most.max(other.most);
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    pub count: u64,
    pub errors: u64,
    pub received: u64,
    pub sent: u64,
    pub(super) took: u64,
    pub(super) extremes: Extremes,
    pub(super) rates: [f64; 3],
    pub(super) error_rates: [f64; 3],
    pub(super) codes: BTreeMap<u16, u64>,
    pub(super) times: Quantiles,
}

const RATES: [[&str; 3]; 3] =
    [["m1", "m5", "m15"], ["m1Err", "m5Err", "m15Err"], ["m1ErrPercent", "m5ErrPercent", "m15ErrPercent"]];
const PERCENTILES: [(&str, f64); 7] =
    [("p25", 0.25), ("p50", 0.5), ("p75", 0.75), ("p95", 0.95), ("p98", 0.98), ("p99", 0.99), ("p999", 0.999)];

impl Snapshot {
    fn totals(&self) -> [(&'static str, u64); 4] {
        [("count", self.count), ("errCount", self.errors), ("reqSize", self.received), ("respSize", self.sent)]
    }

    /// Each number under its name, but for the statuses. Times in ms, rates a second, sizes in bytes.
    pub fn numbers(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        let rates = (0..3).flat_map(|minutes| {
            let (all, errors) = (self.rates[minutes], self.error_rates[minutes]);
            let part = if all > 0.0 { errors / all } else { 0.0 };
            [all, errors, part].into_iter().enumerate().map(move |(list, value)| (RATES[list][minutes], value))
        });
        let mean = if self.count > 0 { self.took as f64 / self.count as f64 } else { 0.0 };
        let least = if self.count > 0 { f64::from(self.extremes.least) } else { 0.0 };
        let times = [("min", least), ("max", f64::from(self.extremes.most)), ("mean", mean)];
        let percentiles = PERCENTILES.map(|(name, part)| (name, self.millis(part) * 1e3));
        let times = times.into_iter().chain(percentiles).map(|(name, micros)| (name, micros / 1e3));
        let totals =
            [("count", self.count), ("errCount", self.errors), ("reqSize", self.received), ("respSize", self.sent)];
        let totals = totals.into_iter().map(|(name, number)| (name, number as f64));
        totals.chain(rates).chain(times)
    }

    /// The value below which `part` of the times of the last seconds are, in ms.
    pub fn millis(&self, part: f64) -> f64 {
        let Extremes { least, most } = self.extremes;
        // What is in no place's middle is still between the shortest and the longest.
        self.times.at(part).max(f64::from(least.min(most))).min(f64::from(most)) / 1e3
    }

    /// As the reference writes it into a status.
    pub fn to_map(&self) -> Map<String, Value> {
        let rounded = |value: f64| json!((value * 1e4).round() / 1e4);
        let mut map: Map<String, Value> =
            self.numbers().map(|(name, value)| (name.to_owned(), rounded(value))).collect();
        for (name, total) in self.totals() {
            map.insert(name.to_owned(), json!(total));
        }
        let codes = self.codes.iter().map(|(code, count)| (code.to_string(), json!(count)));
        map.insert("codes".to_owned(), Value::Object(codes.collect()));
        map
    }
}
