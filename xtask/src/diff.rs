//! Random requests against ours and the reference.

use anyhow::{Result, ensure};
use tidegate_base::clock;
use tidegate_tests::diff::{Options, run};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The first round's seed; each further round takes the next.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value_t = 100_000)]
    requests: usize,
    /// Pairs of stores at the same time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Only these steps of the seed's round, as a difference prints them.
    #[arg(long, value_delimiter = ',')]
    steps: Option<Vec<usize>>,
}

pub(crate) fn compare(args: Args) -> Result<()> {
    let Args { seed, requests, jobs, steps } = args;
    let begin = clock::now();
    let report = run(&Options { seed, requests, jobs, steps })?;
    println!("{report} in {:.0} s", begin.elapsed().as_secs_f64());
    ensure!(report.differences.is_empty(), "the stores differ");
    Ok(())
}
