//! One request of 1 KiB through listener, router, pipeline and proxy, beside nginx: processor time per request.
//!
//! Needs `nginx`, which is the backend as well, and `wrk`.

mod proxies;
mod wrk;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidegate_tests::{Memory, cpu_seconds, pause, scratch};

use self::{
    proxies::{Backend, Proxy, nginx, ours},
    wrk::Wrk,
};
use super::{http, median, mib, table::Table};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rounds; figures are medians over them.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// How often the pipeline is edited under load afterwards; no request may fail.
    #[arg(long, default_value_t = 20)]
    edits: usize,
    #[arg(long, default_value = "256MiB")]
    budget: String,
    /// One line of JSON for each figure instead of a table.
    #[arg(long)]
    json: bool,
}

struct Run {
    cpu_us: f64,
    wrk: Wrk,
    rss: u64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let dir = scratch()?;
    let backend = Backend::start(&dir.path().join("backend"))?;
    let proxies = [ours(dir.path(), &args.budget, &backend)?, nginx(&dir.path().join("nginx"), &backend)?];
    let mut runs: [Vec<Run>; 2] = Default::default();
    for round in 0..args.rounds {
        let turns = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for turn in turns {
            runs[turn].push(measure(&proxies[turn], args)?);
        }
    }
    report(args, &proxies, &runs)?;
    edit(&proxies[0], args, &backend)
}

fn measure(proxy: &Proxy, args: &Args) -> Result<Run> {
    let before = cpu(&proxy.pids)?;
    let wrk = Wrk::run(&proxy.url, args.connections, args.seconds)?;
    ensure!(wrk.failed == 0, "{}: {} requests failed", proxy.name, wrk.failed);
    let cpu_us = (cpu(&proxy.pids)? - before) * 1e6 / wrk.requests;
    let rss = proxy.pids.iter().map(|pid| Memory::of(*pid).map(|memory| memory.rss)).sum::<Result<u64>>()?;
    Ok(Run { cpu_us, wrk, rss })
}

fn cpu(pids: &[u32]) -> Result<f64> {
    pids.iter().map(|pid| cpu_seconds(*pid)).sum()
}

fn report(args: &Args, proxies: &[Proxy; 2], runs: &[Vec<Run>; 2]) -> Result<()> {
    let mut table = Table::new(["proxy", "cpu µs/request", "ratio", "requests/s", "p50 ms", "p99 ms", "RSS MiB"]);
    let middle = |runs: &[Run], figure: &dyn Fn(&Run) -> f64| median(runs.iter().map(figure).collect());
    let base = middle(&runs[1], &|run| run.cpu_us);
    for (proxy, runs) in proxies.iter().zip(runs) {
        let (cpu, rate) = (middle(runs, &|run| run.cpu_us), middle(runs, &|run| run.wrk.requests / run.wrk.seconds));
        let (p50, p99) = (middle(runs, &|run| run.wrk.p50), middle(runs, &|run| run.wrk.p99));
        let rss = runs.iter().map(|run| run.rss).max().context("no round was run")?;
        if args.json {
            let line = json!({"bench": "gateway", "proxy": proxy.name, "cpu_us": cpu, "ratio": cpu / base,
                              "requests_per_s": rate, "p50_ms": p50, "p99_ms": p99, "rss_bytes": rss});
            println!("{line}");
        }
        table.row([
            proxy.name.to_owned(),
            format!("{cpu:.1}"),
            format!("{:.2}", cpu / base),
            format!("{rate:.0}"),
            format!("{p50:.2}"),
            format!("{p99:.2}"),
            format!("{:.1}", mib(rss)),
        ]);
    }
    if !args.json {
        table.print();
    }
    Ok(())
}

/// Replaces the pipeline again and again while requests run through it.
fn edit(proxy: &Proxy, args: &Args, backend: &Backend) -> Result<()> {
    let Some(api) = &proxy.api else { return Ok(()) };
    let step = Duration::from_millis(100);
    let seconds = 2 + args.edits as u64 / 10;
    let (url, connections) = (proxy.url.clone(), args.connections);
    let load = std::thread::spawn(move || Wrk::run(&url, connections, seconds));
    for number in 0..args.edits {
        pause(step);
        http::put(api, "/apis/v2/objects/bench", &proxies::pipeline(backend, number)).context("edit the pipeline")?;
    }
    let wrk = load.join().ok().context("the load panicked")??;
    ensure!(wrk.failed == 0, "{} of {} requests failed while the pipeline was edited", wrk.failed, wrk.requests);
    if args.json {
        println!("{}", json!({"bench": "gateway edits", "edits": args.edits, "requests": wrk.requests, "failed": 0}));
    } else {
        println!("{} edits under load: {} requests, none failed", args.edits, wrk.requests);
    }
    Ok(())
}
