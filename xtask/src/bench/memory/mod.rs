//! Memory under attack: loads that tempt a store to keep things, one new store for each, with a well-behaved client beside it.
//!
//! A case passes when the process never held more than its budget, what nobody accounts for stays under the slack, nothing
//! acknowledged is lost, only `etcdserver: too many requests` is refused, the client beside it has no error and its reads
//! stay fast, and ten seconds later most of the memory is given back.

mod cases;
mod neighbour;
mod samples;

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tidegate_tests::{Kind, pause};

use self::{
    cases::{Acked, Case},
    neighbour::{Neighbour, Service},
    samples::{Samples, Seen},
};
use super::{mib, stores::Common, table::Table};

/// Reads beside an attack may take so long, or three times what they take beside an idle store.
const GET_P99_MS: f64 = 50.0;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// Some of the cases; all of them otherwise.
    #[arg(long, value_delimiter = ',')]
    cases: Vec<String>,
    /// Seconds of rest before memory is read again.
    #[arg(long, default_value_t = 10)]
    settle: u64,
    /// Makes every case smaller by this divisor.
    #[arg(long, default_value_t = 1)]
    divide: u64,
}

struct Figures {
    seen: Seen,
    settled: u64,
    acked: Acked,
    /// The client beside the attack, or what went wrong for it.
    service: Result<Service>,
    /// What else went wrong.
    failure: Option<String>,
    restart_ms: Option<f64>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let chosen = |case: &Case| args.cases.is_empty() || args.cases.iter().any(|name| name == case.name());
    ensure!(Case::ALL.iter().any(chosen), "no such case: there are {}", Case::ALL.map(Case::name).join(", "));
    let budget: tidegate_base::ByteSize = args.common.budget.parse()?;
    let mut table = Table::new([
        "attack",
        "store",
        "peak MiB",
        "anon MiB",
        "unaccounted",
        "after MiB",
        "refused",
        "get p99 ms",
        "idle",
        "restart ms",
        "verdict",
    ]);
    let mut failed = Vec::new();
    for kind in args.common.kinds()? {
        let idle = idle(args, kind)?;
        for case in Case::ALL.into_iter().filter(chosen) {
            eprintln!("{}: {}", kind.name(), case.text());
            let figures = measure(args, &runtime, kind, case)?;
            let problems = judge(&figures, kind, budget.0, idle);
            if kind == Kind::Tidegate && !problems.is_empty() {
                failed.push(format!("{}: {}", case.name(), problems.join("; ")));
            }
            let p99 = figures.service.as_ref().map_or(f64::NAN, |service| service.gets.percentile(99));
            let verdict = if problems.is_empty() { "holds".to_owned() } else { problems.join("; ") };
            if args.common.json {
                let service = figures.service.as_ref().ok();
                let line = json!({
                    "bench": "memory", "case": case.name(), "store": kind.name(), "peak_bytes": figures.seen.high,
                    "anon_bytes": figures.seen.anon, "unaccounted_bytes": figures.seen.unaccounted,
                    "settled_bytes": figures.settled, "refused": figures.acked.refused, "done": figures.acked.done,
                    "get_p99_ms": p99, "idle_get_p99_ms": idle, "restart_ms": figures.restart_ms,
                    "put_p99_ms": service.map(|service| service.puts.percentile(99)),
                    "keepalive_max_ms": service.map(|service| service.keepalives.percentile(100)),
                    "problems": problems,
                });
                println!("{line}");
            }
            let unaccounted =
                u64::try_from(figures.seen.unaccounted).map_or_else(|_| "–".to_owned(), |bytes| mib(bytes).to_string());
            table.row([
                case.name().to_owned(),
                kind.name().to_owned(),
                mib(figures.seen.high).to_string(),
                mib(figures.seen.anon).to_string(),
                unaccounted,
                mib(figures.settled).to_string(),
                figures.acked.refused.to_string(),
                format!("{p99:.1}"),
                format!("{idle:.1}"),
                figures.restart_ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.0}")),
                verdict,
            ]);
        }
    }
    if !args.common.json {
        table.print();
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

/// Reads of the well-behaved client beside nobody: the p99 in milliseconds.
fn idle(args: &Args, kind: Kind) -> Result<f64> {
    let store = args.common.start(kind)?;
    let neighbour = Neighbour::start(store.client())?;
    pause(Duration::from_secs(5));
    Ok(neighbour.finish()?.gets.percentile(99))
}

fn measure(args: &Args, runtime: &tokio::runtime::Runtime, kind: Kind, case: Case) -> Result<Figures> {
    let mut store = args.common.start(kind)?;
    let samples = Samples::start(&store);
    let neighbour = Neighbour::start(store.client())?;
    let outcome = runtime.block_on(case.attack(&store, args.divide.max(1)));
    let service = neighbour.finish();
    let mut failure = outcome.as_ref().err().map(|error| format!("{error:#}"));
    let mut acked = outcome.unwrap_or_default();
    let mut restart_ms = None;
    let mut seen = samples.finish();
    if case.restarts() && failure.is_none() {
        let (again, restart) = store.crash()?;
        store = again;
        seen.high = seen.high.max(restart.high);
        restart_ms = Some(restart.seconds * 1000.0);
        let samples = Samples::start(&store);
        failure = runtime.block_on(case.verify(&store, &acked)).err().map(|error| format!("{error:#}"));
        let behind = samples.finish();
        (seen.high, seen.anon) = (seen.high.max(behind.high), seen.anon.max(behind.anon));
        seen.unaccounted = seen.unaccounted.max(behind.unaccounted);
    }
    // What the clients hold open goes with them.
    acked.held.clear();
    pause(Duration::from_secs(args.settle));
    let settled = store.server.memory().map_or(0, |memory| memory.rss);
    Ok(Figures { seen, settled, acked, service, failure, restart_ms })
}

fn judge(figures: &Figures, kind: Kind, budget: u64, idle: f64) -> Vec<String> {
    let mut problems = Vec::new();
    if figures.seen.killed {
        problems.push("took all memory of the machine".to_owned());
    }
    problems.extend(figures.failure.clone());
    match &figures.service {
        Err(error) => problems.push(format!("{error:#}")),
        Ok(service) => {
            let p99 = service.gets.percentile(99);
            if p99 > GET_P99_MS.max(3.0 * idle) {
                problems.push(format!("get p99 of {p99:.0} ms"));
            }
        }
    }
    if figures.seen.high > budget {
        problems.push("above the budget".to_owned());
    }
    if figures.settled > budget * 6 / 10 {
        problems.push("memory is not given back".to_owned());
    }
    let slack = i64::try_from(budget * 28 / 256).unwrap_or(i64::MAX);
    if kind == Kind::Tidegate && figures.seen.unaccounted > slack {
        problems.push("more than the slack is unaccounted for".to_owned());
    }
    problems
}
