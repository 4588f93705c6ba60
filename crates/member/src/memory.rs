//! Where the bytes are: every holder of the budget beside what the kernel and the allocator say, and the keys that cost
//! most.

use std::fmt::Write as _;

use serde_json::{Value, json};
use tidegate_base::{Budget, HolderUsage};
use tidegate_engine::Usage as EngineUsage;

use crate::sketch::CostlyKey;

/// What the allocator says, in bytes. The program that installs an allocator provides it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AllocatorStats {
    /// Handed out and not given back.
    pub allocated: u64,
    /// Pages that hold something handed out.
    pub active: u64,
    /// Pages that the kernel counts for the allocator.
    pub resident: u64,
}

/// What the kernel says of this process, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessMemory {
    pub rss: u64,
    pub rss_anon: u64,
    /// Highest `rss` since the start.
    pub rss_peak: u64,
}

impl ProcessMemory {
    /// Reads `/proc/self/status`; zero where the system has none.
    pub fn read() -> Self {
        std::fs::read_to_string("/proc/self/status").map(|text| Self::parse(&text)).unwrap_or_default()
    }

    fn parse(status: &str) -> Self {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
        };
        Self {
            rss: field("VmRSS:").unwrap_or(0),
            rss_anon: field("RssAnon:").unwrap_or(0),
            rss_peak: field("VmHWM:").unwrap_or(0),
        }
    }
}

/// One look at all of it.
#[derive(Debug, Clone)]
pub struct MemoryReport {
    pub budget: u64,
    pub program: u64,
    pub slack: u64,
    pub engine_outside: u64,
    pub engine: EngineUsage,
    pub holders: Vec<HolderUsage>,
    pub pool_used: u64,
    pub pool_limit: u64,
    pub process: ProcessMemory,
    pub allocator: AllocatorStats,
    pub keys: Vec<CostlyKey>,
    pub bytes_written: u64,
}

impl MemoryReport {
    pub(crate) fn new(
        budget: &Budget,
        engine: EngineUsage,
        allocator: AllocatorStats,
        (keys, bytes_written): (Vec<CostlyKey>, u64),
    ) -> Self {
        let limits = budget.limits();
        Self {
            budget: limits.sum().0,
            program: limits.program,
            slack: limits.allocator_slack,
            engine_outside: limits.engine_outside,
            engine,
            holders: budget.usage().to_vec(),
            pool_used: budget.pool_used(),
            pool_limit: limits.pool,
            process: ProcessMemory::read(),
            allocator,
            keys,
            bytes_written,
        }
    }

    /// Bytes that somebody is accountable for: leases and the engine's cache.
    pub fn accounted(&self) -> u64 {
        self.holders.iter().map(|holder| holder.used).sum::<u64>() + self.engine.cache
    }

    /// Bytes that the allocator handed out and no holder names: the program, the engine outside its cache, and what nobody
    /// counts. Zero where the allocator says nothing.
    pub fn unaccounted(&self) -> u64 {
        self.allocator.allocated.saturating_sub(self.accounted())
    }

    /// The form of `/debug/memory`.
    pub fn to_json(&self) -> Value {
        let holders: Vec<_> = self
            .holders
            .iter()
            .filter(|holder| holder.floor > 0 || holder.used > 0)
            .map(|h| {
                json!({
                    "holder": h.holder.name(), "used": h.used, "limit": h.floor, "peak": h.peak, "refused": h.refused,
                })
            })
            .collect();
        let keys: Vec<_> = self
            .keys
            .iter()
            .map(|k| {
                json!({
                    "key": printable(&k.key), "bytesWritten": k.bytes, "overestimatedByAtMost": k.error,
                    "writes": k.writes,
                })
            })
            .collect();
        json!({
            "budget": self.budget,
            "holders": holders,
            "pool": { "used": self.pool_used, "limit": self.pool_limit },
            "engine": {
                "cache": self.engine.cache, "cacheLimit": self.engine.cache_limit,
                "memtables": self.engine.memtables, "unflushedMemtables": self.engine.unflushed,
                "pinned": self.engine.pinned, "tables": self.engine.tables, "outsideLimit": self.engine_outside,
                "disk": self.engine.disk,
            },
            "program": { "limit": self.program },
            "slack": { "limit": self.slack },
            "accounted": self.accounted(),
            "unaccounted": self.unaccounted(),
            "process": {
                "rss": self.process.rss, "rssAnon": self.process.rss_anon, "rssPeak": self.process.rss_peak,
            },
            "allocator": {
                "allocated": self.allocator.allocated, "active": self.allocator.active,
                "resident": self.allocator.resident,
            },
            "keys": keys,
            "bytesWritten": self.bytes_written,
        })
    }

