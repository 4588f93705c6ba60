//! Runs: many rounds on new stores, what they came to, and a difference made short.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result};

use super::{
    known,
    pair::{Difference, Pair, Verdict},
    requests,
    step::Step,
};

/// Steps on one pair of stores.
const ROUND: usize = 1000;
/// Steps after which watches are compared even when nothing else asks for it.
const LOOK_EVERY: usize = 40;
/// Differences that are made short; of more, the first of a run tell enough.
const REDUCED_MAX: usize = 6;
/// Runs on new stores that making a difference short may take.
const TRIALS_MAX: usize = 60;

/// What is run.
#[derive(Debug, Clone)]
pub struct Options {
    pub seed: u64,
    pub requests: usize,
    /// Pairs of stores at the same time.
    pub jobs: usize,
    /// Only these steps of the seed's first round: the replay of a difference.
    pub steps: Option<Vec<usize>>,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Report {
    pub compared: BTreeMap<&'static str, u64>,
    /// Differences that are known, by name.
    pub known: BTreeMap<&'static str, u64>,
    pub differences: Vec<String>,
    /// Kinds of differences of which one was made short.
    reduced: BTreeSet<&'static str>,
}

impl Report {
    pub fn requests(&self) -> u64 {
        self.compared.values().sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for difference in &self.differences {
            writeln!(f, "{difference}")?;
        }
        for (kind, count) in &self.compared {
            writeln!(f, "{count:>8} {kind}")?;
        }
        for (name, count) in &self.known {
            writeln!(f, "{count:>8} known: {name}")?;
        }
        write!(f, "{} requests compared, {} differences", self.requests(), self.differences.len())
    }
}

/// Runs the same random requests against both stores.
///
/// # Errors
/// When a store cannot be started.
pub fn run(options: &Options) -> Result<Report> {
    let report = Mutex::new(Report::default());
    if let Some(steps) = &options.steps {
        one_round(options.seed, steps, false, &report)?;
        return Ok(report.into_inner().expect("no panic under the lock"));
    }
    let rounds = options.requests.div_ceil(ROUND);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let work = || -> Result<()> {
            loop {
                let round = next.fetch_add(1, Ordering::Relaxed);
                if round >= rounds {
                    return Ok(());
                }
                let steps: Vec<usize> = (0..ROUND.min(options.requests - round * ROUND)).collect();
                one_round(options.seed.wrapping_add(round as u64), &steps, true, &report)?;
            }
        };
        let jobs: Vec<_> = (0..options.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        jobs.into_iter().try_for_each(|job| job.join().expect("a job does not panic"))
    })?;
    Ok(report.into_inner().expect("no panic under the lock"))
}

fn one_round(seed: u64, steps: &[usize], reduces: bool, report: &Mutex<Report>) -> Result<()> {
    let played = play(seed, steps)?;
    if let Some(place) = played.crashed {
        // The rest goes on with new stores.
        one_round(seed, &steps[place + 1..], reduces, report)?;
    }
    let worth = {
        let mut report = report.lock().expect("no panic under the lock");
        for (kind, count) in &played.compared {
            *report.compared.entry(kind).or_default() += count;
        }
        for (name, count) in &played.known {
            *report.known.entry(name).or_default() += count;
        }
        let what = played.failure.as_ref().map(|failure| failure.difference.what);
        reduces && report.differences.len() < REDUCED_MAX && what.is_some_and(|what| report.reduced.insert(what))
    };
    let Some(failure) = played.failure else { return Ok(()) };
    let mut steps = steps[..=failure.place].to_vec();
    if worth {
        steps = reduce(seed, steps)?;
    }
    let text = describe(seed, &steps, failure)?;
    report.lock().expect("no panic under the lock").differences.push(text);
    Ok(())
}

/// What differs at which of the steps.
struct Failure {
    place: usize,
    difference: Difference,
    steps: Vec<(usize, Step)>,
}

