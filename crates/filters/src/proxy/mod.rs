//! `Proxy` sends the request to a server and brings its answer.
//!
//! ```text
//!   mirror (a copy on the side) ─► candidate pools in order, else the main pool ─► breaker ( retry ( timeout ( pick, send ) ) )
//! ```
//! Bodies are streamed both ways and never held whole, but where a policy or a copy needs them again. So a status that came
//! cannot be taken back when the body behind it breaks off or grows over its limit: the client's connection is cut then. An
//! announced length over the limit is refused before. Breakers and retries judge an answer by its head.

mod balance;
mod cache;
mod compress;
mod config;
mod counted;
mod hash;
mod health;
mod mirror;
mod pool;
mod redirect;
mod request;
mod sticky;
#[cfg(test)]
mod tests;
mod tls;

use std::{rc::Rc, sync::Arc, time::Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_base::{Budget, Holder, clock};
use tidegate_http::{
    message::{BodyError, Known, Length, Method, Response},
    upstream::{PoolLimits, Pools},
};
use tidegate_pipeline::{
    Context, Deps, Filter, Local, LocalKey, Outcome, Problems, Step,
    resilience::Retry,
    stats::{PoolTraffic, Sample},
};

use compress::Compression;
pub use config::Config;
use counted::{Call, Counted, Own};
use hash::Random;
use mirror::Mirror;
use mirror::hold_body;
pub(crate) use mirror::signed_body;
use pool::{Ended, Pool};
use tls::Tls;

/// Sends requests to the servers of its pools.
pub struct Proxy {
    main: Pool,
    candidates: Vec<Pool>,
    mirror: Option<Arc<Mirror>>,
    /// Nothing but a main pool whose servers take turns.
    plain: bool,
    /// Servers of all pools.
    servers: usize,
    limits: PoolLimits,
    tls: Option<Tls>,
    budget: Budget,
    compression: Option<Compression>,
    /// Redirects to follow.
    redirects: u32,
    random: Random,
    local: LocalKey,
    /// Of the main pool, then of the candidates.
    counted: Box<[Counted]>,
}

/// Connections of one thread, and what it counts of each pool.
struct Kept {
    pools: Rc<Pools>,
    own: Box<[Own]>,
}

impl Local for Kept {
    fn tick(&self, now: Instant) {
        self.pools.sweep(now);
    }
}

impl Filter for Proxy {
    const KIND: &'static str = "Proxy";
    const RESULTS: &'static [&'static str] =
        &["internalError", "clientError", "serverError", "failureCode", "timeout", "shortCircuited"];
    const EXAMPLE: &'static str = "\
name: proxy
kind: Proxy
pools:
- servers:
  - url: http://127.0.0.1:9095
  - url: http://127.0.0.1:9096
  loadBalance:
    policy: roundRobin
  timeout: 5s
";
    const SENDS_BODY: bool = true;
    type Config = Config;

    fn new(config: Config, deps: &Deps) -> Result<Self, Problems> {
        let random = Random::new();
        let share = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX).div_ceil(deps.threads.max(1));
        let limits = PoolLimits {
            per_endpoint_max: share(config.max_idle_conns_per_host),
            total_max: share(config.max_idle_conns),
            ..PoolLimits::default()
        };
        let redirects = config.max_redirection;
        let built = config.build(deps, &random)?;
        let plain = redirects == 0 && built.mirror.is_none() && built.candidates.is_empty() && built.main.is_plain();
        let counted = (0..=built.candidates.len()).map(|_| Counted::default()).collect();
        Ok(Self {
            counted,
            main: built.main,
            candidates: built.candidates,
            mirror: built.mirror.map(|pool| Arc::new(Mirror::new(pool, deps.budget.clone()))),
            plain,
            servers: built.servers,
            limits,
            tls: built.tls,
            budget: deps.budget.clone(),
            compression: built.compression,
            redirects,
            random,
            local: LocalKey::default(),
        })
    }

    fn handle<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        // The future of the second is larger, and each request pays for its own.
        if self.plain && cx.sends() < 2 {
            Step::Wait(Box::pin(self.forward(cx)))
        } else {
            Step::Wait(Box::pin(self.forward_by_rules(cx)))
        }
    }

    /// Each pool's numbers, and the copies that were dropped for want of room.
    fn status(&self) -> Value {
        let now = clock::now();
        let stat = |counted: &Counted| json!({"stat": counted.stat.sum(now).to_map()});
        let mut all = self.counted.iter().map(stat);
        let mut status = json!({"mainPool": all.next()});
        if !self.candidates.is_empty() {
            status["candidatePools"] = all.collect();
        }
        if let Some(mirror) = &self.mirror {
            status["mirrorDropped"] = mirror.dropped().into();
        }
        status
    }

    fn pools(&self) -> Vec<PoolTraffic> {
        let pools = std::iter::once(&self.main).chain(&self.candidates);
        let told = pools.zip(&self.counted).map(|(pool, counted)| PoolTraffic {
            name: pool.name.clone(),
            balance: pool.policy.name(),
            filter: pool.filter.as_ref().map_or("", |filter| filter.policy()),
            traffic: Arc::clone(&counted.traffic),
        });
        told.collect()
    }
}

