//! Figures of a scenario, as a table or as lines of JSON.

use anyhow::Result;
use serde_json::json;

use super::{fleet::Kind, load::Outcome};
use crate::bench::{median, mib, table::Table};

/// One measurement of one proxy.
pub(super) struct Run {
    pub(super) outcome: Outcome,
    /// Microseconds a request.
    pub(super) user: f64,
    pub(super) system: f64,
    pub(super) memory: u64,
}

/// A proxy's measurements.
pub(super) struct Row {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) runs: Vec<Run>,
}

impl Row {
    fn middle(&self, figure: impl Fn(&Run) -> f64) -> f64 {
        median(self.runs.iter().map(figure).collect())
    }

    fn cpu(&self) -> f64 {
        self.middle(|run| run.user + run.system)
    }

    /// Its own processor time by that of the first `peer` in each round: what else the machine does falls on both alike.
    fn ratio(&self, rows: &[Row], peer: Kind) -> Option<f64> {
        let base = rows.iter().find(|row| row.kind == peer)?;
        let pairs = self.runs.iter().zip(&base.runs);
        Some(median(pairs.map(|(own, base)| (own.user + own.system) / (base.user + base.system)).collect()))
    }
}

pub(super) fn print(scenario: &str, rows: &[Row], as_json: bool) -> Result<()> {
    let ratio = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
    let mut table = Table::new([
        scenario,
        "CPU µs/request",
        "user",
        "× nginx",
        "× haproxy",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "MiB",
        "failed",
    ]);
    for row in rows {
        let (cpu, user) = (row.cpu(), row.middle(|run| run.user));
        let (nginx, haproxy) = (row.ratio(rows, Kind::Nginx), row.ratio(rows, Kind::Haproxy));
        let rate = row.middle(|run| run.outcome.requests / run.outcome.seconds);
        let (p50, p99) = (row.middle(|run| run.outcome.p50), row.middle(|run| run.outcome.p99));
        let failed: u64 = row.runs.iter().map(|run| run.outcome.failed).sum();
        let memory = row.runs.iter().map(|run| run.memory).max().unwrap_or(0);
        if as_json {
            let each: Vec<f64> = row.runs.iter().map(|run| run.user + run.system).collect();
            let line = json!({
                "bench": "gateway", "scenario": scenario, "proxy": row.name, "cpu_us": cpu, "user_us": user, "ratio_nginx": nginx,
                "ratio_haproxy": haproxy, "requests_per_s": rate, "p50_ms": p50, "p99_ms": p99, "memory_bytes": memory, "failed": failed,
                "rounds_cpu_us": each, "load": load()?,
            });
            println!("{line}");
        }
        table.row([
            row.name.clone(),
            format!("{cpu:.1}"),
            format!("{user:.1}"),
            ratio(nginx),
            ratio(haproxy),
            format!("{rate:.0}"),
            format!("{p50:.2}"),
            format!("{p99:.2}"),
            format!("{:.1}", mib(memory)),
            failed.to_string(),
        ]);
    }
    if !as_json {
        table.print();
        println!("load of the machine: {:.1}\n", load()?);
    }
    Ok(())
}

/// Bytes of an idle connection, for each proxy.
pub(super) fn print_idle(scenario: &str, rows: &[(String, f64)], as_json: bool) {
    let mut table = Table::new([scenario, "KiB/connection"]);
    for (name, bytes) in rows {
        if as_json {
            println!("{}", json!({"bench": "gateway", "scenario": scenario, "proxy": name, "bytes_each": bytes}));
        }
        table.row([name.clone(), format!("{:.2}", bytes / 1024.0)]);
    }
    if !as_json {
        table.print();
        println!();
    }
}

/// Of the last minute: what else runs beside the measurement.
fn load() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().unwrap_or_default().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kind: Kind, cpu: &[f64]) -> Row {
        let run = |cpu: &f64| Run { outcome: Outcome::default(), user: cpu / 2.0, system: cpu / 2.0, memory: 0 };
        Row { kind, name: kind.name().to_owned(), runs: cpu.iter().map(run).collect() }
    }

    #[test]
    fn ratios_are_those_of_rounds() {
        let rows = [row(Kind::Tidegate, &[1.0, 30.0, 2.0]), row(Kind::Nginx, &[2.0, 30.0, 2.0])];
        assert_eq!(rows[0].ratio(&rows, Kind::Nginx), Some(1.0));
        assert_eq!(rows[0].ratio(&rows, Kind::Haproxy), None);
        assert_eq!(rows[1].cpu(), 2.0);
    }
}
