//! `traceparent` and `tracestate`. Source: W3C Trace Context, level 1.

use std::{borrow::Cow, sync::Arc};

use tidegate_http::message::Headers;

use crate::{
    context::{Extracted, SpanContext},
    ids::{SpanId, TraceId, digits},
};

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";

/// Length of a `traceparent` of version 0.
const PARENT_BYTES: usize = 55;
const SAMPLED: u8 = 1;
/// Bytes of a `tracestate` that are passed on: the least that everybody must. Source: the same, 3.3.1.5.
const STATE_BYTES_MAX: usize = 512;
/// A longer member is the first to go. Source: the same.
const MEMBER_BYTES: usize = 128;
const MEMBERS_MAX: usize = 32;

pub(super) fn extract(headers: &Headers) -> Extracted {
    let mut parents = headers.matching(PARENT);
    let (Some(parent), None) = (parents.next(), parents.next()) else { return Extracted::default() };
    let Some((trace, span, sampled)) = parse(parent) else { return Extracted::default() };
    Extracted { parent: Some((trace, span)), sampled: Some(sampled), debug: false, state: state(headers) }
}

fn parse(parent: &[u8]) -> Option<(TraceId, SpanId, bool)> {
    let [version] = digits(parent.get(..2)?)?;
    // What later versions have behind the flags is theirs.
    let ends = match version {
        0xff => false,
        0 => parent.len() == PARENT_BYTES,
        _ => parent.get(PARENT_BYTES).is_none_or(|byte| *byte == b'-'),
    };
    let dashes = [2, 35, 52].iter().all(|at| parent.get(*at) == Some(&b'-'));
    let [flags] = digits(parent.get(53..PARENT_BYTES)?)?;
    let (trace, span) = (TraceId::parse(parent.get(3..35)?)?, SpanId::parse(parent.get(36..52)?)?);
    (ends && dashes).then_some((trace, span, flags & SAMPLED != 0))
}

/// The members of all lines, as far as they have room; `None` where one is malformed.
fn state(headers: &Headers) -> Option<Arc<str>> {
    let mut members = Vec::new();
    for line in headers.matching(STATE) {
        let line = std::str::from_utf8(line).ok()?;
        for member in line.split(',').map(str::trim).filter(|member| !member.is_empty()) {
            if members.len() == MEMBERS_MAX || !is_member(member) {
                return None;
            }
            members.push(member);
        }
    }
    let length = |members: &[&str]| members.iter().map(|member| member.len() + 1).sum::<usize>().saturating_sub(1);
    while length(&members) > STATE_BYTES_MAX {
        match members.iter().rposition(|member| member.len() > MEMBER_BYTES) {
            Some(long) => drop(members.remove(long)),
            None => drop(members.pop()),
        }
    }
    (!members.is_empty()).then(|| members.join(",").into())
}

fn is_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else { return false };
    let in_key = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte);
    let begins = key.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let in_value = |byte: u8| (0x20..=0x7e).contains(&byte) && byte != b'=';
    begins
        && key.len() <= 256
        && key.bytes().all(in_key)
        && (1..=256).contains(&value.len())
        && value.bytes().all(in_value)
}

pub(super) fn inject(context: &SpanContext, headers: &mut Headers) {
    let SpanContext { trace, span, sampled, state, .. } = context;
    let parent = format!("00-{trace}-{span}-{:02x}", u8::from(*sampled));
    headers.set(PARENT, parent.as_bytes());
    let mut lines = headers.matching(STATE).map(String::from_utf8_lossy);
    let now: (Option<Cow<'_, str>>, _) = (lines.next(), lines.next());
    // Attempts follow each other, and what is set again takes room anew.
    let same = now.0.as_deref() == state.as_deref() && now.1.is_none();
    drop(lines);
    match state {
        _ if same => {}
        Some(state) => headers.set(STATE, state.as_bytes()),
        None => headers.remove(STATE),
    }
}