#[derive(Default)]
struct Played {
    compared: BTreeMap<&'static str, u64>,
    known: BTreeMap<&'static str, u64>,
    failure: Option<Failure>,
    /// Where etcd ended, as it is known.
    crashed: Option<usize>,
}

/// Runs steps on new stores, up to the first difference.
fn play(seed: u64, steps: &[usize]) -> Result<Played> {
    let dir = scratch()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut pair = Pair::start(dir.path())?;
        pair.meet().await?;
        pair.known.fat = requests::fat(seed);
        let (mut played, mut done) = (Played::default(), Vec::new());
        for (place, number) in steps.iter().enumerate() {
            let step = requests::step(seed, *number, pair.known);
            done.push((*number, step.clone()));
            *played.compared.entry(step.kind()).or_default() += 1;
            let mut verdict = pair.step(step).await.with_context(|| format!("seed {seed}, step {number}"))?;
            let last = place + 1 == steps.len();
            if let Verdict::Known(name) = verdict {
                *played.known.entry(name).or_default() += 1;
                if name == known::CRASH {
                    played.crashed = Some(place);
                    break;
                }
                verdict = Verdict::Same;
            }
            if matches!(verdict, Verdict::Same) && (last || place % LOOK_EVERY == LOOK_EVERY - 1) {
                verdict = pair.all_told().await;
            }
            match verdict {
                Verdict::Same | Verdict::Known(_) => {}
                Verdict::Different(difference) => {
                    played.failure = Some(Failure { place, difference, steps: done });
                    break;
                }
            }
        }
        Ok(played)
    })
}

/// Data of stores that only answer: memory will do.
fn scratch() -> Result<tempfile::TempDir> {
    let memory = PathBuf::from("/dev/shm");
    if std::env::var_os("TIDEGATE_SCRATCH").is_some() || !memory.is_dir() {
        return crate::scratch();
    }
    tempfile::Builder::new().prefix("tidegate-").tempdir_in(memory).context("make a directory for data")
}

/// Fewer steps that differ still, found by leaving out parts of them, smaller and smaller.
fn reduce(seed: u64, mut steps: Vec<usize>) -> Result<Vec<usize>> {
    let mut part = steps.len() / 2;
    let mut trials = 0;
    while part > 0 {
        let mut at = 0;
        let before = steps.len();
        while at < steps.len() {
            if trials == TRIALS_MAX {
                return Ok(steps);
            }
            trials += 1;
            let end = (at + part).min(steps.len());
            let fewer = [&steps[..at], &steps[end..]].concat();
            match play(seed, &fewer)?.failure {
                Some(failure) => steps = fewer[..=failure.place].to_vec(),
                None => at = end,
            }
        }
        if steps.len() == before || part > 1 {
            part /= 2;
        }
    }
    Ok(steps)
}

fn describe(seed: u64, steps: &[usize], first: Failure) -> Result<String> {
    let failure = match play(seed, steps)?.failure {
        Some(failure) => failure,
        None => Failure { difference: Difference { what: "not seen again", ..first.difference }, ..first },
    };
    let Difference { what, ours, theirs } = &failure.difference;
    let mut text = format!("--- {what}\n");
    let shown = failure.steps.len().saturating_sub(12);
    for (number, step) in &failure.steps[shown..] {
        text.push_str(&format!("{number:>5} {}\n", short(&format!("{step:?}"))));
    }
    text.push_str(&format!("tidegate: {}\netcd:     {}\n", short(ours), short(theirs)));
    let numbers: Vec<String> = steps.iter().map(usize::to_string).collect();
    text.push_str(&format!("replay:   cargo xtask diff --seed {seed} --steps {}\n", numbers.join(",")));
    Ok(text)
}

/// What a person reads of a long text.
fn short(text: &str) -> String {
    const SHOWN: usize = 2000;
    let text = text.replace("RequestOp { request: Some", "Op { ").replace(": 0, ", ":0,");
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text,
    }
}
