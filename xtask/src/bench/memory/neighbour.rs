//! The well-behaved client beside an attack: small reads and writes, a lease that it keeps alive, a watch. None may fail.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tidegate_api::{
    Kv,
    pb::{LeaseGrantRequest, PutRequest, RangeRequest, WatchCreateRequest},
};
use tidegate_base::clock;
use tidegate_client::Client;
use tokio::task::JoinHandle;

use crate::bench::histogram::Histogram;

const KEY: &str = "neighbour/key";
/// Between two reads.
const PAUSE: Duration = Duration::from_millis(5);

/// It has a thread and a runtime of its own, so that it waits for the store and not for the attackers' side.
pub(super) struct Neighbour {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<Service>>,
}

/// What it saw.
pub(super) struct Service {
    pub(super) gets: Histogram,
    pub(super) puts: Histogram,
    pub(super) keepalives: Histogram,
}

type Task = JoinHandle<Result<Histogram>>;

impl Neighbour {
    pub(super) fn start(client: Client) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let signal = Arc::clone(&stop);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::spawn(move || runtime.block_on(Self::run(client, signal)));
        Ok(Self { stop, thread })
    }

    async fn run(client: Client, stop: Arc<AtomicBool>) -> Result<Service> {
        let first = PutRequest { key: KEY.into(), value: "0".into(), ..Default::default() };
        client.put(first).await.context("the neighbour's first put")?;
        let watch = WatchCreateRequest { key: KEY.into(), ..Default::default() };
        let mut watcher = client.watcher(watch).await.context("the neighbour's watch")?;
        let lease = client.lease_grant(LeaseGrantRequest { ttl: 30, id: 0 }).await.context("the neighbour's lease")?.id;
        let gets = {
            let (client, stop) = (client.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut latency = Histogram::default();
                while !stop.load(Ordering::Relaxed) {
                    let begin = clock::now();
                    let answer = client.range(RangeRequest { key: KEY.into(), ..Default::default() }).await;
                    let answer = answer.context("a get of the neighbour")?;
                    ensure!(answer.kvs.len() == 1, "the neighbour's key is gone");
                    latency.record(begin.elapsed());
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(latency)
            })
        };
        let puts = {
            let (client, stop) = (client.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut latency = Histogram::default();
                for number in 1u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let begin = clock::now();
                    let put = PutRequest { key: KEY.into(), value: number.to_string().into(), ..Default::default() };
                    let revision = client.put(put).await.context("a put of the neighbour")?.header.unwrap_or_default();
                    latency.record(begin.elapsed());
                    let event = loop {
                        let answer = watcher.next().await.context("the neighbour's watch ended")?;
                        let answer = answer.context("the neighbour's watch")?;
                        ensure!(!answer.canceled, "the neighbour's watch was canceled: {}", answer.cancel_reason);
                        if let Some(event) = answer.events.into_iter().next() {
                            break event;
                        }
                    };
                    let seen = event.kv.unwrap_or_default().mod_revision;
                    ensure!(seen == revision.revision, "the neighbour's watch shows {seen}, not {}", revision.revision);
                    tokio::time::sleep(20 * PAUSE).await;
                }
                Ok(latency)
            })
        };
        let keepalives = {
            let stop = Arc::clone(&stop);
            tokio::spawn(async move {
                let mut latency = Histogram::default();
                let mut keep_alive = client.keep_alive().await.context("the neighbour's keepalive")?;
                while !stop.load(Ordering::Relaxed) {
                    let begin = clock::now();
                    let answer = keep_alive.renew(lease).await.context("a keepalive of the neighbour")?;
                    ensure!(answer.ttl == 30, "the neighbour's lease is gone");
                    latency.record(begin.elapsed());
                    tokio::time::sleep(20 * PAUSE).await;
                }
                Ok(latency)
            })
        };
        let (gets, puts, keepalives): (Task, Task, Task) = (gets, puts, keepalives);
        let (gets, puts, keepalives) = (gets.await??, puts.await??, keepalives.await??);
        Ok(Service { gets, puts, keepalives })
    }

    /// Ends it; its first error is the result.
    pub(super) fn finish(self) -> Result<Service> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the client beside the attack panicked"))?
    }
}
