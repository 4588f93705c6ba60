//! Where a request stands in its trace.

use std::sync::Arc;

use crate::ids::{SpanId, TraceId};

/// A span as others are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpanContext {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
    pub(crate) sampled: bool,
    /// Sampled whatever samplers think, as B3 has it.
    pub(crate) debug: bool,
    /// The `tracestate`, which is other systems' and passed on; at most 512 bytes.
    pub(crate) state: Option<Arc<str>>,
}

/// What the headers of a request say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Extracted {
    /// The span that the request was sent by.
    pub(crate) parent: Option<(TraceId, SpanId)>,
    /// Whether that is sampled; `None`: it leaves that to us.
    pub(crate) sampled: Option<bool>,
    pub(crate) debug: bool,
    pub(crate) state: Option<Arc<str>>,
}

impl SpanContext {
    /// A span below this one.
    pub(crate) fn child(&self) -> Self {
        Self { span: SpanId::random(), ..self.clone() }
    }
}