impl Proxy {
    async fn forward(&self, cx: &mut Context) -> Outcome {
        let kept = self.kept(cx);
        let call = Call { pool: 0, start: clock::now() };
        let ended = self.main.send(&kept.pools, self.main.next(), 0, cx).await;
        self.finish(cx, &kept, &call, &self.main, ended)
    }

    async fn forward_by_rules(&self, cx: &mut Context) -> Outcome {
        let kept = self.kept(cx);
        let (pools, start) = (&kept.pools, clock::now());
        // Another filter may send it, too, or the answer lead to another server. What is streamed can be sent once.
        if (cx.sends() > 1 || self.redirects > 0)
            && let Err(error) = hold_body(cx.exchange()).await
        {
            return fail(cx, error.status(), "clientError");
        }
        if let Some(mirror) = &self.mirror
            && let Err(error) = mirror.copy(pools, &self.random, cx.exchange()).await
        {
            return fail(cx, error.status(), "clientError");
        }
        let (body, secure) = (cx.exchange().body_length(), cx.exchange().scheme().eq_ignore_ascii_case("https"));
        let (head, peer) = (cx.request(), cx.peer());
        let fits = |pool: &&Pool| pool.filter.as_ref().is_some_and(|filter| filter.fits(head, peer, &self.random));
        let found = self.candidates.iter().position(|pool| fits(&pool));
        let pool = found.and_then(|number| self.candidates.get(number)).unwrap_or(&self.main);
        let call = Call { pool: found.map_or(0, |number| number + 1), start };
        let ticket = pool.cache.as_ref().and_then(|cache| cache.ticket(head, secure, body));
        if let (Some(cache), Some(ticket)) = (&pool.cache, &ticket)
            && let Some(answer) = cache.find(ticket)
        {
            self.pass_on(cx, answer);
            return Outcome::Next;
        }
        let mut retry = pool.retry.as_ref().filter(|retry| retry.repeats());
        if retry.is_some() {
            match hold_body(cx.exchange()).await {
                Ok(true) => {}
                // What is streamed can be sent once.
                Ok(false) => retry = None,
                Err(error) => return fail(cx, error.status(), "clientError"),
            }
        }
        let ended = match &pool.breaker {
            None => self.attempts(pools, pool, retry, cx).await,
            Some(guard) => match guard.enter() {
                None => Ended::Nothing(503, "shortCircuited"),
                Some(pass) => {
                    let ended = self.attempts(pools, pool, retry, cx).await;
                    pass.end((!ended.by_client()).then(|| ended.failed()));
                    ended
                }
            },
        };
        let ended = match (&pool.cache, ticket, ended) {
            (Some(cache), Some(ticket), Ended::Answer { answer, number, failed }) => {
                match cache.keep(ticket, answer).await {
                    Ok(answer) => Ended::Answer { answer, number, failed },
                    Err(BodyError::NoMemory) => Ended::Nothing(503, "internalError"),
                    Err(_) => Ended::Nothing(500, "internalError"),
                }
            }
            (_, _, ended) => ended,
        };
        self.finish(cx, &kept, &call, pool, ended)
    }

    /// Tries until one is good, no further is allowed, or the client has gone.
    async fn attempts(&self, pools: &Rc<Pools>, pool: &Pool, retry: Option<&Retry>, cx: &mut Context) -> Ended {
        let mut failed = 0;
        loop {
            let ended = match pool.pick(cx.request(), cx.peer(), &self.random) {
                Some(number) if self.redirects > 0 => self.follow(pools, pool, number, failed, cx).await,
                Some(number) => pool.send(pools, number, failed, cx).await,
                None => Ended::Nothing(503, "internalError"),
            };
            if !ended.failed() || ended.by_client() {
                return ended;
            }
            failed += 1;
            let Some(wait) = retry.and_then(|retry| retry.wait(failed, self.random.part())) else { return ended };
            if !cx.exchange().pause(clock::now() + wait).await {
                return ended;
            }
        }
    }

