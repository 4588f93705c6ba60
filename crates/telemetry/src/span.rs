//! A span while it is recorded, and what is kept of it until it is exported.

use std::{sync::Arc, time::Duration};

use tidegate_base::{Budget, Holder, Lease};

use crate::{context::SpanContext, ids::SpanId, spec::SpanLimits};

/// Most bytes of a value where a spec sets no limit: the longest that is of use in a trace, and well above usual paths.
const VALUE_BYTES_MAX: usize = 4 << 10;
/// Paid for in advance: what the end of a span adds.
const END_BYTES: u64 = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Internal,
    Server,
    Client,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(Box<str>),
    Known(&'static str),
    Number(i64),
}

/// What exporters send.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) context: SpanContext,
    pub(crate) parent: Option<SpanId>,
    /// The parent is another system's.
    pub(crate) is_remote: bool,
    pub(crate) name: Arc<str>,
    pub(crate) kind: Kind,
    /// Both since 1970.
    pub(crate) start: Duration,
    pub(crate) end: Duration,
    pub(crate) attributes: Vec<(&'static str, Value)>,
    pub(crate) attributes_dropped: u32,
    pub(crate) failed: bool,
}

/// A finished span, and what pays for it.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) span: Span,
    pub(crate) bytes: u64,
    pub(crate) _lease: Lease,
}

/// A span to which attributes are added.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) span: Span,
    limits: SpanLimits,
    lease: Lease,
}

impl Span {
    pub(crate) fn new(context: SpanContext, name: Arc<str>, kind: Kind, start: Duration) -> Self {
        Self {
            context,
            parent: None,
            is_remote: false,
            name,
            kind,
            start,
            end: start,
            attributes: Vec::new(),
            attributes_dropped: 0,
            failed: false,
        }
    }

    /// Bytes that it takes, its name and state as if they were its own.
    pub(crate) fn bytes(&self) -> u64 {
        let text = |value: &Value| if let Value::Text(text) = value { text.len() } else { 0 };
        let texts: usize = self.attributes.iter().map(|(_, value)| text(value)).sum();
        let list = self.attributes.capacity() * size_of::<(&str, Value)>();
        let state = self.context.state.as_ref().map_or(0, |state| state.len());
        (size_of::<Finished>() + self.name.len() + state + list + texts) as u64
    }
}

impl Recording {
    /// `None` where no memory is free for it.
    pub(crate) fn begin(
        mut span: Span,
        attributes: Vec<(&'static str, Value)>,
        limits: SpanLimits,
        budget: &Budget,
    ) -> Option<Self> {
        span.attributes.reserve_exact(attributes.len().min(limit(limits.attribute_count_limit)));
        let mut lease = budget.empty(Holder::Gateway);
        for (key, value) in attributes {
            put(&mut span, &limits, key, value);
        }
        lease.try_grow(span.bytes() + END_BYTES).then_some(Self { span, limits, lease })
    }

    /// Adds what is small: a number, or a text of the program's.
    pub(crate) fn add(&mut self, key: &'static str, value: Value) {
        put(&mut self.span, &self.limits, key, value);
    }

    /// `None` where the end has found no memory.
    pub(crate) fn finish(self, end: Duration) -> Option<Finished> {
        let Self { mut span, mut lease, .. } = self;
        span.end = end.max(span.start);
        let bytes = span.bytes();
        lease.shrink_to(bytes);
        let missing = bytes - lease.bytes();
        (missing == 0 || lease.try_grow(missing)).then_some(Finished { span, bytes, _lease: lease })
    }
}

fn limit(given: i64) -> usize {
    usize::try_from(given).unwrap_or(usize::MAX)
}

fn put(span: &mut Span, limits: &SpanLimits, key: &'static str, value: Value) {
    if span.attributes.len() >= limit(limits.attribute_count_limit) {
        span.attributes_dropped += 1;
        return;
    }
    let value = match value {
        Value::Text(text) => Value::Text(cut(text, limit(limits.attribute_value_length_limit))),
        Value::Known(text) if text.chars().count() > limit(limits.attribute_value_length_limit) => {
            Value::Text(cut(text.into(), limit(limits.attribute_value_length_limit)))
        }
        value => value,
    };
    span.attributes.push((key, value));
}

/// The first `chars` characters, as far as they have room.
fn cut(text: Box<str>, chars: usize) -> Box<str> {
    let by_chars = text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at);
    let end = text.floor_char_boundary(by_chars.min(VALUE_BYTES_MAX));
    if end == text.len() { text } else { text[..end].into() }
}
