//! What must be the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use crate::{
    backend::Received,
    client::Outcome,
    generate::{Case, Flaw},
    plan::End,
    wire::{Headers, Length},
};

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    Refusal,
    Status,
    Leave,
    Forwarded,
    Headers,
    Body,
    Persistence,
}

pub(crate) fn status(outcome: &Outcome) -> Option<u16> {
    outcome.answer.as_ref().map(|answer| answer.status)
}

/// Headers by name, values in their order, without those that `dropped` takes out.
fn by_name(headers: &Headers, dropped: &[&str]) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers.iter().filter(|(name, _)| !dropped.contains(&name.as_str())) {
        all.entry(name.clone()).or_default().push(value.clone());
    }
    all
}

pub(crate) type Forwarded = (String, BTreeMap<String, Vec<String>>, Vec<u8>, bool);

/// Without the framing, which is each proxy's own as long as the body is the same.
pub(crate) fn forwarded(received: &Received) -> Forwarded {
    let mut headers = by_name(&received.headers, &["content-length", "transfer-encoding"]);
    // Who does not say where to goes to the backend by its own name, and each proxy has one of its own.
    let host = headers.get("host").and_then(|hosts| hosts.first()?.parse::<SocketAddr>().ok());
    if host.is_some_and(|address| address.port() > 1024) {
        headers.remove("host");
    }
    (received.line.clone(), headers, received.body.clone(), received.complete)
}

/// The names whose values differ, with both.
fn differing(ours: &BTreeMap<String, Vec<String>>, theirs: &BTreeMap<String, Vec<String>>) -> String {
    let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let differ = names.into_iter().filter(|name| ours.get(*name) != theirs.get(*name));
    differ.map(|name| format!("{name}: {:?} {:?}; ", ours.get(name), theirs.get(name))).collect()
}

fn difference(ours: &[Forwarded], theirs: &[Forwarded]) -> String {
    let ([our], [their]) = (ours, theirs) else { return format!("{} and {} requests", ours.len(), theirs.len()) };
    let lines = if our.0 == their.0 { String::new() } else { format!("{}, {}; ", our.0, their.0) };
    let body = |forwarded: &Forwarded| format!("{} bytes, whole: {}", forwarded.2.len(), forwarded.3);
    let bodies =
        if our.2 == their.2 && our.3 == their.3 { String::new() } else { format!("{}, {}", body(our), body(their)) };
    lines + &differing(&our.1, &their.1) + &bodies
}

fn refused(outcome: &Outcome) -> bool {
    !outcome.goes_on && outcome.received.is_empty() && status(outcome).is_none_or(|status| (400..600).contains(&status))
}

/// What differs, with both sides of it.
pub(crate) fn differences(case: &Case, ours: &Outcome, theirs: &Outcome) -> Vec<(What, String)> {
    let mut found = Vec::new();
    let mut note = |same: bool, what: What, text: String| {
        if !same {
            found.push((what, text));
        }
    };
    if let Some(flaw) = case.flaw {
        let text = || format!("{:?} with {} seen behind it", status(ours), ours.received.len());
        note(refused(ours) && status(ours).is_some(), What::Refusal, text());
        let text = || format!("the reference takes it: {:?}", status(theirs));
        note(flaw == Flaw::Doubtful || refused(theirs), What::Refusal, text());
        return found;
    }
    note(!case.waits || ours.granted == theirs.granted, What::Leave, format!("{} {}", ours.granted, theirs.granted));
    note(status(ours) == status(theirs), What::Status, format!("{:?} {:?}", status(ours), status(theirs)));
    let seen = |outcome: &Outcome| outcome.received.iter().map(forwarded).collect::<Vec<_>>();
    let (our_requests, their_requests) = (seen(ours), seen(theirs));
    note(our_requests == their_requests, What::Forwarded, difference(&our_requests, &their_requests));
    let goes_on = |outcome: &Outcome| outcome.goes_on && !outcome.closed;
    note(
        goes_on(ours) == goes_on(theirs),
        What::Persistence,
        format!("{} {} after {:?}", goes_on(ours), goes_on(theirs), status(ours)),
    );
    if let (Some(our), Some(their)) = (&ours.answer, &theirs.answer)
        && !their_requests.is_empty()
        && case.plan.end != End::Silent
        && our.status == their.status
    {
        let mut dropped = vec!["date", "connection", "transfer-encoding"];
        // With a body its length is told by the body.
        if our.length != Length::Known(0) || !our.body.bytes.is_empty() {
            dropped.push("content-length");
        }
        let headers = |answer: &crate::client::Answer| by_name(&answer.headers, &dropped);
        note(headers(our) == headers(their), What::Headers, differing(&headers(our), &headers(their)));
        let same =
            our.body.complete == their.body.complete && (our.body.bytes == their.body.bytes || !our.body.complete);
        let text = |body: &crate::wire::Body| format!("{} bytes, whole: {}", body.bytes.len(), body.complete);
        note(same, What::Body, format!("{}, {}", text(&our.body), text(&their.body)));
        note(our.body.trailers == 0, What::Body, "trailers".to_owned());
    }
    found
}
