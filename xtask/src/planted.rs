//! Plants each fault of `tidegate_base::planted` in turn, in a build of its own, and sees that a test finds it.
//!
//! A test that nothing can make fail proves nothing. The simulation is tried first, then the tests of the part that is wrong.

use std::{
    env,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use clap::Args as ClapArgs;
use tidegate_base::{clock, planted::Fault};

#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Only this fault, by its name.
    #[arg(long)]
    only: Option<String>,
    /// Seeds of the simulation, of which one must find the fault.
    #[arg(long, default_value_t = 600)]
    seeds: u64,
}

/// A test by its name, and cargo's arguments.
type Finder = (&'static str, &'static [&'static str]);

/// What may find a fault of the store.
const FINDERS: [Finder; 3] = [
    ("simulation", &["-p", "tidegate-sim", "--test", "seeds"]),
    ("model of the machine", &["-p", "tidegate-kv", "--test", "model"]),
    ("tests of the log", &["-p", "tidegate-raftlog", "--lib"]),
];

/// What may find one of the gateway: its comparison with another proxy, and the requests that are meant to fool it.
const GATEWAY_FINDERS: [Finder; 1] = [("gateway's differential", &["-p", "tidegate-gateway", "--test", "reference"])];
/// Requests of that comparison: some seconds.
const GATEWAY_REQUESTS: &str = "5000";

fn finders(fault: Fault) -> &'static [Finder] {
    if fault.is_of_gateway() { &GATEWAY_FINDERS } else { &FINDERS }
}

/// # Errors
/// When a fault is found by nothing, or something fails without one.
pub(crate) fn run(args: &Args) -> Result<()> {
    let chosen = chosen(args)?;
    for (name, arguments) in FINDERS.iter().chain(&GATEWAY_FINDERS) {
        if !chosen.iter().any(|fault| finders(*fault).iter().any(|(other, _)| other == name)) {
            continue;
        }
        let built = cargo(arguments)?.arg("--no-run").status().context("run cargo")?;
        ensure!(built.success(), "the {name} cannot be built");
    }
    let mut missed = Vec::new();
    for fault in &chosen {
        match find(*fault, args.seeds)? {
            Some(found) => println!("{fault:?}: {found}"),
            None => missed.push(format!("{fault:?}")),
        }
    }
    let (word, found) = (if missed.is_empty() { "ok" } else { "FAILED" }, chosen.len() - missed.len());
    println!("test result: {word}. {found} passed; {} failed; planted faults", missed.len());
    ensure!(missed.is_empty(), "nothing finds {}", missed.join(", "));
    Ok(())
}

fn chosen(args: &Args) -> Result<Vec<Fault>> {
    let is_meant = |fault: &Fault| args.only.as_ref().is_none_or(|only| *only == format!("{fault:?}"));
    let chosen: Vec<_> = Fault::ALL.into_iter().filter(is_meant).collect();
    let all = || Fault::ALL.map(|fault| format!("{fault:?}")).join(", ");
    ensure!(!chosen.is_empty(), "the faults are {}", all());
    Ok(chosen)
}

fn find(fault: Fault, seeds: u64) -> Result<Option<String>> {
    for (name, arguments) in finders(fault) {
        let begin = clock::now();
        let mut command = cargo(arguments)?;
        if *name == FINDERS[0].0 {
            command.env("TIDEGATE_SEEDS", seeds.to_string());
        }
        let output = command
            .args(["--", "--nocapture"])
            .env("TIDEGATE_PLANT", format!("{fault:?}"))
            .env("TIDEGATE_REQUESTS", GATEWAY_REQUESTS)
            .output()
            .context("run cargo")?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stdout);
            let words = text.lines().find(|line| line.starts_with("seed ")).unwrap_or_default();
            let seed = words.split(':').next().unwrap_or_default();
            let separator = if seed.is_empty() { "" } else { ", " };
            return Ok(Some(format!("{name}{separator}{seed}, after {:.1} s", begin.elapsed().as_secs_f64())));
        }
    }
    Ok(None)
}

/// A test of the build with faults, which has a directory of its own: no other build may come near it.
fn cargo(arguments: &[&str]) -> Result<Command> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let mut command = Command::new(env::var_os("CARGO").context("run this as `cargo xtask`")?);
    command
        .args(["test", "--release", "--quiet"])
        .args(arguments)
        .env("RUSTFLAGS", "--cfg planted")
        .env("CARGO_TARGET_DIR", target.join("planted"))
        .env("RUST_BACKTRACE", "0")
        .stderr(Stdio::null());
    Ok(command)
}
