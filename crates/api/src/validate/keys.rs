//! Which keys of a transaction are written twice.
//!
//! Two puts of one key in one branch collide, and so do a put and a deletion whose range holds its key. The branches of
//! one transaction exclude each other, so both may put the same key. Deletions of this level are collected first,
//! because a nested put collides with one that stands behind it; those of nested transactions join afterwards, because
//! a put collides only with a nested deletion *before* it. This asymmetry is etcd's and clients may depend on it, like
//! the next: a deletion whose end does not lie behind its start, from-key ones (end `00`) included, collides with
//! nothing.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::{
    Error,
    pb::{DeleteRangeRequest, RequestOp, request_op::Request},
};

/// What one branch writes, in terms of borrowed keys.
#[derive(Default)]
pub(super) struct Written<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletions: Spans<'a>,
}

/// Checks one branch with everything nested in it.
pub(super) fn branch(ops: &[RequestOp]) -> Result<Written<'_>, Error> {
    let mut written = Written::default();
    for op in ops {
        if let Some(Request::RequestDeleteRange(request)) = &op.request {
            written.deletions.insert(request);
        }
    }
    for op in ops {
        if let Some(Request::RequestTxn(nested)) = &op.request {
            let (success, failure) = (branch(&nested.success)?, branch(&nested.failure)?);
            for key in &success.puts {
                written.put(key)?;
            }
            for key in failure.puts.difference(&success.puts) {
                written.put(key)?;
            }
            written.deletions.merge(success.deletions);
            written.deletions.merge(failure.deletions);
        }
    }
    for op in ops {
        if let Some(Request::RequestPut(request)) = &op.request {
            written.put(&request.key)?;
        }
    }
    Ok(written)
}

impl<'a> Written<'a> {
    fn put(&mut self, key: &'a [u8]) -> Result<(), Error> {
        let twice = self.deletions.hold(key) || !self.puts.insert(key);
        if twice { Err(Error::DuplicateKey) } else { Ok(()) }
    }
}

/// Where a deletion ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End<'a> {
    /// Behind the one key that it names.
    With(&'a [u8]),
    Before(&'a [u8]),
}

impl End<'_> {
    fn reaches(self, key: &[u8]) -> bool {
        match self {
            End::With(last) => key <= last,
            End::Before(end) => key < end,
        }
    }

    /// The end that lies further behind.
    fn further(self, other: Self) -> Self {
        let (mine, others) = match (self, other) {
            (End::With(a) | End::Before(a), End::With(b) | End::Before(b)) => (a, b),
        };
        match mine.cmp(others) {
            std::cmp::Ordering::Less => other,
            std::cmp::Ordering::Greater => self,
            std::cmp::Ordering::Equal if matches!(other, End::With(_)) => other,
            std::cmp::Ordering::Equal => self,
        }
    }
}

/// Spans of keys that do not overlap, by their start: asked and extended in O(log n) however many deletions there are.
#[derive(Default)]
struct Spans<'a>(BTreeMap<&'a [u8], End<'a>>);

impl<'a> Spans<'a> {
    fn insert(&mut self, request: &'a DeleteRangeRequest) {
        let (key, end): (&Bytes, &Bytes) = (&request.key, &request.range_end);
        if end.is_empty() {
            self.add(key, End::With(key));
        } else if key < end {
            self.add(key, End::Before(end));
        }
    }

    fn merge(&mut self, other: Spans<'a>) {
        for (start, end) in other.0 {
            self.add(start, end);
        }
    }

    fn add(&mut self, mut start: &'a [u8], mut end: End<'a>) {
        if let Some((before, its_end)) = self.0.range(..=start).next_back()
            && its_end.reaches(start)
        {
            start = before;
            end = end.further(*its_end);
        }
        while let Some((next, its_end)) = self.0.range(start..).next()
            && end.reaches(next)
        {
            let next = *next;
            end = end.further(*its_end);
            self.0.remove(next);
        }
        self.0.insert(start, end);
    }

    fn hold(&self, key: &[u8]) -> bool {
        self.0.range(..=key).next_back().is_some_and(|(_, end)| end.reaches(key))
    }
}
