//! The load generator `wrk`, and what it prints.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};

use super::load::Outcome;
use crate::bench::node::alone;

/// What each request is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) headers: &'a [(&'a str, &'a str)],
    /// Bytes to post; none is a GET.
    pub(super) body: usize,
}

/// Asks for `url` on `connections` connections; `dir` is for a script.
pub(super) fn run(dir: &Path, url: &str, connections: usize, request: Request<'_>, seconds: u64) -> Result<Outcome> {
    let mut command = alone("wrk");
    command.args([
        "--latency",
        "-t",
        "1",
        "-c",
        &connections.to_string(),
        "-d",
        &format!("{seconds}s"),
        "--timeout",
        "20s",
    ]);
    for (name, value) in request.headers {
        command.args(["-H", &format!("{name}: {value}")]);
    }
    if request.body > 0 {
        let script = dir.join("post.lua");
        let text = format!("wrk.method = \"POST\"\nwrk.body = string.rep(\"x\", {})\n", request.body);
        fs::write(&script, text).context("write a script")?;
        command.arg("-s").arg(script);
    }
    let output = command.arg(url).output().context("run wrk")?;
    ensure!(output.status.success(), "wrk: {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    parse(&text).with_context(|| format!("wrk printed\n{text}"))
}

fn parse(text: &str) -> Option<Outcome> {
    let mut wrk = Outcome::default();
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
        let expected = Outcome { requests: 81_904.0, seconds: 3.0, p50: 0.812, p99: 2.5, failed: 7 };
        assert_eq!(parse(text), Some(expected));
        assert_eq!(parse("unable to connect"), None);
    }
}
