//! The load generator `h2load`, and what it prints.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};

use super::load::Outcome;
use crate::bench::node::alone;

/// Asks for `url` over HTTP/2, in `streams` requests at a time on each of `clients` connections; `dir` is for its log.
pub(super) fn run(dir: &Path, url: &str, clients: usize, streams: usize, seconds: u64) -> Result<Outcome> {
    let log = dir.join("h2load.log");
    // It goes on writing to a log that is there.
    if log.exists() {
        fs::remove_file(&log)?;
    }
    let output = alone("h2load")
        .args(["-t", "1", "-c", &clients.to_string(), "-m", &streams.to_string(), "-D", &seconds.to_string()])
        .arg(format!("--log-file={}", log.display()))
        .arg(url)
        .output()
        .context("run h2load")?;
    ensure!(output.status.success(), "h2load: {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let mut outcome = parse(&text).with_context(|| format!("h2load printed\n{text}"))?;
    #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
    let length = seconds as f64;
    outcome.seconds = length;
    (outcome.p50, outcome.p99) = latencies(&fs::read_to_string(&log).context("read h2load's log")?);
    Ok(outcome)
}

/// Counts; `failed` has what was answered with an error as well as what was not answered.
fn parse(text: &str) -> Option<Outcome> {
    let mut outcome = Outcome::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["requests:", _, "total,", _, "started,", done, "done,", _, "succeeded,", failed, "failed,", ..] => {
                outcome.requests = done.parse().ok()?;
                outcome.failed += failed.parse::<u64>().ok()?;
            }
            ["status", "codes:", _, "2xx,", _, "3xx,", client, "4xx,", server, "5xx"] => {
                // Those count as done there, not as failed.
                outcome.failed += client.parse::<u64>().ok()? + server.parse::<u64>().ok()?;
            }
            _ => {}
        }
    }
    (outcome.requests > 0.0).then_some(outcome)
}

/// Median and 99th percentile in milliseconds; a line has start, status and length of a request, in microseconds.
fn latencies(log: &str) -> (f64, f64) {
    let length = |line: &str| line.split_whitespace().nth(2)?.parse::<u32>().ok();
    let mut lengths: Vec<u32> = log.lines().filter_map(length).collect();
    lengths.sort_unstable();
    let at = |percent: usize| match lengths.len() {
        0 => f64::NAN,
        count => f64::from(lengths[(count * percent / 100).min(count - 1)]) / 1e3,
    };
    (at(50), at(99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_h2load_prints_is_read() {
        let text = "finished in 3.00s, 41234.33 req/s, 45.31MB/s\n\
                    requests: 123703 total, 123863 started, 123703 done, 123702 succeeded, 1 failed, 1 errored, 0 timeout\n\
                    status codes: 123700 2xx, 0 3xx, 0 4xx, 2 5xx\n";
        assert_eq!(parse(text), Some(Outcome { requests: 123_703.0, failed: 3, ..Outcome::default() }));
        assert_eq!(parse("requests: 0 total, 0 started, 0 done, 0 succeeded, 0 failed, 0 errored, 0 timeout\n"), None);
    }

    #[test]
    fn latencies_come_from_the_log() {
        let log: String = (1..=200).map(|number| format!("1700000000\t200\t{}\n", number * 10)).collect();
        assert_eq!(latencies(&log), (1.01, 1.99));
        assert!(latencies("").0.is_nan());
    }
}
