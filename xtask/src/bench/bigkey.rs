//! One large key written again and again: what a store keeps of it shows in its memory.

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use serde_json::json;
use tidegate_api::{
    Error, Kv,
    pb::{CompactionRequest, PutRequest, RangeRequest},
};
use tidegate_client::Client;
use tidegate_tests::{Kind, pause};

use super::{
    load::{self, Amount, Op, value},
    mib,
    stores::{Common, Restart, Store},
    table::Table,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// Writes to ours.
    #[arg(long, default_value_t = 6000)]
    count: u64,
    /// Writes to the reference, which keeps them all.
    #[arg(long, default_value_t = 1000)]
    reference_count: u64,
    /// Bytes of the value.
    #[arg(long, value_delimiter = ',', default_value = "2097152,1048576")]
    sizes: Vec<usize>,
    #[arg(long, value_delimiter = ',', default_value = "1,16")]
    clients: Vec<usize>,
    /// Writes between two compactions.
    #[arg(long, default_value_t = 500)]
    compact_every: u64,
    /// Seconds of rest before memory is read again.
    #[arg(long, default_value_t = 10)]
    settle: u64,
}

const KEY: Bytes = Bytes::from_static(b"bigkey");

struct Writer {
    client: Client,
    size: usize,
    compact_every: u64,
}

impl Op for Writer {
    async fn call(&mut self, number: u64) -> Result<(), Error> {
        let put = PutRequest { key: KEY, value: numbered(number, self.size), ..Default::default() };
        let revision = self.client.put(put).await?.header.unwrap_or_default().revision;
        if (number + 1).is_multiple_of(self.compact_every) {
            match self.client.compact(CompactionRequest { revision, physical: false }).await {
                // Another client may have compacted further already.
                Ok(_) | Err(Error::Compacted) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A value that tells its number.
fn numbered(number: u64, size: usize) -> Bytes {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend_from_slice(&value(number, size.saturating_sub(8)));
    bytes.into()
}

struct Figures {
    kind: Kind,
    size: usize,
    clients: usize,
    outcome: load::Outcome,
    high: u64,
    settled: u64,
    restart: Restart,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut table = Table::new([
        "size",
        "clients",
        "store",
        "writes",
        "writes/s",
        "cpu ms/op",
        "peak MiB",
        "settled MiB",
        "restart s",
        "restart MiB",
    ]);
    for size in &args.sizes {
        for clients in &args.clients {
            for kind in args.common.kinds()? {
                let figures = measure(args, &runtime, kind, *size, *clients)?;
                if args.common.json {
                    println!("{}", figures.json());
                } else {
                    table.row(figures.cells());
                }
            }
        }
    }
    if !args.common.json {
        table.print();
    }
    Ok(())
}

fn measure(args: &Args, runtime: &tokio::runtime::Runtime, kind: Kind, size: usize, clients: usize) -> Result<Figures> {
    let store = args.common.start(kind)?;
    let connections = store.clients(clients);
    let writer = |number: usize| Writer {
        client: connections[number % connections.len()].clone(),
        size,
        compact_every: args.compact_every,
    };
    let count = if kind == Kind::Etcd { args.reference_count } else { args.count };
    let amount = Amount { count, time: Duration::from_secs(3600) };
    let outcome = runtime.block_on(load::run(store.server.pid(), (0..clients).map(writer).collect(), amount))?;
    if let Some(reason) = &outcome.reason {
        anyhow::bail!("{}: {} writes failed: {reason}", kind.name(), outcome.failed);
    }
    let high = store.server.memory()?.high;
    runtime.block_on(check(&store, size, outcome.done))?;
    pause(Duration::from_secs(args.settle));
    let settled = store.server.memory()?.rss;
    let (store, restart) = store.crash()?;
    runtime.block_on(check(&store, size, outcome.done))?;
    Ok(Figures { kind, size, clients, outcome, high, settled, restart })
}

/// The key has the value of one write, and as many writes happened as were acknowledged.
async fn check(store: &Store, size: usize, writes: u64) -> Result<()> {
    let answer = store.client().range(RangeRequest { key: KEY, ..Default::default() }).await?;
    ensure!(answer.kvs.len() == 1, "the key is gone");
    let kv = &answer.kvs[0];
    ensure!(u64::try_from(kv.version)? == writes, "version {} after {writes} writes", kv.version);
    let number = kv.value.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
    ensure!(number.is_some_and(|number| kv.value == numbered(number, size)), "the value is none that was written");
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run")]
impl Figures {
    fn json(&self) -> serde_json::Value {
        json!({"bench": "bigkey", "store": self.kind.name(), "size": self.size, "clients": self.clients,
               "writes": self.outcome.done, "stopped_for_lack_of_memory": self.outcome.stopped,
               "writes_per_s": self.outcome.done as f64 / self.outcome.seconds, "cpu_us": self.outcome.cpu_us,
               "p99_ms": self.outcome.latency.percentile(99), "peak_bytes": self.high,
               "peak_anon_bytes": self.outcome.peaks.peak.anon, "settled_bytes": self.settled,
               "restart_s": self.restart.seconds, "restart_peak_bytes": self.restart.high})
    }

    fn cells(&self) -> [String; 10] {
        let stopped = if self.outcome.stopped { "!" } else { "" };
        [
            self.size.to_string(),
            self.clients.to_string(),
            self.kind.name().to_owned(),
            format!("{}{stopped}", self.outcome.done),
            format!("{:.0}", self.outcome.done as f64 / self.outcome.seconds),
            format!("{:.2}", self.outcome.cpu_us / 1e3),
            format!("{:.1}", mib(self.high)),
            format!("{:.1}", mib(self.settled)),
            format!("{:.2}", self.restart.seconds),
            format!("{:.1}", mib(self.restart.high)),
        ]
    }
}
