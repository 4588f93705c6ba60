//! Generated requests through the gateway and through a reverse proxy over hyper, with a backend each: the same outcome, but
//! for the rows of `known::KNOWN`.
//!
//! `TIDEGATE_REQUESTS` says how many (100,000), `TIDEGATE_SEED` where the batches begin (1). A failure prints the seed of
//! its batch; `TIDEGATE_SEED=that TIDEGATE_REQUESTS=1` runs that batch alone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod backend;
mod client;
mod compare;
mod generate;
mod hostile;
mod known;
mod plan;
mod proxy;
mod random;
mod routes;
mod wire;

use std::{
    collections::BTreeMap,
    env,
    fmt::Write,
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use backend::Backend;
use generate::Case;
use known::KNOWN;
use random::Random;
use serde_json::{Value, json};
use tidegate_base::{Budget, ByteSize, Holder, Limits, Profile};
use tidegate_gateway::{
    data::{DataPlane, Options},
    objects::{Plane, Texts},
};
use tidegate_http::io::Threads;
use tidegate_pipeline::Registry;

/// Longest wait for the next byte.
pub(crate) const WAIT: Duration = Duration::from_secs(10);
/// Clients at work at once.
const CLIENTS: usize = 4;
/// Requests of one batch, which begins on a new connection.
const BATCH: usize = 25;
/// Differences that are shown.
const SHOWN: usize = 500;

/// Tells which batch it was, where a wait for it panics.
struct OnPanic(u64);

impl Drop for OnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the batch is that of TIDEGATE_SEED={} TIDEGATE_REQUESTS=1", self.0);
        }
    }
}

fn variable(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// A gateway in front of `backend`.
fn gateway(backend: &Backend) -> (DataPlane, Threads, Budget) {
    let threads = Threads::start(2, "io").unwrap();
    let budget = Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap());
    let options = Options { disable_io_uring: env::var_os("TIDEGATE_TEST_EPOLL").is_some(), ..Options::default() };
    let kinds = Registry::new(tidegate_filters::KINDS);
    let plane = DataPlane::with(threads.handle(), budget.clone(), kinds, options).unwrap();
    let pool = json!({"servers": [{"url": format!("http://{}", backend.address)}]});
    let pipeline = json!({"filters": [{"name": "proxy", "kind": "Proxy", "pools": [pool]}]});
    let object = |name: &str, kind: &str, mut spec: Value| {
        (spec["name"], spec["kind"]) = (name.into(), kind.into());
        (name.to_owned(), spec.to_string().into())
    };
    let texts: Texts = [object("p", "Pipeline", pipeline), object("s", "HTTPServer", routes::spec())].into();
    for (name, status) in plane.apply(&texts) {
        assert_eq!(status.error, None, "{name}");
    }
    (plane, threads, budget)
}

#[derive(Default)]
struct Tally {
    failures: AtomicUsize,
    texts: Mutex<String>,
    /// Per row of [`KNOWN`].
    met: Mutex<BTreeMap<usize, u64>>,
    requests: AtomicU64,
    /// By status of ours.
    statuses: Mutex<BTreeMap<u16, u64>>,
}

impl Tally {
    fn compare(&self, seed: u64, case: &Case, ours: &client::Outcome, theirs: &client::Outcome) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let status = ours.answer.as_ref().map_or(0, |answer| answer.status);
        *self.statuses.lock().unwrap().entry(status).or_default() += 1;
        for (what, text) in compare::differences(case, ours, theirs) {
            if let Some(row) = known::row(what, case, ours, theirs) {
                *self.met.lock().unwrap().entry(row).or_default() += 1;
            } else if self.failures.fetch_add(1, Ordering::Relaxed) < SHOWN {
                let head: String = case.head.iter().map(|byte| char::from(*byte)).collect();
                let mut texts = self.texts.lock().unwrap();
                writeln!(texts, "TIDEGATE_SEED={seed} TIDEGATE_REQUESTS=1: {what:?} differs, ours first: {text}")
                    .unwrap();
                writeln!(texts, "of {:?} in\n{head}with {} bytes of body\n", case.plan, case.body.len()).unwrap();
            }
        }
    }
}

#[test]
fn the_gateway_does_what_a_proxy_over_hyper_does() {
    let (first, requests) = (variable("TIDEGATE_SEED", 1), variable("TIDEGATE_REQUESTS", 100_000));
    let batches = requests.div_ceil(BATCH as u64);
    let (ours, theirs) = (Backend::start("gateway"), Backend::start("reference"));
    let (plane, threads, budget) = gateway(&ours);
    let (gateway, reference) = (plane.address("s").unwrap(), proxy::start(theirs.address));
    let (next, tally) = (AtomicU64::new(0), Tally::default());
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let batch = next.fetch_add(1, Ordering::Relaxed);
                    if batch >= batches || tally.failures.load(Ordering::Relaxed) >= SHOWN {
                        return;
                    }
                    let seed = first + batch;
                    let _told = OnPanic(seed);
                    let mut random = Random::new(seed);
                    let id = |at: usize| seed * 1000 + 1 + at as u64;
                    let cases: Vec<Case> = (0..BATCH).map(|at| Case::random(&mut random, id(at))).collect();
                    let our_outcomes = client::run(&cases, gateway, &ours, Random::new(seed));
                    let their_outcomes = client::run(&cases, reference, &theirs, Random::new(seed));
                    for (case, (our, their)) in cases.iter().zip(our_outcomes.iter().zip(&their_outcomes)) {
                        tally.compare(seed, case, our, their);
                    }
                }
            });
        }
    });
    let met = tally.met.lock().unwrap();
    println!("{} requests, by status {:?}", tally.requests.load(Ordering::Relaxed), tally.statuses.lock().unwrap());
    for (row, known) in KNOWN.iter().enumerate() {
        println!("{:7} {:?}: {}", met.get(&row).copied().unwrap_or(0), known.what, known.reason);
    }
    assert_eq!(tally.failures.load(Ordering::Relaxed), 0, "differences:\n{}", tally.texts.lock().unwrap());
    assert!(ours.take(0).is_empty(), "the backend was asked what no client asked");
    if requests >= 50_000 {
        for (row, known) in KNOWN.iter().enumerate() {
            assert!(known.race || met.contains_key(&row), "nothing meets {:?}: {}", known.what, known.reason);
        }
    }
    plane.drain();
    plane.apply(&Texts::new());
    threads.stop();
    assert_eq!(budget.used(Holder::Gateway), 0, "every lease came back");
}
