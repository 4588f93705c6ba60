//! One task for each exporter: batches out of its queue, encoded and sent one after the other.

mod buffer;
mod http;
mod jaeger;
mod otlp;
#[cfg(test)]
mod tests;
mod udp;
mod zipkin;

use std::{
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tidegate_base::{Budget, Holder, clock};
use tidegate_http::{
    conn::Present,
    tls::Client,
    upstream::{ClientError, PoolLimits, Pools},
};
use tokio::time::timeout;

pub(crate) use buffer::Buffer;
pub(crate) use http::Site;
pub(crate) use jaeger::{Agent, Collector};
pub(crate) use otlp::Otlp;
pub(crate) use zipkin::Zipkin;

use crate::{queue::Queue, span::Finished};

/// What an exporter takes beside spans and their encoding: its task, a call on its way, its connection.
pub(crate) const EXPORTER_BYTES: u64 = 64 << 10;
/// An unused connection is closed after it.
const IDLE: Duration = Duration::from_secs(30);
/// Between two lines of the log about exports that fail.
const QUIET: Duration = Duration::from_secs(10);

/// Spans as a batch has them.
pub(crate) type Batch = [Arc<Finished>];

/// The service that spans are of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) service: String,
    pub(crate) attributes: Vec<(String, String)>,
}

/// A checked exporter, ready to be started.
pub(crate) enum Exporter {
    Otlp(Otlp),
    Zipkin(Zipkin),
    Collector(Collector),
    Agent(Agent),
}

/// Why a batch, or a part of it, has not arrived.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    #[error("cannot encode spans: {0}")]
    Encode(io::Error),
    #[error(transparent)]
    Call(#[from] ClientError),
    #[error("the collector's name is not resolved")]
    NoAddress,
    #[error("cannot send to the agent: {0}")]
    Udp(io::Error),
    #[error("the collector has answered with status {0}")]
    Status(u16),
    #[error("the collector has answered with gRPC status {0}")]
    Grpc(String),
    #[error("the collector has not answered in time")]
    Timeout,
    #[error("the exporter ends")]
    Closed,
}

/// Spans of a batch that the other side has not taken.
pub(crate) type Sent = Result<usize, ExportError>;

/// What exports are made with.
pub(crate) struct Means {
    pub(crate) budget: Budget,
    pub(crate) resource: Arc<Resource>,
    pub(crate) pools: Rc<Pools>,
}

/// What a task is started with.
pub(crate) struct Job {
    /// Names of the server and of the kind of exporter, for the log.
    pub(crate) names: (Arc<str>, &'static str),
    pub(crate) exporter: Exporter,
    pub(crate) queue: Arc<Queue>,
    pub(crate) resource: Arc<Resource>,
    pub(crate) budget: Budget,
    pub(crate) tls: Option<Client>,
    pub(crate) timeout: Duration,
    pub(crate) open: Arc<AtomicUsize>,
    pub(crate) present: Present,
}

impl Exporter {
    async fn send(&self, means: &Means, batch: &Batch) -> Sent {
        match self {
            Self::Otlp(otlp) => otlp.send(means, batch).await,
            Self::Zipkin(zipkin) => zipkin.send(means, batch).await,
            Self::Collector(collector) => collector.send(means, batch).await,
            Self::Agent(agent) => agent.send(means, batch).await,
        }
    }
}

/// Ends the queue however the task ends.
struct Ending(Arc<Queue>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Exports until the queue has closed and is empty, or the time for that is over.
pub(crate) async fn run(job: Job) {
    let Job { names, exporter, queue, resource, budget, tls, timeout, open, present } = job;
    let ending = Ending(Arc::clone(&queue));
    let limits = PoolLimits { per_endpoint_max: 1, total_max: 1, idle: IDLE };
    let pools = Pools::new(1, limits, budget.clone(), Holder::Gateway, tls);
    let means = Means { budget, resource, pools };
    let (mut log, mut idle) = (Log { names, last: None, spans: 0 }, None);
    loop {
        let closes_at = queue.closes_at();
        let until = closes_at.or(idle);
        let batch = queue.batch(until, closes_at.is_some()).await;
        if batch.is_empty() {
            if idle.take().is_some() {
                means.pools.sweep(clock::now() + IDLE);
            }
        } else {
            export(&exporter, &means, &queue, &batch, timeout, &mut log).await;
            idle = Some(clock::now() + IDLE);
        }
        if let Some(at) = queue.closes_at() {
            let done = queue.is_empty() && open.load(Ordering::Acquire) == 0;
            if done || clock::now() >= at {
                break;
            }
        }
    }
    drop((ending, present));
}

async fn export(exporter: &Exporter, means: &Means, queue: &Queue, batch: &Batch, limit: Duration, log: &mut Log) {
    let sent = tokio::select! {
        biased;
        sent = timeout(limit, exporter.send(means, batch)) => sent.unwrap_or(Err(ExportError::Timeout)),
        () = queue.closed() => Err(ExportError::Closed),
    };
    let count = queue.count();
    match sent {
        Ok(refused) => {
            let refused = refused.min(batch.len());
            count.exported(batch.len() - refused);
            if refused > 0 {
                count.failed(refused);
                log.failed(refused, &"the collector has refused spans");
            }
        }
        Err(error) => {
            count.failed(batch.len());
            log.failed(batch.len(), &error);
        }
    }
}

/// At most a line in ten seconds.
struct Log {
    names: (Arc<str>, &'static str),
    last: Option<Instant>,
    spans: usize,
}

impl Log {
    fn failed(&mut self, spans: usize, error: &dyn std::fmt::Display) {
        self.spans += spans;
        let now = clock::now();
        if self.last.is_none_or(|last| now.saturating_duration_since(last) >= QUIET) {
            let (server, exporter) = &self.names;
            tracing::warn!(%server, exporter, spans = self.spans, %error, "spans are not exported");
            (self.last, self.spans) = (Some(now), 0);
        }
    }
}
