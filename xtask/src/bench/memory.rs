//! Memory under loads that tempt a store to keep things, one new store for each.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tidegate_api::{
    Error, KeyRange, Kv,
    pb::{LeaseGrantRequest, PutRequest, RangeRequest, WatchCreateRequest},
};
use tidegate_client::Client;
use tidegate_tests::{Kind, pause};
use tokio::task::JoinSet;

use super::{
    load::{self, Amount, Op, key, value},
    mib,
    stores::{Common, Store},
    table::Table,
};

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
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Idle,
    Keys,
    Leases,
    Connections,
    Uploads,
    Lists,
}

impl Case {
    const ALL: [Case; 6] = [Case::Idle, Case::Keys, Case::Leases, Case::Connections, Case::Uploads, Case::Lists];

    const fn name(self) -> &'static str {
        match self {
            Case::Idle => "idle",
            Case::Keys => "keys",
            Case::Leases => "leases",
            Case::Connections => "connections",
            Case::Uploads => "uploads",
            Case::Lists => "lists",
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Case::Idle => "nothing",
            Case::Keys => "200,000 keys of 256 bytes",
            Case::Leases => "20,000 leases",
            Case::Connections => "300 connections, each with a watch",
            Case::Uploads => "256 puts of 2 MiB over 64 connections at once",
            Case::Lists => "8 lists of 200 MiB at once",
        }
    }
}

struct Put {
    client: Client,
    size: usize,
}

impl Op for Put {
    async fn call(&mut self, number: u64) -> Result<(), Error> {
        let put = PutRequest { key: key(number), value: value(number, self.size), ..Default::default() };
        self.client.put(put).await.map(drop)
    }
}

struct Grant(Client);

impl Op for Grant {
    async fn call(&mut self, _: u64) -> Result<(), Error> {
        self.0.lease_grant(LeaseGrantRequest { ttl: 3600, id: 0 }).await.map(drop)
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut table = Table::new(["load", "store", "start MiB", "peak MiB", "settled MiB", "refused"]);
    let chosen = |case: &Case| args.cases.is_empty() || args.cases.iter().any(|name| name == case.name());
    ensure!(Case::ALL.iter().any(chosen), "no such case: there are {}", Case::ALL.map(Case::name).join(", "));
    for case in Case::ALL.into_iter().filter(chosen) {
        for kind in args.common.kinds()? {
            let (start, peak, settled, refused) = measure(args, &runtime, kind, case)?;
            if args.common.json {
                let line = json!({"bench": "memory", "case": case.name(), "store": kind.name(), "start_bytes": start,
                                  "peak_bytes": peak, "settled_bytes": settled, "refused": refused});
                println!("{line}");
            } else {
                let figure = |bytes| format!("{:.1}", mib(bytes));
                let cells = [figure(start), figure(peak), figure(settled), refused.to_string()];
                let [start, peak, settled, refused] = cells;
                table.row([case.text().to_owned(), kind.name().to_owned(), start, peak, settled, refused]);
            }
        }
    }
    if !args.common.json {
        table.print();
    }
    Ok(())
}

fn measure(args: &Args, runtime: &tokio::runtime::Runtime, kind: Kind, case: Case) -> Result<(u64, u64, u64, u64)> {
    let store = args.common.start(kind)?;
    let start = store.server.memory()?.rss;
    let (refused, held) = runtime.block_on(load(&store, case))?;
    pause(Duration::from_secs(args.settle));
    let memory = store.server.memory()?;
    drop(held);
    Ok((start, memory.high, memory.rss, refused))
}

/// Runs the load of a case. What comes back with it keeps the load's connections until memory was read.
async fn load(store: &Store, case: Case) -> Result<(u64, Vec<tidegate_client::Watcher>)> {
    let everything = Duration::from_secs(3600);
    let puts = |clients: usize, size: usize| -> Vec<Put> {
        let connections = store.clients(clients);
        (0..clients).map(|n| Put { client: connections[n % connections.len()].clone(), size }).collect()
    };
    let mut held = Vec::new();
    let refused = match case {
        Case::Idle => 0,
        Case::Keys => run_all(store, puts(64, 256), 200_000, everything).await?,
        Case::Leases => {
            let ops = store.clients(64).into_iter().map(Grant).collect();
            run_all(store, ops, 20_000, everything).await?
        }
        Case::Connections => {
            for _ in 0..300 {
                let (key, range_end) = KeyRange::prefix("/bench/").into_request();
                let watch = WatchCreateRequest { key, range_end, ..Default::default() };
                held.push(store.client().watcher(watch).await?);
            }
            0
        }
        Case::Uploads => {
            let puts = (0..64).flat_map(|_| {
                let client = store.client();
                (0..4).map(move |_| Put { client: client.clone(), size: 2 << 20 })
            });
            run_all(store, puts.collect(), 256, everything).await?
        }
        Case::Lists => {
            run_all(store, puts(4, 1 << 20), 200, everything).await?;
            lists(store).await?
        }
    };
    Ok((refused, held))
}

/// Operations of the load that the store refused for lack of memory; any other failure ends the bench.
async fn run_all<O: Op>(store: &Store, ops: Vec<O>, count: u64, time: Duration) -> Result<u64> {
    let outcome = load::run(store.server.pid(), ops, Amount { count, time }).await?;
    match outcome.reason {
        None | Some(Error::TooManyRequests) => Ok(outcome.failed),
        Some(reason) => anyhow::bail!("{}: {} failed: {reason}", store.kind().name(), outcome.failed),
    }
}

async fn lists(store: &Store) -> Result<u64> {
    let mut lists = JoinSet::new();
    for _ in 0..8 {
        let client = store.client();
        lists.spawn(async move {
            let (key, range_end) = KeyRange::prefix("/bench/").into_request();
            let answer = client.range(RangeRequest { key, range_end, ..Default::default() }).await?;
            ensure!(
                answer.kvs.len() == 200 && answer.kvs.iter().all(|kv| kv.value.len() == 1 << 20),
                "a list is short"
            );
            Ok(())
        });
    }
    while let Some(list) = lists.join_next().await {
        list??;
    }
    Ok(0)
}
