//! Tools of this workspace: `cargo xtask peers` builds the reference, `cargo xtask bench …` measures ours beside it, `cargo xtask fuzz` hands
//! decoders what they do not expect.

mod bench;
mod diff;
mod fuzz;
mod peers;
mod planted;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tools of the tidegate workspace")]
enum Task {
    /// Builds the reference etcd, etcdctl and etcdutl, once, and prints the directory they are in. With `gateway`, installs Envoy and Caddy there.
    Peers(peers::Args),
    /// Plants each known fault in a build of its own, and sees that a test finds it.
    Planted(planted::Args),
    /// Random requests against ours and the reference: every answer compared.
    Diff(diff::Args),
    /// Runs the fuzzers, or one of them; needs cargo-fuzz.
    Fuzz(fuzz::Args),
    /// The server behind the proxies of `bench gateway`, which starts it.
    #[command(hide = true)]
    Backend { port: u16 },
    /// Measures ours, beside the reference.
    #[command(subcommand)]
    Bench(Bench),
}

#[derive(Subcommand)]
enum Bench {
    /// Processor time, throughput and latency of puts, gets and transactions.
    Kv(bench::kv::Args),
    /// One large key written again and again, a kill and a restart: memory all the way.
    Bigkey(bench::bigkey::Args),
    /// Memory under loads that tempt a store to keep things.
    Memory(bench::memory::Args),
    /// Requests through the gateway, beside nginx, HAProxy, Envoy and Caddy.
    Gateway(bench::gateway::Args),
    /// What thousands of idle pipelines cost, how fast they load, how fast an edit is live
    Pipelines(bench::pipelines::Args),
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Peers(args) => {
            println!("{}", peers::run(&args)?.display());
            Ok(())
        }
        Task::Backend { port } => bench::gateway::serve_backend(port),
        Task::Planted(args) => planted::run(&args),
        Task::Diff(args) => diff::compare(args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Bench(Bench::Kv(args)) => bench::kv::run(&args),
        Task::Bench(Bench::Bigkey(args)) => bench::bigkey::run(&args),
        Task::Bench(Bench::Memory(args)) => bench::memory::run(&args),
        Task::Bench(Bench::Gateway(args)) => bench::gateway::run(&args),
        Task::Bench(Bench::Pipelines(args)) => bench::pipelines::run(&args),
    }
}
