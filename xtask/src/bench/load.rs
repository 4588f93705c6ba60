//! Closed loops: each client begins its next operation when its last one ended.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use rand::{RngCore, SeedableRng, rngs::SmallRng};
use tidegate_api::Error;
use tidegate_base::clock;
use tidegate_tests::{Peaks, Sampler, cpu_seconds};

use super::{MIB, histogram::Histogram};

/// A load stops when the machine has less memory than this left: the reference can take all of it.
pub(super) const AVAILABLE_LEAST: u64 = 2500 * MIB;

/// One client of a load.
pub(crate) trait Op: Send + 'static {
    fn call(&mut self, number: u64) -> impl Future<Output = Result<(), Error>> + Send;
}

/// How much: until either is reached.
#[derive(Clone, Copy)]
pub(crate) struct Amount {
    pub(crate) count: u64,
    pub(crate) time: Duration,
}

pub(crate) struct Outcome {
    pub(crate) done: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu_us: f64,
    pub(crate) latency: Histogram,
    pub(crate) peaks: Peaks,
    /// Failed operations, and the first reason.
    pub(crate) failed: u64,
    pub(crate) reason: Option<Error>,
    /// The machine ran out of memory before the load was done.
    pub(crate) stopped: bool,
}

struct Shared {
    next: AtomicU64,
    failed: AtomicU64,
    reason: Mutex<Option<Error>>,
    stopped: AtomicBool,
}

/// Runs one task for each op against the process `pid`.
#[expect(clippy::cast_precision_loss, reason = "counts of a run")]
pub(crate) async fn run<O: Op>(pid: u32, ops: Vec<O>, amount: Amount) -> Result<Outcome> {
    let shared = Arc::new(Shared {
        next: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        reason: Mutex::new(None),
        stopped: AtomicBool::new(false),
    });
    let sampler = Sampler::start(pid);
    let cpu = cpu_seconds(pid)?;
    let begin = clock::now();
    let end = begin + amount.time;
    let tasks: Vec<_> = ops
        .into_iter()
        .map(|mut op| {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                let (mut latency, mut done) = (Histogram::default(), 0u64);
                while clock::now() < end && !shared.stopped.load(Ordering::Relaxed) {
                    let number = shared.next.fetch_add(1, Ordering::Relaxed);
                    if number >= amount.count {
                        break;
                    }
                    if number.is_multiple_of(64) && available() < AVAILABLE_LEAST {
                        shared.stopped.store(true, Ordering::Relaxed);
                        break;
                    }
                    let start = clock::now();
                    match op.call(number).await {
                        Ok(()) => {
                            latency.record(start.elapsed());
                            done += 1;
                        }
                        Err(error) => {
                            shared.failed.fetch_add(1, Ordering::Relaxed);
                            shared.reason.lock().expect("no panic under the lock").get_or_insert(error);
                            // A server that is gone must not be asked a million times.
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                }
                (latency, done)
            })
        })
        .collect();
    let (mut latency, mut done) = (Histogram::default(), 0);
    for task in tasks {
        let (part, count) = task.await.context("a client of the load")?;
        latency.add(&part);
        done += count;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let cpu = cpu_seconds(pid)? - cpu;
    let reason = shared.reason.lock().expect("no panic under the lock").take();
    Ok(Outcome {
        done,
        seconds,
        cpu_us: cpu * 1e6 / done.max(1) as f64,
        latency,
        peaks: sampler.finish(),
        failed: shared.failed.load(Ordering::Relaxed),
        reason,
        stopped: shared.stopped.load(Ordering::Relaxed),
    })
}

/// Bytes that the machine can still give.
pub(super) fn available() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib: Option<u64> = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    kib.map_or(u64::MAX, |kib| kib << 10)
}

/// `length` bytes that do not compress and that follow from `seed`.
pub(crate) fn value(seed: u64, length: usize) -> Bytes {
    let mut bytes = BytesMut::zeroed(length);
    SmallRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes.freeze()
}

/// Keys of 32 bytes.
pub(crate) fn key(number: u64) -> Bytes {
    format!("/bench/{number:025}").into()
}
