//! The load generator `wrk`, and what it prints.

use std::process::Command;

use anyhow::{Context, Result, ensure};

#[derive(Debug, Default, PartialEq)]
pub(super) struct Wrk {
    pub(super) requests: f64,
    pub(super) seconds: f64,
    pub(super) p50: f64,
    pub(super) p99: f64,
    /// Socket errors and answers that are no success.
    pub(super) failed: u64,
}

impl Wrk {
    pub(super) fn run(url: &str, connections: usize, seconds: u64) -> Result<Self> {
        let output = Command::new("wrk")
            .args(["--latency", "-t", "1", "-c", &connections.to_string(), "-d", &format!("{seconds}s"), url])
            .output()
            .context("run wrk")?;
        ensure!(output.status.success(), "wrk: {}", output.status);
        let text = String::from_utf8_lossy(&output.stdout);
        Self::parse(&text).with_context(|| format!("wrk printed\n{text}"))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut wrk = Self::default();
        for line in text.lines().map(str::trim) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [count, "requests", "in", time, ..] => {
                    wrk.requests = count.parse().ok()?;
                    wrk.seconds = milliseconds(time.trim_end_matches(','))? / 1e3;
                }
                ["50%", time] => wrk.p50 = milliseconds(time)?,
                ["99%", time] => wrk.p99 = milliseconds(time)?,
                ["Socket", "errors:", rest @ ..] => {
                    for count in rest.iter().skip(1).step_by(2) {
                        wrk.failed += count.trim_end_matches(',').parse::<u64>().ok()?;
                    }
                }
                ["Non-2xx", "or", "3xx", "responses:", count] => wrk.failed += count.parse::<u64>().ok()?,
                _ => {}
            }
        }
        (wrk.requests > 0.0).then_some(wrk)
    }
}

fn milliseconds(text: &str) -> Option<f64> {
    for (unit, factor) in [("us", 1e-3), ("ms", 1.0), ("m", 6e4), ("s", 1e3)] {
        if let Some(number) = text.strip_suffix(unit) {
            return number.parse::<f64>().ok().map(|number| number * factor);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_read() {
        let text = "Running 3s test @ http://127.0.0.1:1/\n  1 threads and 64 connections\n  Latency Distribution\n     \
                    50%  812.00us\n     75%    1.00ms\n     99%    2.50ms\n  81904 requests in 3.00s, 92.02MB read\n  \
                    Socket errors: connect 0, read 2, write 0, timeout 1\n  Non-2xx or 3xx responses: 4\n\
                    Requests/sec:  27289.02\n";
        let expected = Wrk { requests: 81_904.0, seconds: 3.0, p50: 0.812, p99: 2.5, failed: 7 };
        assert_eq!(Wrk::parse(text), Some(expected));
        assert_eq!(Wrk::parse("unable to connect"), None);
    }
}
