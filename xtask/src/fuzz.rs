//! Runs the fuzzers of `fuzz/`, one after the other.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// One target; all of them when it is not given.
    target: Option<String>,
    /// Minutes for each target.
    #[arg(long, default_value_t = 3)]
    minutes: u64,
}

/// What is found goes to a folder of its own; the corpus that is kept is only read.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let there = Command::new("cargo").args(["fuzz", "--version"]).output().is_ok_and(|output| output.status.success());
    ensure!(there, "cargo-fuzz is not there: cargo install cargo-fuzz");
    let mut targets = fs::read_dir(fuzz.join("corpus"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<anyhow::Result<Vec<String>>>()?;
    targets.sort_unstable();
    if let Some(target) = &args.target {
        ensure!(targets.contains(target), "no target is called {target}: there are {}", targets.join(", "));
        targets = vec![target.clone()];
    }
    let built = fuzz.join("target");
    for target in targets {
        let found = fuzz.join("artifacts").join("corpus").join(&target);
        fs::create_dir_all(&found)?;
        let status = Command::new("cargo")
            .args(["fuzz", "run", &target])
            .args([PathBuf::from(&found), fuzz.join("corpus").join(&target)])
            .args(["--", "-max_len=4096", "-timeout=20", "-print_final_stats=1"])
            .arg(format!("-max_total_time={}", args.minutes * 60))
            .current_dir(&fuzz)
            // The sanitizer's flags are not stable, and everything else is.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("ASAN_OPTIONS", "detect_leaks=0")
            .env("CARGO_TARGET_DIR", &built)
            .status()
            .context("run cargo fuzz")?;
        if !status.success() {
            bail!("{target} failed: its input is under fuzz/artifacts/{target}; `cargo xtask fuzz {target}` goes on");
        }
    }
    Ok(())
}
