//! A pool of servers: one attempt to get an answer from one of them.

use std::{
    net::IpAddr,
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tidegate_base::{Lease, clock};
use tidegate_http::{
    message::{RequestHead, Response},
    upstream::{Endpoint, Outgoing, Pools, SendError, send},
};
use tidegate_pipeline::{
    CallSpan, Context,
    resilience::{Breaker, Phase, Retry, Ticket},
};

use super::{
    balance::{self, Policy},
    cache::Cache,
    hash::Random,
    health::Health,
    request::RequestMatcher,
    sticky::Sticky,
};

pub(super) struct Pool {
    /// `main`, `candidate#0` and so on, or `mirror`.
    pub(super) name: String,
    /// What spans of its calls are called.
    pub(super) span_name: Option<Arc<str>>,
    /// Number of its first server among those of the filter.
    pub(super) first: usize,
    pub(super) targets: Vec<Target>,
    pub(super) policy: Policy,
    /// Turn of the node, shared by its threads.
    pub(super) turn: AtomicUsize,
    pub(super) filter: Option<RequestMatcher>,
    pub(super) sticky: Option<Sticky>,
    pub(super) health: Option<Health>,
    pub(super) timeout: Option<Duration>,
    pub(super) answer_bytes_max: Option<u64>,
    pub(super) failure_codes: Option<Vec<u16>>,
    pub(super) retry: Option<Retry>,
    pub(super) breaker: Option<Guard>,
    pub(super) cache: Option<Arc<Cache>>,
}

pub(super) struct Target {
    pub(super) endpoint: Endpoint,
    /// As the spec has it: what sessions are bound to.
    pub(super) url: String,
    /// Whether `Host` is the server's.
    pub(super) own_host: bool,
}

/// An attempt, ended.
pub(super) enum Ended {
    /// An answer of this server, a failure or not.
    Answer { answer: Response, number: usize, failed: bool },
    /// None; the client gets this status, the flow this result.
    Nothing(u16, &'static str),
}

impl Ended {
    pub(super) fn failed(&self) -> bool {
        !matches!(self, Ended::Answer { failed: false, .. })
    }

    /// It ended by the client's doing, which tells nothing of the servers.
    pub(super) fn by_client(&self) -> bool {
        matches!(self, Ended::Nothing(_, "clientError"))
    }
}

impl Pool {
    /// Whether the next server is the one whose turn it is, and one attempt is all there is.
    pub(super) fn is_plain(&self) -> bool {
        let bare = self.sticky.is_none() && self.health.is_none() && self.retry.is_none() && self.breaker.is_none();
        bare && self.cache.is_none() && self.policy == Policy::RoundRobin
    }

    /// The server whose turn it is.
    pub(super) fn next(&self) -> usize {
        match self.targets.len() {
            0 | 1 => 0,
            // The turn wraps at the end of its width; one server then has its turn twice.
            servers => self.turn.fetch_add(1, Ordering::Relaxed) % servers,
        }
    }

    pub(super) fn pick(&self, head: &RequestHead, peer: Option<IpAddr>, random: &Random) -> Option<usize> {
        let well = |number: usize| self.health.as_ref().is_none_or(|health| health.is_well(number));
        let urls = self.targets.iter().map(|target| target.url.as_str());
        let bound = self.sticky.as_ref().and_then(|sticky| sticky.find(head, urls, well));
        bound.or_else(|| balance::pick(&self.policy, self.targets.len(), well, &self.turn, random, (head, peer)))
    }

    /// Begins the span of a call where the request is traced. Boxed with its future, or not there: most requests are not.
    fn trace(&self, target: &Target, resend: u32, cx: &mut Context) -> Option<Box<dyn CallSpan>> {
        let (span, filter) = cx.span()?;
        let usual = || format!("proxy#{filter}#{}", self.name).into();
        let name = self.span_name.clone().unwrap_or_else(usual);
        Some(span.call(name, &target.endpoint, resend, cx.request_mut()))
    }

    /// Sends the request to server `number` and waits for the head of its answer. `resend`: attempts before.
    pub(super) async fn send(&self, pools: &Rc<Pools>, number: usize, resend: u32, cx: &mut Context) -> Ended {
        let Some(target) = self.targets.get(number) else { return Ended::Nothing(503, "internalError") };
        let span = self.trace(target, resend, cx);
        let out = Outgoing {
            endpoint: &target.endpoint,
            number: self.first + number,
            host: target.own_host.then(|| target.endpoint.authority()),
            deadline: self.timeout.map(|timeout| clock::now() + timeout),
            answer_bytes_max: self.answer_bytes_max,
        };
        let answer = send(pools, &out, cx.exchange()).await;
        if let Some(span) = span {
            span.end(answer.as_ref().map(|answer| answer.status).map_err(|error| reason(*error)));
        }
        match answer {
            Ok(answer) => {
                let failed = match &self.failure_codes {
                    None => answer.status >= 500,
                    Some(codes) => codes.contains(&answer.status),
                };
                Ended::Answer { answer, number, failed }
            }
            Err(error) => {
                let (status, result) = outcome(error);
                Ended::Nothing(status, result)
            }
        }
    }
}

/// What a span says of an attempt without an answer (`error.type`).
const fn reason(error: SendError) -> &'static str {
    match error {
        SendError::NoAddress => "no_address",
        SendError::Connect(_) => "connect",
        SendError::Tls => "tls",
        SendError::NoAnswer => "no_answer",
        SendError::Cut => "cut",
        SendError::BadAnswer(_) => "bad_answer",
        SendError::Timeout => "timeout",
        SendError::ClientGone => "cancelled",
        SendError::ClientBody(_) => "client_body",
        SendError::Tunnel => "tunnel",
        SendError::Unsayable(_) => "unsayable",
        SendError::TooLarge => "too_large",
        SendError::BodyGone => "body_gone",
        SendError::NoMemory => "no_memory",
    }
}

/// Status and result of an attempt without an answer.
const fn outcome(error: SendError) -> (u16, &'static str) {
    match error {
        SendError::NoAddress
        | SendError::Connect(_)
        | SendError::Tls
        | SendError::NoAnswer
        | SendError::BadAnswer(_) => (503, "serverError"),
        SendError::Timeout => (408, "timeout"),
        SendError::ClientGone => (499, "clientError"),
        SendError::ClientBody(error) => (error.status(), "clientError"),
        SendError::Tunnel => (501, "internalError"),
        SendError::Unsayable(_) => (400, "clientError"),
        SendError::TooLarge | SendError::BodyGone | SendError::Cut => (500, "internalError"),
        SendError::NoMemory => (503, "internalError"),
    }
}

/// The pool's circuit breaker, shared by the threads, and what pays for its window.
pub(super) struct Guard {
    breaker: Mutex<Breaker>,
    _lease: Lease,
}

/// A call that a breaker let through.
pub(super) struct Pass<'a> {
    guard: &'a Guard,
    /// Gone once the call has ended.
    ticket: Option<Ticket>,
    since: Instant,
}

