//! Thousands of pipelines on one node that nobody asks for anything: what they cost while they wait, how fast they are loaded,
//! and how fast an edit is live.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidegate_base::clock;
use tidegate_tests::{Memory, cpu_seconds, pause, scratch, until};

use super::{http, mib, node::Node, table::Table};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Numbers of pipelines, one run each.
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 10_000])]
    counts: Vec<usize>,
    /// Minutes without a request after the first.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    #[arg(long, default_value = "256MiB")]
    budget: String,
    /// One line of JSON for each run instead of a table.
    #[arg(long)]
    json: bool,
}

/// How often the status of everything is read meanwhile, as the reference does.
const STATUS_PERIOD: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(120);

struct Row {
    count: usize,
    /// From the first object to the last answer of the admin API, and from there until the last pipeline answers.
    created: Duration,
    live: Duration,
    edit: Duration,
    /// `RssAnon` after the first minute and at the end.
    first: u64,
    last: u64,
    /// Growth of the store's files while nothing was asked.
    grown: i64,
    cpu_percent: f64,
    loaded: Duration,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut table = Table::new([
        "pipelines",
        "created s",
        "live after ms",
        "edit live ms",
        "restart live s",
        "RssAnon 1 min MiB",
        "end MiB",
        "growth KiB",
        "store KiB",
        "CPU % of a core",
    ]);
    for count in &args.counts {
        let row = one(*count, args)?;
        if args.json {
            println!(
                "{}",
                json!({"bench": "pipelines", "count": row.count, "created_s": row.created.as_secs_f64(),
                       "live_ms": row.live.as_secs_f64() * 1e3, "edit_ms": row.edit.as_secs_f64() * 1e3,
                       "restart_s": row.loaded.as_secs_f64(), "anon_first": row.first, "anon_last": row.last,
                       "store_growth": row.grown, "cpu_percent": row.cpu_percent})
            );
        }
        let growth = i64::try_from(row.last).unwrap_or(i64::MAX) - i64::try_from(row.first).unwrap_or(i64::MAX);
        table.row([
            row.count.to_string(),
            format!("{:.1}", row.created.as_secs_f64()),
            format!("{:.0}", row.live.as_secs_f64() * 1e3),
            format!("{:.0}", row.edit.as_secs_f64() * 1e3),
            format!("{:.1}", row.loaded.as_secs_f64()),
            format!("{:.1}", mib(row.first)),
            format!("{:.1}", mib(row.last)),
            (growth / 1024).to_string(),
            (row.grown / 1024).to_string(),
            format!("{:.2}", row.cpu_percent),
        ]);
    }
    if !args.json {
        table.print();
    }
    Ok(())
}

fn pipeline(number: usize, text: &str) -> String {
    json!({"name": format!("p{number}"), "kind": "Pipeline", "flow": [{"filter": "mock"}], "filters": [{
        "name": "mock", "kind": "Mock", "rules": [{"match": {"pathPrefix": "/"}, "code": 200, "body": text}],
    }]})
    .to_string()
}

fn one(count: usize, args: &Args) -> Result<Row> {
    let dir = scratch()?;
    let node = Node::start(dir.path(), &args.budget)?;
    let [port] = tidegate_tests::free_ports()?;
    let front = format!("127.0.0.1:{port}");
    let start = clock::now();
    let paths: Vec<_> =
        (0..count).map(|number| json!({"path": format!("/p{number}"), "backend": format!("p{number}")})).collect();
    let server = json!({"name": "front", "kind": "HTTPServer", "port": port, "address": "127.0.0.1", "rules": [{"paths": paths}]});
    http::post(&node.api, "/apis/v2/objects", &server.to_string())?;
    for number in 0..count {
        http::post(&node.api, "/apis/v2/objects", &pipeline(number, "first"))
            .with_context(|| format!("pipeline {number}"))?;
    }
    let created = start.elapsed();
    let live = answers(&front, count, "first").with_context(|| node.log())?;
    http::put(&node.api, &format!("/apis/v2/objects/p{}", count / 2), &pipeline(count / 2, "second"))?;
    let edit = is_live(&front, count / 2, "second").with_context(|| node.log())?;

    let pid = node.pid();
    idle(&node, Duration::from_secs(60))?;
    let (first, cpu, store) = (Memory::of(pid)?.anon, cpu_seconds(pid)?, bytes_of(&node.store())?);
    let since = clock::now();
    idle(&node, Duration::from_secs(60 * args.minutes.saturating_sub(1)))?;
    let cpu_percent = (cpu_seconds(pid)? - cpu) / since.elapsed().as_secs_f64().max(1.0) * 100.0;
    let (last, grown) = (Memory::of(pid)?.anon, bytes_of(&node.store())? - store);

    let budget = args.budget.clone();
    drop(node);
    let start = clock::now();
    let node = Node::start(dir.path(), &budget)?;
    answers(&front, count, "").with_context(|| node.log())?;
    let loaded = start.elapsed();
    Ok(Row { count, created, live, edit, first, last, grown, cpu_percent, loaded })
}

/// Reads the status of everything now and then.
fn idle(node: &Node, time: Duration) -> Result<()> {
    let until = clock::now() + time;
    while clock::now() < until {
        http::drain(&node.api, "/apis/v2/status/objects")?;
        pause(STATUS_PERIOD.min(until.saturating_duration_since(clock::now())));
    }
    Ok(())
}

/// Until the first, the last and some pipelines between answer.
fn answers(front: &str, count: usize, text: &str) -> Result<Duration> {
    let start = clock::now();
    for number in [0, count / 3, count - 1] {
        is_live(front, number, text)?;
    }
    Ok(start.elapsed())
}

fn is_live(front: &str, number: usize, text: &str) -> Result<Duration> {
    let start = clock::now();
    let asked = || http::text(front, &format!("/p{number}")).ok().filter(|answer| answer.ends_with(text));
    let found = until(PATIENCE, asked);
    ensure!(found.is_some(), "pipeline {number} does not answer \"{text}\"");
    Ok(start.elapsed())
}

/// Bytes of the files below `path`, as they are allocated.
fn bytes_of(path: &Path) -> Result<i64> {
    use std::os::unix::fs::MetadataExt;
    let mut sum = 0;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += match metadata.is_dir() {
            true => bytes_of(&entry.path())?,
            false => i64::try_from(metadata.blocks() * 512)?,
        };
    }
    Ok(sum)
}
