//! B3, in one header or in several. Source: the B3 propagation specification; which of both is read and written, OpenTelemetry's propagator
//! as the reference sets it up.

use tidegate_http::message::Headers;

use crate::{
    context::{Extracted, SpanContext},
    ids::{SpanId, TraceId},
};

const SINGLE: &str = "b3";
const TRACE: &str = "X-B3-TraceId";
const SPAN: &str = "X-B3-SpanId";
const PARENT: &str = "X-B3-ParentSpanId";
const SAMPLED: &str = "X-B3-Sampled";
const FLAGS: &str = "X-B3-Flags";

/// The one header if it is good, else the several.
pub(super) fn extract(headers: &Headers) -> Extracted {
    let single = headers.find(SINGLE).and_then(single);
    single.or_else(|| several(headers)).unwrap_or_default()
}

/// `TRACE-SPAN`, `TRACE-SPAN-STATE`, `TRACE-SPAN-STATE-PARENT`, or a state alone.
fn single(text: &[u8]) -> Option<Extracted> {
    let mut parts = text.split(|byte| *byte == b'-');
    let (first, second) = (parts.next()?, parts.next());
    let Some(span) = second else { return state(first) };
    let parent = Some((trace(first)?, SpanId::parse(span)?));
    let told = match parts.next() {
        None => Extracted::default(),
        Some(text) => state(text)?,
    };
    if let Some(grandparent) = parts.next() {
        SpanId::parse(grandparent)?;
    }
    parts.next().is_none().then_some(Extracted { parent, ..told })
}

fn state(text: &[u8]) -> Option<Extracted> {
    let (sampled, debug) = match text {
        b"0" => (false, false),
        b"1" => (true, false),
        b"d" => (true, true),
        _ => return None,
    };
    Some(Extracted { sampled: Some(sampled), debug, ..Extracted::default() })
}

fn several(headers: &Headers) -> Option<Extracted> {
    let debug = headers.find(FLAGS) == Some(b"1");
    let sampled = match headers.find(SAMPLED) {
        None | Some(b"") => None,
        Some(b"0") => Some(false),
        Some(b"1") => Some(true),
        Some(text) if text.eq_ignore_ascii_case(b"false") => Some(false),
        Some(text) if text.eq_ignore_ascii_case(b"true") => Some(true),
        Some(_) => return None,
    };
    let sampled = if debug { Some(true) } else { sampled };
    let parent = match (headers.find(TRACE), headers.find(SPAN)) {
        (None, None) => None,
        (Some(id), Some(span)) => Some((trace(id)?, SpanId::parse(span)?)),
        _ => return None,
    };
    if let Some(grandparent) = headers.find(PARENT) {
        SpanId::parse(grandparent)?;
    }
    Some(Extracted { parent, sampled, debug, state: None })
}

/// 32 digits, or 16 of an id that has no upper half.
fn trace(text: &[u8]) -> Option<TraceId> {
    if text.len() == 16 { TraceId::parse(&[b"0000000000000000", text].concat()) } else { TraceId::parse(text) }
}

/// One header. The several would contradict it.
pub(super) fn inject(context: &SpanContext, headers: &mut Headers) {
    let SpanContext { trace, span, sampled, debug, .. } = context;
    let state = match (debug, sampled) {
        (true, _) => "d",
        (false, true) => "1",
        (false, false) => "0",
    };
    for name in [TRACE, SPAN, PARENT, SAMPLED, FLAGS] {
        headers.remove(name);
    }
    headers.set(SINGLE, format!("{trace}-{span}-{state}").as_bytes());
}
