//! The differences that are meant, each with its reason.

use crate::{
    backend::Received,
    client::Outcome,
    compare::{Forwarded, What, forwarded, status},
    generate::Case,
    plan::End,
};

pub(crate) struct Known {
    pub(crate) what: What,
    /// Why ours is right.
    pub(crate) reason: &'static str,
    /// Who is first decides, so that a run may not meet it.
    pub(crate) race: bool,
    /// Of the outcome here and that of the reference.
    fits: fn(&Case, &Outcome, &Outcome) -> bool,
}

/// Each row but those of races is met in a run of the default size; else it does not belong here.
pub(crate) const KNOWN: &[Known] = &[
    Known {
        what: What::Forwarded,
        race: false,
        reason: "a query without a byte is not sent on: Easegress writes the question mark only in front of a query",
        fits: |_, ours, theirs| {
            let without = |mut request: Forwarded| {
                request.0 = request.0.replacen("? HTTP/", " HTTP/", 1);
                request
            };
            all(&ours.received, |request| request) == all(&theirs.received, without)
        },
    },
    Known {
        what: What::Forwarded,
        race: false,
        reason: "a kept connection that ends without a byte of the answer: what is idempotent and whole is sent once more",
        fits: |case, ours, theirs| {
            let [first, second] = &ours.received[..] else { return false };
            let idempotent = matches!(case.method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE");
            case.plan.end == End::Silent && idempotent && same(first, second) && theirs.received.len() == 1
        },
    },
    Known {
        what: What::Forwarded,
        race: true,
        reason: "the backend answered before the body had come: the rest of the body is of no use to it",
        fits: |case, ours, theirs| {
            let cut = |outcome: &Outcome| match &outcome.received[..] {
                [one] => case.body.starts_with(&one.body) && (!one.complete || one.body == case.body),
                _ => false,
            };
            case.plan.early && cut(ours) && cut(theirs)
        },
    },
    Known {
        what: What::Headers,
        race: false,
        reason: "a 304 keeps the length that the backend tells (RFC 9110, 8.6); hyper drops it",
        fits: |_, ours, theirs| {
            let has_length = |outcome: &Outcome| {
                let headers = outcome.answer.iter().flat_map(|answer| &answer.headers);
                headers.filter(|(name, _)| name == "content-length").count()
            };
            status(ours) == Some(304) && (has_length(ours), has_length(theirs)) == (1, 0)
        },
    },
    Known {
        what: What::Persistence,
        race: false,
        reason: "a body that nobody wants is read up to 64 KiB where its length is known; in chunks it ends the connection",
        fits: |case, ours, theirs| {
            let unread = ours.received.is_empty() && theirs.received.is_empty() && !case.wire_body.is_empty();
            unread && (!case.chunked && case.body.len() <= 64 << 10) == ours.goes_on
        },
    },
    Known {
        what: What::Persistence,
        race: false,
        reason: "who was not told to send its body may send it or the next request: nobody could tell which",
        fits: |case, ours, _| case.expects && ours.granted == 0 && !ours.goes_on,
    },
    Known {
        what: What::Persistence,
        race: true,
        reason: "the backend answered before the body had come: how much of it is left then is a race",
        fits: |case, _, _| case.plan.early,
    },
    Known {
        what: What::Persistence,
        race: true,
        reason: "a body in chunks that passes its limit is read no further",
        fits: |case, ours, theirs| {
            case.chunked && (status(ours), status(theirs)) == (Some(413), Some(413)) && !ours.goes_on
        },
    },
    Known {
        what: What::Forwarded,
        race: true,
        reason: "a body in chunks goes on as it comes: past its limit the backend is left with a part that has no end",
        fits: |case, ours, theirs| {
            let cut = matches!(&ours.received[..], [one] if !one.complete && case.body.starts_with(&one.body));
            case.chunked && cut && status(theirs) == Some(413) && theirs.received.is_empty()
        },
    },
    Known {
        what: What::Status,
        race: true,
        reason: "an answer that comes before the body has passed its limit is the answer",
        fits: |case, ours, theirs| {
            case.chunked && case.plan.early && status(ours) == Some(case.plan.status) && status(theirs) == Some(413)
        },
    },
    Known {
        what: What::Status,
        race: true,
        reason: "an answer that breaks off before its head has gone out has no head; how far a proxy comes is a race",
        fits: |case, ours, theirs| {
            let whole = |outcome: &Outcome| outcome.answer.as_ref().is_some_and(|answer| answer.body.complete);
            case.plan.end == End::Cut && !whole(ours) && (status(ours).is_none() || status(theirs).is_none())
        },
    },
    Known {
        what: What::Body,
        race: true,
        reason: "a body that ends with the connection and broke off ends by a reset, so that it is not taken for a whole one",
        fits: |case, ours, theirs| {
            let whole = |outcome: &Outcome| outcome.answer.as_ref().is_some_and(|answer| answer.body.complete);
            case.plan.end == End::Cut && case.old && !whole(ours) && whole(theirs)
        },
    },
    Known {
        what: What::Status,
        race: false,
        reason: "an answer that breaks off before its body begins, or a small one in its body, is 500 and no part of it",
        fits: broke_off,
    },
    Known {
        what: What::Persistence,
        race: false,
        reason: "who got a 500 for it keeps his connection",
        fits: |case, ours, theirs| broke_off(case, ours, theirs) && ours.goes_on,
    },
    Known { what: What::Headers, race: true, reason: "the answer that broke off was a 500 itself", fits: broke_off },
    Known { what: What::Body, race: true, reason: "the answer that broke off was a 500 itself", fits: broke_off },
];

fn broke_off(case: &Case, ours: &Outcome, theirs: &Outcome) -> bool {
    let whole = |outcome: &Outcome| outcome.answer.as_ref().is_some_and(|answer| answer.body.complete);
    case.plan.end == End::Cut && status(ours) == Some(500) && whole(ours) && (!whole(theirs) || case.old)
}

fn all(received: &[Received], change: impl Fn(Forwarded) -> Forwarded) -> Vec<Forwarded> {
    received.iter().map(|request| change(forwarded(request))).collect()
}

fn same(one: &Received, other: &Received) -> bool {
    forwarded(one) == forwarded(other)
}

/// The row that a difference stands in.
pub(crate) fn row(what: What, case: &Case, ours: &Outcome, theirs: &Outcome) -> Option<usize> {
    KNOWN.iter().position(|known| known.what == what && (known.fits)(case, ours, theirs))
}
