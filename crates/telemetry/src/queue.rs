//! Finished spans on their way to one exporter.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tidegate_base::clock;
use tokio::{
    sync::{Notify, watch},
    time::{sleep_until, timeout_at},
};

use crate::{
    counters::{Count, Counters},
    span::Finished,
};

/// Most bytes of spans that wait.
pub(crate) const QUEUE_BYTES_MAX: u64 = 4 << 20;
/// Most bytes of the spans of a batch, but for one that is larger alone: collectors refuse messages of 4 MiB and more.
pub(crate) const BATCH_BYTES_MAX: u64 = 1 << 20;

/// For what is left when a queue closes.
const CLOSING_MAX: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueLimits {
    pub(crate) spans_max: usize,
    pub(crate) bytes_max: u64,
    pub(crate) batch_max: usize,
    pub(crate) batch_timeout: Duration,
}

/// Takes spans from all threads, gives batches to one task. A span that finds it full is dropped and counted.
pub(crate) struct Queue {
    limits: QueueLimits,
    state: Mutex<State>,
    /// Something is to be looked at: the first span, a whole batch, the end.
    woken: Notify,
    closes_at: watch::Sender<Option<Instant>>,
    counters: Arc<Counters>,
    kind: usize,
}

#[derive(Default)]
struct State {
    spans: VecDeque<Arc<Finished>>,
    bytes: u64,
    /// Since when the first span has waited, or the last batch has been gone.
    since: Option<Instant>,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// What is here, and what open requests still add, goes out at once.
    Closing,
    Ended,
}

impl Queue {
    pub(crate) fn new(limits: QueueLimits, counters: Arc<Counters>, kind: usize) -> Self {
        Self {
            limits,
            state: Mutex::default(),
            woken: Notify::new(),
            closes_at: watch::Sender::new(None),
            counters,
            kind,
        }
    }

    pub(crate) fn count(&self) -> &Count {
        self.counters.of(self.kind)
    }

    pub(crate) fn push(&self, span: &Arc<Finished>) {
        let mut state = self.lock();
        let room = state.spans.len() < self.limits.spans_max && state.bytes + span.bytes <= self.limits.bytes_max;
        if state.phase == Phase::Ended || !room {
            drop(state);
            return self.count().dropped(1);
        }
        state.spans.push_back(Arc::clone(span));
        state.bytes += span.bytes;
        let wake = state.spans.len() == 1 || self.is_batch(&state) || state.phase == Phase::Closing;
        state.since.get_or_insert_with(clock::now);
        drop(state);
        if wake {
            self.woken.notify_one();
        }
    }

    fn is_batch(&self, state: &State) -> bool {
        state.spans.len() >= self.limits.batch_max || state.bytes >= BATCH_BYTES_MAX
    }

    /// Waits until a batch is to go out. It is empty when `until` came first; or, with `closing`, when something was looked at in vain;
    /// or, without it, when the queue is closing.
    pub(crate) async fn batch(&self, until: Option<Instant>, closing: bool) -> Vec<Arc<Finished>> {
        loop {
            let due = {
                let mut state = self.lock();
                let now = clock::now();
                let due = state.since.map(|since| since + self.limits.batch_timeout);
                let is_due =
                    !state.spans.is_empty() && (state.phase != Phase::Open || due.is_some_and(|due| due <= now));
                if is_due || self.is_batch(&state) {
                    return self.take(&mut state, now);
                }
                if state.phase != Phase::Open && !closing {
                    return Vec::new();
                }
                due
            };
            let woken = self.woken.notified();
            match [due, until].into_iter().flatten().min() {
                None => woken.await,
                Some(at) => drop(timeout_at(at.into(), woken).await),
            }
            if closing || until.is_some_and(|until| until <= clock::now()) {
                let mut state = self.lock();
                return if closing { self.take(&mut state, clock::now()) } else { Vec::new() };
            }
        }
    }

    fn take(&self, state: &mut State, now: Instant) -> Vec<Arc<Finished>> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < self.limits.batch_max
            && let Some(next) = state.spans.front()
            && (batch.is_empty() || bytes + next.bytes <= BATCH_BYTES_MAX)
        {
            bytes += next.bytes;
            batch.extend(state.spans.pop_front());
        }
        state.bytes -= bytes;
        state.since = (!state.spans.is_empty()).then_some(now);
        batch
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().spans.is_empty()
    }

    /// By when it ends, once it is closing.
    pub(crate) fn closes_at(&self) -> Option<Instant> {
        *self.closes_at.borrow()
    }

    /// Waits until it has closed and the time for what was left is over.
    pub(crate) async fn closed(&self) {
        let at = match self.closes_at.subscribe().wait_for(Option::is_some).await {
            Ok(at) => *at,
            Err(_) => None,
        };
        sleep_until(at.unwrap_or_else(clock::now).into()).await;
    }

    /// Has what waits go out at once.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Closing;
            self.closes_at.send_replace(Some(clock::now() + CLOSING_MAX));
        }
        drop(state);
        self.wake();
    }

    pub(crate) fn wake(&self) {
        self.woken.notify_one();
    }

    /// Drops what waits and takes nothing more.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.phase = Phase::Ended;
        state.bytes = 0;
        let left = std::mem::take(&mut state.spans);
        drop(state);
        self.count().dropped(left.len());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