    /// Sends the request, and again wherever the answers lead, as long as these are servers of the pool. The request is then what it
    /// was before.
    async fn follow(&self, pools: &Rc<Pools>, pool: &Pool, number: usize, resend: u32, cx: &mut Context) -> Ended {
        let mut ended = pool.send(pools, number, resend, cx).await;
        let mut before = None;
        for _ in 0..self.redirects {
            let Ended::Answer { answer, number, .. } = &ended else { break };
            let servers = pool.targets.iter().map(|target| &target.endpoint);
            let Some(next) = redirect::next(answer, *number, servers, cx.request()) else { break };
            let exchange = cx.exchange();
            let Some(body) = exchange.whole_body() else { break };
            before.get_or_insert_with(|| (exchange.head().clone(), body));
            let head = exchange.head_mut();
            head.set_path(&next.path);
            head.set_query(&next.query);
            if next.plain {
                head.method = Method::Get;
                for name in [Known::ContentType, Known::ContentEncoding, Known::ContentLength] {
                    head.headers.remove_known(name);
                }
                if let Err(error) = exchange.set_body(Bytes::new()).await {
                    ended = Ended::Nothing(error.status(), "clientError");
                    break;
                }
            }
            ended = pool.send(pools, next.number, resend, cx).await;
        }
        if let Some((head, body)) = before {
            *cx.request_mut() = head;
            if let Err(error) = cx.exchange().set_body(body).await {
                ended = Ended::Nothing(error.status(), "clientError");
            }
        }
        ended
    }

    fn kept(&self, cx: &Context) -> Rc<Kept> {
        let tls = || self.tls.as_ref().map(|tls| tls.client.clone());
        let make = || Kept {
            pools: Pools::new(self.servers, self.limits, self.budget.clone(), Holder::Gateway, tls()),
            own: self.counted.iter().map(|_| Own::default()).collect(),
        };
        cx.local.get(&self.local, make)
    }

    fn finish(&self, cx: &mut Context, kept: &Kept, call: &Call, pool: &Pool, ended: Ended) -> Outcome {
        self.count(cx, kept, call, &ended);
        match ended {
            Ended::Answer { mut answer, number, failed } => {
                if let (Some(sticky), Some(target)) = (&pool.sticky, pool.targets.get(number)) {
                    sticky.mark(&mut answer.headers, &target.url, self.random.next(), clock::wall());
                }
                self.pass_on(cx, answer);
                if failed { Outcome::Result("failureCode") } else { Outcome::Next }
            }
            Ended::Nothing(status, result) => fail(cx, status, result),
        }
    }

    /// Counts a call when its answer's head is here: what its body will be is known as far as it is announced.
    fn count(&self, cx: &mut Context, kept: &Kept, call: &Call, ended: &Ended) {
        let (status, sent) = match ended {
            Ended::Answer { answer, .. } => match answer.body.length() {
                Length::Known(bytes) => (answer.status, bytes),
                Length::Unknown => (answer.status, 0),
            },
            Ended::Nothing(status, _) => (*status, 0),
        };
        let now = clock::now();
        let sample = Sample { status, took: call.took(now), received: cx.exchange().received_bytes(), sent };
        if let (Some(own), Some(counted)) = (kept.own.get(call.pool), self.counted.get(call.pool)) {
            own.record(counted, &self.budget, now, &sample);
        }
    }
}

impl Proxy {
    fn pass_on(&self, cx: &mut Context, mut answer: Response) {
        if let Some(compression) = self.compression {
            let accepts = cx.request().method != Method::Head && compress::accepts(cx.request());
            compression.pack(accepts, &mut answer, &self.budget);
        }
        merge(cx, answer);
    }
}

fn fail(cx: &mut Context, status: u16, result: &'static str) -> Outcome {
    cx.reject(status);
    Outcome::Result(result)
}

/// Headers that filters have set stay, but where the server says something of its own about sharing across origins.
fn merge(cx: &mut Context, mut answer: Response) {
    if let Some(before) = cx.response.take() {
        for (name, value) in before.headers.iter() {
            let Ok(name) = std::str::from_utf8(name) else { continue };
            let known = Known::of(name.as_bytes());
            let sharing = name.get(..15).is_some_and(|start| start.eq_ignore_ascii_case("Access-Control-"));
            if known != Known::ContentLength && !(sharing && answer.headers.find(name).is_some()) {
                answer.headers.append(name, value);
            }
        }
    }
    cx.response = Some(answer);
}
