//! Many seeds of the simulation, on all cores.
//!
//! `TIDEGATE_SEED` runs one, `TIDEGATE_SEEDS` so many, `TIDEGATE_MINUTES` as many as fit.

use std::{
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tidegate_base::clock;
use tidegate_sim::{Kind, Report};

/// Most failures that are shown.
const SHOWN: usize = 5;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn check(seed: u64) -> Result<Report, String> {
    tidegate_sim::run(seed).map_err(|error| {
        format!(
            "seed {seed}: {error}\n  replay: TIDEGATE_SEED={seed} cargo test --release -p tidegate-sim --test seeds"
        )
    })
}

/// Without the usual harness: what a run reports is worth reading also when nothing fails.
fn main() -> ExitCode {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    if filter.is_some_and(|filter| !"seeds".contains(&filter)) {
        return ExitCode::SUCCESS;
    }
    let failures = seeds();
    failures.iter().for_each(|failure| println!("{failure}"));
    let (word, passed, failed) = if failures.is_empty() { ("ok", 1, 0) } else { ("FAILED", 0, 1) };
    println!("\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out");
    ExitCode::from(failed)
}

/// What was found.
fn seeds() -> Vec<String> {
    if let Some(seed) = variable("TIDEGATE_SEED") {
        return match check(seed) {
            Ok(report) => {
                println!("seed {seed}: {report:?}");
                Vec::new()
            }
            Err(error) => vec![error],
        };
    }
    let long = variable("TIDEGATE_LONG") == Some(1);
    let minutes = variable("TIDEGATE_MINUTES");
    let count = variable("TIDEGATE_SEEDS").unwrap_or(if minutes.is_some() {
        u64::MAX
    } else if long {
        20_000
    } else {
        2000
    });
    let first = variable("TIDEGATE_FIRST_SEED").unwrap_or(1);
    let (begin, next) = (clock::now(), AtomicU64::new(first));
    let until = begin + Duration::from_secs(minutes.unwrap_or(24 * 60) * 60);
    let total = Mutex::new((Report::default(), 0u64, [0u64; Kind::COUNT], Vec::new()));
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    // A failing seed tells in its own words; the place of the assertion is in its text.
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed - first >= count || clock::now() >= until {
                        return;
                    }
                    let result = check(seed);
                    let mut total = total.lock().expect("no panic under the lock");
                    total.1 += 1;
                    match result {
                        Ok(report) => {
                            total.0.add(&report);
                            for (seeds, times) in total.2.iter_mut().zip(report.faults) {
                                *seeds += u64::from(times > 0);
                            }
                        }
                        Err(error) => total.3.push(error),
                    }
                    if total.3.len() >= SHOWN {
                        return;
                    }
                }
            });
        }
    });
    let (sum, seeds, in_seeds, failures) = total.into_inner().expect("no panic under the lock");
    let seconds = begin.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    let per = |n: u64, of: u64| n as f64 / (of.max(1) as f64);
    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    let rate = sum.events as f64 / seconds;
    println!(
        "{seeds} seeds in {seconds:.0} s: {rate:.0} events/s, {:.1} simulated hours; a seed: {:.0} entries committed, {:.0} \
         acknowledged, {:.0} reads, {:.0} watch events, {:.1} elections, {:.1} expired leases, \
         {:.0} faults",
        per(sum.simulated_ms, 3_600_000),
        per(sum.committed, seeds),
        per(sum.acknowledged, seeds),
        per(sum.reads, seeds),
        per(sum.watch_events, seeds),
        per(sum.elections, seeds),
        per(sum.expired, seeds),
        per(sum.faults.iter().sum(), seeds),
    );
    for (kind, seeds_with) in Kind::ALL.iter().zip(in_seeds) {
        println!(
            "  {kind:?}: {} times, in {:.0} % of the seeds",
            sum.faults[*kind as usize],
            100.0 * per(seeds_with, seeds)
        );
    }
    let mut failures = failures;
    if failures.is_empty() && seeds >= 500 {
        let calm = per(sum.committed, seeds) < 1000.0 || per(sum.faults.iter().sum(), seeds) < 20.0;
        let rare = in_seeds.iter().any(|with| 20 * with < seeds);
        failures.extend(calm.then(|| "the seeds are too calm".to_owned()));
        failures.extend(rare.then(|| "a kind of fault is rare".to_owned()));
    }
    failures
}
