//! What became of spans.

use std::sync::atomic::{AtomicU64, Ordering};

/// The kinds of exporters, as labels of metrics have them.
pub(crate) const KINDS: [&str; 3] = ["jaeger", "otlp", "zipkin"];

/// Counts of a server's spans for each kind of exporter. They survive edits.
#[derive(Debug, Default)]
pub struct Counters([Count; KINDS.len()]);

#[derive(Debug, Default)]
pub(crate) struct Count {
    exported: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

/// Spans of one exporter since the server was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken by the collector; over UDP, sent to it.
    pub exported: u64,
    /// For want of room, or because the exporter had ended.
    pub dropped: u64,
    /// Of batches that the collector did not take.
    pub failed: u64,
}

impl Counters {
    /// Kinds of exporters with what became of their spans, those without any left out.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, Counts)> {
        let all = KINDS.into_iter().zip(&self.0).map(|(kind, count)| (kind, count.get()));
        all.filter(|(_, counts)| *counts != Counts::default())
    }

    pub(crate) fn of(&self, kind: usize) -> &Count {
        &self.0[kind]
    }
}

impl Count {
    pub(crate) fn exported(&self, spans: usize) {
        self.exported.fetch_add(spans as u64, Ordering::Relaxed);
    }

    pub(crate) fn dropped(&self, spans: usize) {
        self.dropped.fetch_add(spans as u64, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, spans: usize) {
        self.failed.fetch_add(spans as u64, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts { exported: read(&self.exported), dropped: read(&self.dropped), failed: read(&self.failed) }
    }
}