    /// Lines of the Prometheus text format.
    pub(crate) fn write_metrics(&self, out: &mut String) {
        let mut family = |name: &str, help: &str, rows: &[(&str, u64)]| {
            writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge").expect("a string takes everything");
            for (label, value) in rows {
                writeln!(out, "{name}{label} {value}").expect("a string takes everything");
            }
        };
        let labels: Vec<String> = self.holders.iter().map(|h| format!("{{holder=\"{}\"}}", h.holder.name())).collect();
        let rows = |value: fn(&HolderUsage) -> u64| -> Vec<(&str, u64)> {
            labels.iter().zip(&self.holders).map(|(label, h)| (label.as_str(), value(h))).collect()
        };
        let fixed = |a, b, c, d, e| {
            [
                ("{holder=\"engine_cache\"}", a),
                ("{holder=\"engine_outside\"}", b),
                ("{holder=\"pool\"}", c),
                ("{holder=\"program\"}", d),
                ("{holder=\"allocator_slack\"}", e),
            ]
        };
        let slack_used = self.allocator.resident.saturating_sub(self.allocator.allocated);
        let mut used = rows(|h| h.used);
        used.extend(&fixed(self.engine.cache, self.engine.tables, self.pool_used, self.unaccounted(), slack_used));
        family("tidegate_memory_bytes", "Bytes held, by holder.", &used);
        let mut limits = rows(|h| h.floor);
        let cache_limit = self.engine.cache_limit;
        limits.extend(&fixed(cache_limit, self.engine_outside, self.pool_limit, self.program, self.slack));
        family("tidegate_memory_limit_bytes", "Bytes that the holder can always have.", &limits);
        family("tidegate_memory_peak_bytes", "Most bytes held since the start.", &rows(|h| h.peak));
        family("tidegate_memory_refused_total", "Leases refused for lack of room.", &rows(|h| h.refused));
        family("tidegate_memory_budget_bytes", "The budget of the process.", &[("", self.budget)]);
        let allocated = self.allocator.allocated;
        family("tidegate_allocator_allocated_bytes", "Bytes handed out by the allocator.", &[("", allocated)]);
    }
}

/// A key as text: printable ASCII as it is, everything else as `\xNN`.
pub(crate) fn printable(key: &[u8]) -> String {
    let mut text = String::with_capacity(key.len());
    for &byte in key {
        match byte {
            b'\\' => text.push_str("\\\\"),
            0x20..=0x7e => text.push(char::from(byte)),
            _ => write!(text, "\\x{byte:02x}").expect("a string takes everything"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use tidegate_base::{Holder, Limits, Profile};

    use super::*;

    fn report() -> (MemoryReport, tidegate_base::Lease) {
        let budget = Budget::new(Limits::new(Limits::DEFAULT, Profile::Store).unwrap());
        let lease = budget.try_lease(Holder::Log, 4096).unwrap();
        let engine = EngineUsage { cache: 1000, cache_limit: 26 << 20, ..EngineUsage::default() };
        let allocator = AllocatorStats { allocated: 6000, active: 7000, resident: 8000 };
        let key = CostlyKey { key: b"a\xff\\".as_slice().into(), bytes: 9, error: 0, writes: 1 };
        (MemoryReport::new(&budget, engine, allocator, (vec![key], 9)), lease)
    }

    #[test]
    fn the_report_names_holders_keys_and_what_nobody_counts() {
        let json = report().0.to_json();
        assert_eq!(json["accounted"], 5096);
        assert_eq!(json["unaccounted"], 904);
        assert_eq!(json["keys"][0]["key"], "a\\xff\\\\");
        let log = json["holders"].as_array().unwrap().iter().find(|h| h["holder"] == "log").unwrap();
        assert_eq!((log["used"].as_u64(), log["limit"].as_u64()), (Some(4096), Some(24 << 20)));
        assert_eq!(json["budget"], 256 << 20);
    }

    #[test]
    fn metrics_have_a_limit_for_every_holder() {
        let mut text = String::new();
        report().0.write_metrics(&mut text);
        assert!(text.contains("tidegate_memory_bytes{holder=\"log\"} 4096\n"));
        assert!(text.contains("tidegate_memory_limit_bytes{holder=\"engine_cache\"} 27262976\n"));
        let count = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
        assert_eq!(count("tidegate_memory_bytes{"), count("tidegate_memory_limit_bytes{"));
    }

    #[test]
    fn the_status_file_is_read_in_bytes() {
        let memory = ProcessMemory::parse("Name:\tx\nVmHWM:\t  300 kB\nVmRSS:\t  200 kB\nRssAnon:\t 100 kB\n");
        assert_eq!(memory, ProcessMemory { rss: 200 << 10, rss_anon: 100 << 10, rss_peak: 300 << 10 });
    }
}
