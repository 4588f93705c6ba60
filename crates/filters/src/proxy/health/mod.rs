//! Active health checks, on one of the I/O threads.
//!
//! A pool's task asks each of its servers again and again and tells what it finds by a flag that the threads read. Servers
//! are taken for well until a check says otherwise. The task ends when its pool is gone.

mod config;
#[cfg(test)]
mod tests;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use tidegate_base::{Budget, Holder, clock};
use tidegate_http::{
    message::RequestHead,
    tls::Client,
    upstream::{ASIDE_BYTES, Endpoint, Outgoing, PoolLimits, Pools, Protocol, ask},
};
use tidegate_pipeline::Deps;
use tokio::{sync::watch, task::JoinSet, time::sleep_until};

pub(super) use config::HealthConfig;

use super::hash::Random;

/// What is looked at of an answer's body; a longer one is read to its end and cut.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Most bytes of an answer to a check.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// Which servers are well, as the threads see it. While it lives, so does the task.
#[derive(Debug)]
pub(super) struct Health {
    well: Arc<[AtomicBool]>,
    _alive: watch::Sender<()>,
}

impl Health {
    /// Starts the checks of servers at `urls`, the first at once; without I/O threads nothing is started.
    pub(super) fn start(
        config: HealthConfig,
        urls: &[&str],
        protocol: Protocol,
        deps: &Deps,
        random: &Random,
        tls: Option<&Client>,
    ) -> Self {
        let well: Arc<[AtomicBool]> = urls.iter().map(|_| AtomicBool::new(true)).collect();
        let (alive, gone) = watch::channel(());
        if let Some(io) = &deps.io {
            let register = |(head, mut endpoint): (RequestHead, Endpoint)| {
                endpoint.set_protocol(protocol);
                if let Some(resolver) = &deps.resolver {
                    resolver.register(&mut endpoint);
                }
                (head, endpoint)
            };
            let asked: Vec<_> = urls.iter().map(|url| config.request(url).map(register)).collect();
            let (means, shared) = (Means { budget: deps.budget.clone(), tls: tls.cloned() }, Arc::clone(&well));
            let home = usize::try_from(random.next() % io.count().max(1) as u64).unwrap_or(0);
            let started = io.spawn(home, move || run(Arc::new(config), asked, shared, means, gone));
            if let Err(error) = started {
                tracing::warn!(%error, "health checks of a pool are not started");
            }
        }
        Self { well, _alive: alive }
    }

    pub(super) fn is_well(&self, number: usize) -> bool {
        self.well.get(number).is_some_and(|well| well.load(Ordering::Relaxed))
    }
}

/// What checks are made with.
#[derive(Clone)]
struct Means {
    budget: Budget,
    tls: Option<Client>,
}

async fn run(
    config: Arc<HealthConfig>,
    asked: Vec<Option<(RequestHead, Endpoint)>>,
    well: Arc<[AtomicBool]>,
    means: Means,
    mut gone: watch::Receiver<()>,
) {
    let mut checks = JoinSet::new();
    for (number, asked) in asked.into_iter().enumerate() {
        let Some((head, endpoint)) = asked else { continue };
        let (config, well, means) = (Arc::clone(&config), Arc::clone(&well), means.clone());
        checks.spawn_local(async move {
            let mut streak = Streak::default();
            loop {
                // Without memory for it, a check tells nothing.
                if let Some(good) = check(&config, &head, &endpoint, &means).await
                    && let Some(now) = streak.after(good, config.passes, config.fails)
                    && let Some(flag) = well.get(number)
                    && flag.swap(now, Ordering::Relaxed) != now
                {
                    tracing::info!(server = endpoint.authority(), well = now, "the health of a server has changed");
                }
                sleep_until((clock::now() + config.interval.0).into()).await;
            }
        });
    }
    // Fails when the pool is gone; the tasks go with their set.
    gone.changed().await.ok();
}

async fn check(config: &HealthConfig, head: &RequestHead, endpoint: &Endpoint, means: &Means) -> Option<bool> {
    let Means { budget, tls } = means;
    let held = ASIDE_BYTES + 2 * (head.headers.allocated() + BODY_BYTES_MAX) as u64;
    let _lease = budget.try_lease(Holder::Gateway, held)?;
    let none = PoolLimits { per_endpoint_max: 0, total_max: 0, ..PoolLimits::default() };
    let pools = Pools::new(0, none, budget.clone(), Holder::Gateway, tls.clone());
    let out = Outgoing {
        endpoint,
        number: 0,
        host: None,
        deadline: Some(clock::now() + config.timeout.0),
        answer_bytes_max: Some(ANSWER_BYTES_MAX),
    };
    let answer = ask(&pools, &out, head, Bytes::from(config.body.clone()), BODY_BYTES_MAX).await;
    Some(answer.is_ok_and(|answer| config.matching.fits(&answer)))
}

/// Checks in a row that ended alike.
#[derive(Debug, Default)]
struct Streak {
    good: bool,
    length: u32,
}

impl Streak {
    /// Whether the server is well from now on; `None`: as before.
    fn after(&mut self, good: bool, passes: u32, fails: u32) -> Option<bool> {
        self.length = if self.good == good { self.length.saturating_add(1) } else { 1 };
        self.good = good;
        (self.length >= if good { passes } else { fails }).then_some(good)
    }
}
