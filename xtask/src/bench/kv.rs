//! Puts, gets and transactions at several numbers of clients.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde_json::json;
use tidegate_api::{
    Code, Error, Kv,
    pb::{
        Compare, PutRequest, RangeRequest, RequestOp, TxnRequest, compare::CompareTarget, compare::TargetUnion,
        request_op::Request, response_op::Response,
    },
};
use tidegate_client::Client;
use tidegate_tests::Kind;

use super::{
    load::{self, Amount, Op, Outcome, key, value},
    median, mib,
    stores::{Common, Store},
    table::Table,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// Rounds; figures are medians over them.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    #[arg(long, value_delimiter = ',', default_value = "1,64,512")]
    clients: Vec<usize>,
    /// Of `put`, `get`, `sget` (serializable) and `txn`.
    #[arg(long, value_delimiter = ',', default_value = "put,get,sget,txn")]
    cases: Vec<String>,
    /// Another build of ours that stands in for the reference: pairs of builds tell more than runs one after the other.
    #[arg(long)]
    against: Option<PathBuf>,
    /// Keys there from the start, each with a value of 256 bytes.
    #[arg(long, default_value_t = 10_000)]
    keys: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    /// 256 bytes to a random key.
    Put,
    /// A random key, linearizable.
    Get,
    /// The same, serializable.
    SerializableGet,
    /// Half gets, half "if the revision is the one I know, put 1 KiB, else get", as a kube-apiserver writes.
    Txn,
}

impl Case {
    fn parse(name: &str) -> Result<Self> {
        Ok(match name {
            "put" => Case::Put,
            "get" => Case::Get,
            "sget" => Case::SerializableGet,
            "txn" => Case::Txn,
            _ => anyhow::bail!("no case {name}: it is put, get, sget or txn"),
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Case::Put => "put",
            Case::Get => "get",
            Case::SerializableGet => "sget",
            Case::Txn => "txn",
        }
    }
}

struct Caller {
    case: Case,
    client: Client,
    random: SmallRng,
    /// Revision of each key as the callers know it.
    known: Arc<Vec<AtomicI64>>,
}

impl Caller {
    async fn get(&self, number: u64, serializable: bool) -> Result<(), Error> {
        let answer = self.client.range(RangeRequest { key: key(number), serializable, ..Default::default() }).await?;
        match answer.kvs.len() {
            1 => Ok(()),
            found => Err(Error::other(Code::Unknown, format!("a get found {found} keys"))),
        }
    }

