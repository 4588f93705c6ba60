//! Requests through listener, router, pipeline and proxy, beside nginx, HAProxy, Envoy and Caddy: processor time per request.
//!
//! Needs `nginx`, `haproxy`, `wrk` and `h2load` (`apt-get install nginx-light haproxy wrk nghttp2-client`); Envoy and Caddy come from
//! `cargo xtask peers gateway`. A peer that is missing is left out, with a line that says so. `docs/performance.md` has the results.

mod backend;
mod edits;
mod fleet;
mod h2load;
mod handshakes;
mod idle;
mod load;
mod ours;
mod peers;
mod pki;
mod report;
mod scenario;
mod wrk;

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result};
use rustix::process::{Resource, getrlimit, setrlimit};
use tidegate_tests::scratch;

pub(crate) use self::backend::serve as serve_backend;
use self::{
    backend::Backend,
    fleet::{Contender, Job, Kind, Proxy},
    load::Load,
    pki::Certificate,
    report::{Row, Run},
    scenario::Scenario,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Scenarios, by name: all of them unless given, none with `none`.
    #[arg(long, value_delimiter = ',', value_parser = scenario_name)]
    scenario: Vec<String>,
    /// What is compared; ours is always there.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<Kind>,
    /// Other builds of ours, as `NAME=PROGRAM`, which take turns with the rest.
    #[arg(long, value_parser = build)]
    build: Vec<Contender>,
    /// Rounds; figures are medians over them.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Connections of the scenarios that measure idle ones.
    #[arg(long, default_value_t = 2000)]
    idle_connections: usize,
    /// How often pipelines, servers and certificates are edited under load afterwards; no request may fail.
    #[arg(long, default_value_t = 0)]
    edits: usize,
    #[arg(long, default_value = "256MiB")]
    budget: String,
    /// Lines of JSON instead of tables.
    #[arg(long)]
    json: bool,
}

fn scenario_name(name: &str) -> Result<String, String> {
    if name == "none" || scenario::find(name).is_some() {
        return Ok(name.to_owned());
    }
    let names: Vec<&str> = scenario::ALL.iter().map(|scenario| scenario.name).collect();
    Err(format!("the scenarios are {}", names.join(", ")))
}

fn build(text: &str) -> Result<Contender, String> {
    let (name, program) = text.split_once('=').ok_or("a build is NAME=PROGRAM")?;
    Ok(Contender { kind: Kind::Tidegate, name: name.to_owned(), build: Some(program.into()) })
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    let backend = Backend::start()?;
    let certificate = Arc::new(Certificate::new());
    let contenders = contenders(args);
    for scenario in scenario::ALL {
        if !args.scenario.is_empty() && !args.scenario.iter().any(|name| name == scenario.name) {
            continue;
        }
        let dir = scratch()?;
        let job = job(dir.path(), args, &backend, &certificate);
        compare(scenario, Job { filters: scenario.filters, ..job }, args, &contenders)
            .with_context(|| format!("scenario {}", scenario.name))?;
    }
    if args.edits > 0 {
        let dir = scratch()?;
        let job = job(dir.path(), args, &backend, &certificate);
        let proxy = Proxy::start(&Contender::new(Kind::Tidegate), job)?.context("ours is there")?;
        edits::run(&proxy, job, &certificate, args.edits, args.json)?;
    }
    Ok(())
}

fn job<'a>(dir: &'a Path, args: &'a Args, backend: &'a Backend, certificate: &'a Certificate) -> Job<'a> {
    Job { dir, backend, certificate, routes: 0, filters: false, budget: &args.budget }
}

/// Ours and the peers that are there.
fn contenders(args: &Args) -> Vec<Contender> {
    let wanted = |kind: &Kind| *kind == Kind::Tidegate || args.peers.is_empty() || args.peers.contains(kind);
    let there = |kind: &Kind| {
        let there = *kind == Kind::Tidegate || peers::program(*kind).is_some();
        if !there {
            eprintln!("{} is not installed and left out", kind.name());
        }
        there
    };
    let mut contenders: Vec<Contender> =
        Kind::ALL.into_iter().filter(wanted).filter(there).map(Contender::new).collect();
    contenders.splice(1..1, args.build.iter().cloned());
    contenders
}

fn compare(scenario: &Scenario, job: Job<'_>, args: &Args, contenders: &[Contender]) -> Result<()> {
    let mut fleet = Vec::new();
    for contender in contenders {
        if scenario.only_nginx && !matches!(contender.kind, Kind::Tidegate | Kind::Nginx) {
            continue;
        }
        for routes in scenario.routes {
            let Some(mut proxy) = Proxy::start(contender, Job { routes: *routes, ..job })? else { continue };
            let mut path = scenario.path.to_owned();
            if *routes > 0 {
                proxy.name = format!("{} {routes}", proxy.name);
                path = format!("/svc{}/api/x", routes / 2);
            }
            fleet.push((proxy, path));
        }
    }
    if let Load::Idle(protocol) = scenario.load {
        let mut rows = Vec::new();
        for (proxy, _) in &fleet {
            let bytes = idle::bytes_each(proxy, protocol, job.certificate, args.idle_connections)
                .with_context(|| format!("idle connections of {}", proxy.name))?;
            rows.push((proxy.name.clone(), bytes));
        }
        report::print_idle(scenario.name, &rows, args.json);
        return Ok(());
    }
    let row = |(proxy, _): &(Proxy, String)| Row { kind: proxy.kind, name: proxy.name.clone(), runs: Vec::new() };
    let mut rows: Vec<Row> = fleet.iter().map(row).collect();
    for round in 0..args.rounds {
        let mut turns: Vec<usize> = (0..fleet.len()).collect();
        if round % 2 == 1 {
            turns.reverse();
        }
        for turn in turns {
            let (proxy, path) = &fleet[turn];
            let run = measure(scenario, proxy, path, job, args).with_context(|| proxy.name.clone())?;
            rows[turn].runs.push(run);
        }
    }
    report::print(scenario.name, &rows, args.json)
}

fn measure(scenario: &Scenario, proxy: &Proxy, path: &str, job: Job<'_>, args: &Args) -> Result<Run> {
    let before = proxy.cpu()?;
    let outcome = scenario.load.run(proxy, path, job.certificate, job.dir, (args.connections, args.seconds))?;
    let after = proxy.cpu()?;
    let each = |seconds: f64| seconds * 1e6 / outcome.requests;
    let (user, system) = (each(after.user - before.user), each(after.system - before.system));
    Ok(Run { outcome, user, system, memory: proxy.memory()? })
}
