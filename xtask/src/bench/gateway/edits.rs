//! Pipelines, servers and certificates edited again and again while requests run: none may fail.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustls::client::Resumption;
use serde_json::{Value, json};
use tidegate_base::clock;
use tidegate_tests::{pause, until};

use super::{
    fleet::{Job, Proxy, Running},
    h2load, handshakes,
    load::Outcome,
    ours::{self, Ports},
    pki::Certificate,
    wrk,
};
use crate::bench::{http, node::START_MAX};

/// Seconds of one run of a generator; the next begins when it ends.
const WAVE: u64 = 5;
/// Between two edits, at the least.
const PERIOD: Duration = Duration::from_millis(10);

/// A generator that runs wave by wave until it is told to end.
struct Waves {
    name: &'static str,
    thread: JoinHandle<Result<Outcome>>,
}

impl Waves {
    fn start(name: &'static str, end: &Arc<AtomicBool>, one: impl Fn() -> Result<Outcome> + Send + 'static) -> Self {
        let end = Arc::clone(end);
        let thread = std::thread::spawn(move || {
            let mut sum = Outcome::default();
            while !end.load(Ordering::Relaxed) {
                let wave = one()?;
                sum.requests += wave.requests;
                sum.failed += wave.failed;
            }
            Ok(sum)
        });
        Self { name, thread }
    }
}

/// Edits `count` objects of the node under load over HTTP/1.1, HTTP/2 and new TLS connections.
pub(super) fn run(
    proxy: &Proxy,
    job: Job<'_>,
    certificate: &Arc<Certificate>,
    count: usize,
    as_json: bool,
) -> Result<()> {
    let Running::Node(node) = &proxy.running else { return Ok(()) };
    let end = Arc::new(AtomicBool::new(false));
    let generators = generators(proxy, job.dir, certificate, &end);
    let edited = edit(&node.api, proxy, job, certificate, count);
    end.store(true, Ordering::Relaxed);
    let mut sums = Vec::new();
    for generator in generators {
        let sum = generator.thread.join().ok().context("a generator panicked")??;
        sums.push((generator.name, sum));
    }
    let seconds = edited.with_context(|| node.log())?;
    for (name, sum) in &sums {
        if as_json {
            println!(
                "{}",
                json!({"bench": "gateway edits", "edits": count, "seconds": seconds, "load": name, "requests": sum.requests, "failed": sum.failed})
            );
        } else {
            println!("{count} edits in {seconds:.1} s, {name}: {} requests, {} failed", sum.requests, sum.failed);
        }
    }
    ensure!(sums.iter().all(|(_, sum)| sum.failed == 0), "requests failed while objects were edited");
    Ok(())
}

fn generators(proxy: &Proxy, dir: &Path, certificate: &Arc<Certificate>, end: &Arc<AtomicBool>) -> [Waves; 3] {
    let plain = format!("http://{}/", proxy.plain);
    let secure = format!("https://{}/", proxy.secure);
    let (address, certificate) = (proxy.secure.clone(), Arc::clone(certificate));
    let (scripts, logs) = (dir.to_owned(), dir.to_owned());
    let few = wrk::Request { headers: &[], body: 0 };
    [
        Waves::start("HTTP/1.1", end, move || wrk::run(&scripts, &plain, 64, few, WAVE)),
        Waves::start("HTTP/2 over TLS", end, move || h2load::run(&logs, &secure, 16, 10, WAVE)),
        Waves::start("TLS handshakes", end, move || handshakes::run(&address, &certificate, false, WAVE)),
    ]
}

/// Seconds that it took. At the end the last certificate must be what new connections get.
fn edit(api: &str, proxy: &Proxy, job: Job<'_>, certificate: &Certificate, count: usize) -> Result<f64> {
    let port = |address: &str| -> Result<u16> { Ok(address.rsplit_once(':').context("no port")?.1.parse()?) };
    let ports = Ports { plain: port(&proxy.plain)?, secure: port(&proxy.secure)? };
    let start = clock::now();
    let mut last = certificate.pair.clone();
    for number in 1..=count {
        let object = match number % 3 {
            0 => ours::plain_server(job, ports, number),
            1 => ours::pipeline(job, number),
            _ => {
                last = certificate.another();
                ours::secure_server(job, ports, &last, number)
            }
        };
        put(api, &object).with_context(|| format!("edit {number}"))?;
        pause(PERIOD);
    }
    let seconds = start.elapsed().as_secs_f64();
    let config = certificate.client(b"http/1.1", Resumption::disabled())?;
    let live = until(START_MAX, || handshakes::serves(&proxy.secure, &config, &last).ok()?.then_some(()));
    live.context("new connections do not get the last certificate")?;
    Ok(seconds)
}

fn put(api: &str, object: &Value) -> Result<()> {
    let name = object["name"].as_str().context("an object without a name")?;
    http::put(api, &format!("/apis/v2/objects/{name}"), &object.to_string())
}