    async fn guarded_put(&self, number: u64, seed: u64) -> Result<(), Error> {
        let known = usize::try_from(number).ok().and_then(|number| self.known.get(number)).expect("keys are numbered");
        let guard = Compare {
            key: key(number),
            target: CompareTarget::Mod.into(),
            target_union: Some(TargetUnion::ModRevision(known.load(Ordering::Relaxed))),
            ..Default::default()
        };
        let put = PutRequest { key: key(number), value: value(seed, 1024), ..Default::default() };
        let get = RangeRequest { key: key(number), ..Default::default() };
        let op = |request| vec![RequestOp { request: Some(request) }];
        let request = TxnRequest {
            compare: vec![guard],
            success: op(Request::RequestPut(put)),
            failure: op(Request::RequestRange(get)),
        };
        let answer = self.client.txn(request).await?;
        let revision = match answer.responses.into_iter().next().and_then(|response| response.response) {
            Some(Response::ResponseRange(range)) => range.kvs.first().map(|kv| kv.mod_revision),
            _ => answer.header.map(|header| header.revision),
        };
        known.fetch_max(revision.unwrap_or_default(), Ordering::Relaxed);
        Ok(())
    }
}

impl Op for Caller {
    async fn call(&mut self, number: u64) -> Result<(), Error> {
        let at = self.random.random_range(0..self.known.len() as u64);
        match self.case {
            Case::Put => {
                let put = PutRequest { key: key(at), value: value(number, 256), ..Default::default() };
                self.client.put(put).await.map(drop)
            }
            Case::Get => self.get(at, false).await,
            Case::SerializableGet => self.get(at, true).await,
            Case::Txn if self.random.random_bool(0.5) => self.get(at, false).await,
            Case::Txn => self.guarded_put(at, number).await,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let cases: Vec<Case> = args.cases.iter().map(|name| Case::parse(name)).collect::<Result<_>>()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let stores: Vec<Store> = match &args.against {
        Some(other) => [None, Some(other.clone())]
            .into_iter()
            .map(|program| args.common.start_as(Kind::Tidegate, program))
            .collect::<Result<_>>()?,
        None => args.common.kinds()?.into_iter().map(|kind| args.common.start(kind)).collect::<Result<_>>()?,
    };
    for store in &stores {
        runtime.block_on(preload(store, args.keys))?;
    }
    let mut table =
        Table::new(["case", "clients", "store", "cpu µs/op", "ratio", "ops/s", "p50 ms", "p99 ms", "peak MiB"]);
    for case in cases {
        for clients in &args.clients {
            let measured = runtime.block_on(rounds(args, &stores, case, *clients))?;
            // The last store is the reference, when there are two.
            let base = measured.last().map_or(f64::NAN, |figures| figures.cpu_us);
            for figures in measured {
                if args.common.json {
                    println!("{}", figures.json(case, *clients));
                } else {
                    table.row(figures.cells(case, *clients, base));
                }
            }
        }
    }
    if !args.common.json {
        table.print();
    }
    Ok(())
}

async fn preload(store: &Store, keys: u64) -> Result<()> {
    let ops = clients(store, Case::Put, 64, &known(keys)).into_iter().map(Preload).collect();
    let amount = Amount { count: keys, time: Duration::from_secs(600) };
    let outcome = load::run(store.server.pid(), ops, amount).await?;
    ensure!(outcome.failed == 0, "{}: {:?}", store.kind().name(), outcome.reason);
    Ok(())
}

/// Puts each key once.
struct Preload(Caller);

impl Op for Preload {
    async fn call(&mut self, number: u64) -> Result<(), Error> {
        let put = PutRequest { key: key(number), value: value(number, 256), ..Default::default() };
        self.0.client.put(put).await.map(drop)
    }
}

fn known(keys: u64) -> Arc<Vec<AtomicI64>> {
    Arc::new((0..keys).map(|_| AtomicI64::new(0)).collect())
}

fn clients(store: &Store, case: Case, count: usize, known: &Arc<Vec<AtomicI64>>) -> Vec<Caller> {
    let connections = store.clients(count);
    let caller = |number: usize| Caller {
        case,
        client: connections[number % connections.len()].clone(),
        random: SmallRng::seed_from_u64(number as u64),
        known: Arc::clone(known),
    };
    (0..count).map(caller).collect()
}

/// Medians of one store.
struct Figures {
    kind: Kind,
    cpu_us: f64,
    ops: f64,
    p50: f64,
    p99: f64,
    peak: u64,
}

async fn rounds(args: &Args, stores: &[Store], case: Case, count: usize) -> Result<Vec<Figures>> {
    let mut outcomes: Vec<Vec<Outcome>> = stores.iter().map(|_| Vec::new()).collect();
    let known: Vec<_> = stores.iter().map(|_| known(args.keys)).collect();
    for round in 0..args.rounds {
        let turns: Vec<usize> = match round % 2 {
            0 => (0..stores.len()).collect(),
            _ => (0..stores.len()).rev().collect(),
        };
        for turn in turns {
            let store = &stores[turn];
            let callers = clients(store, case, count, &known[turn]);
            let amount = Amount { count: u64::MAX, time: Duration::from_secs(args.seconds) };
            let outcome = load::run(store.server.pid(), callers, amount).await?;
            if let Some(reason) = &outcome.reason {
                anyhow::bail!("{} {}: {} failed: {reason}", store.kind().name(), case.name(), outcome.failed);
            }
            outcomes[turn].push(outcome);
        }
    }
    stores.iter().zip(&outcomes).map(|(store, outcomes)| Figures::of(store.kind(), outcomes)).collect()
}

impl Figures {
    #[expect(clippy::cast_precision_loss, reason = "counts of a run")]
    fn of(kind: Kind, outcomes: &[Outcome]) -> Result<Self> {
        let middle = |figure: &dyn Fn(&Outcome) -> f64| median(outcomes.iter().map(figure).collect());
        Ok(Self {
            kind,
            cpu_us: middle(&|outcome| outcome.cpu_us),
            ops: middle(&|outcome| outcome.done as f64 / outcome.seconds),
            p50: middle(&|outcome| outcome.latency.percentile(50)),
            p99: middle(&|outcome| outcome.latency.percentile(99)),
            peak: outcomes.iter().map(|outcome| outcome.peaks.peak.rss).max().context("no round was run")?,
        })
    }

    fn json(&self, case: Case, clients: usize) -> serde_json::Value {
        json!({"bench": "kv", "case": case.name(), "clients": clients, "store": self.kind.name(), "cpu_us": self.cpu_us,
               "ops_per_s": self.ops, "p50_ms": self.p50, "p99_ms": self.p99, "peak_bytes": self.peak})
    }

    fn cells(&self, case: Case, clients: usize, base: f64) -> [String; 9] {
        [
            case.name().to_owned(),
            clients.to_string(),
            self.kind.name().to_owned(),
            format!("{:.1}", self.cpu_us),
            format!("{:.2}", self.cpu_us / base),
            format!("{:.0}", self.ops),
            format!("{:.2}", self.p50),
            format!("{:.2}", self.p99),
            format!("{:.1}", mib(self.peak)),
        ]
    }
}