impl Guard {
    pub(super) const fn new(breaker: Breaker, lease: Lease) -> Self {
        Self { breaker: Mutex::new(breaker), _lease: lease }
    }

    /// `None`: the call must not be made.
    pub(super) fn enter(&self) -> Option<Pass<'_>> {
        let since = clock::now();
        let admission = self.with(|breaker| breaker.acquire(since));
        tell(admission.changed);
        admission.ticket.map(|ticket| Pass { guard: self, ticket: Some(ticket), since })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Breaker) -> T) -> T {
        act(&mut self.breaker.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Pass<'_> {
    /// Ends the call; `None`: it tells nothing.
    pub(super) fn end(mut self, failed: Option<bool>) {
        self.finish(failed);
    }

    fn finish(&mut self, failed: Option<bool>) {
        let Some(ticket) = self.ticket.take() else { return };
        let now = clock::now();
        let took = now.saturating_duration_since(self.since);
        let changed = self.guard.with(|breaker| match failed {
            Some(failed) => breaker.record(ticket, failed, took, now),
            None => {
                breaker.release(ticket);
                None
            }
        });
        tell(changed);
    }
}

impl Drop for Pass<'_> {
    /// A panic is a failure; a call that is cut off tells nothing.
    fn drop(&mut self) {
        self.finish(std::thread::panicking().then_some(true));
    }
}

fn tell(changed: Option<Phase>) {
    if let Some(phase) = changed {
        tracing::info!(?phase, "a circuit breaker has changed its state");
    }
}
