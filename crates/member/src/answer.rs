//! Answers that are larger than their recipes: lengths first, then bytes as the client takes them.
//!
//! ```text
//!   TxnResponse ┬ header, succeeded
//!               ├ ResponseOp ─ PutResponse ┬ header
//!               │                          └ pairs (one, at a bound)     ◄ measured: its length is known, its bytes are not read
//!               └ ResponseOp ─ RangeResponse ┬ header
//!                                            ├ pairs (many)
//!                                            └ more, count
//! ```
//! A message's length stands before it, so the tree is measured from the leaves up, reading no value; then it is written from
//! the front, in slices. Nothing of it is ever whole in memory, unless it is small.

mod point;
mod wire;

use std::time::Instant;

use bytes::BufMut;
use tidegate_api::KeyRange;
use tidegate_base::clock;
use tidegate_engine::{Engine, Tier};
use tidegate_kv::{
    Answer, DeleteAnswer, OpAnswer, Piece, Pin, PutAnswer, RangeAnswer, RangeCursor, RangeMeasure, RangeSpec,
    ReadError, Reader, SliceLimit, SortField, TxnAnswer, put_number_field,
};

use self::{
    point::Leaf,
    wire::{field_len, inner_header, put_head, put_tail, tail_len},
};
pub(crate) use self::{point::Point, wire::Header};

/// Answers up to this size are made in one go.
const SMALL: u64 = 24 << 10;
/// Up to here what is sorted is part of what every answer costs.
pub(crate) const SORTED_FREE: u64 = 64 << 10;
/// Field number of the pairs of a `RangeResponse`.
const PAIRS_OF_RANGE: u8 = 2;

/// A part of an answer.
#[derive(Debug)]
enum Node {
    Bytes(Vec<u8>),
    /// Pairs, by their place in the list of ranges. `counted`: `more` and `count` follow, as in a `RangeResponse`.
    Pairs {
        range: usize,
        counted: bool,
    },
    /// A message as field number `field` of the one around it.
    Message {
        field: u8,
        children: Vec<Node>,
    },
}

/// An answer to be measured and then written.
#[derive(Debug)]
pub(crate) struct Plan {
    root: Vec<Node>,
    ranges: Vec<(RangeSpec, u8)>,
    measures: Vec<RangeMeasure>,
    /// The range that is being measured.
    measuring: Option<RangeCursor>,
    /// Keeps what the ranges read.
    pin: Option<Pinned>,
}

/// A pin, and since when it holds compaction off.
#[derive(Debug)]
pub(crate) struct Pinned {
    pin: Pin,
    since: Instant,
}

impl Pinned {
    /// Takes `other` in the place of its own pin if it is of an older revision. The time goes on.
    pub(crate) fn keep_older(&mut self, other: Pin) {
        if other.revision() < self.pin.revision() {
            self.pin = other;
        }
    }
}

impl From<Pin> for Pinned {
    fn from(pin: Pin) -> Self {
        Self { pin, since: clock::now() }
    }
}

/// What is written, in order.
#[derive(Debug)]
pub(crate) enum Part {
    Bytes(Vec<u8>),
    Pairs(Box<RangeCursor>),
}

/// An answer whose parts are all in memory.
pub(crate) struct Ready<'a> {
    plan: &'a Plan,
    leaves: Vec<Leaf>,
    measures: Vec<RangeMeasure>,
}

impl Ready<'_> {
    pub(crate) fn len(&self) -> usize {
        usize::try_from(Sized { measures: &self.measures }.len(&self.plan.root)).expect("a small answer")
    }

    pub(crate) fn put(&self, out: &mut impl BufMut) {
        Sized { measures: &self.measures }.write(&self.plan.root, &mut |item| match item {
            Item::Bytes(bytes) => out.put_slice(bytes),
            Item::Pairs(range) => {
                let (spec, field) = &self.plan.ranges[range];
                self.leaves[range].put(out, spec, *field);
            }
        });
    }
}

impl Plan {
    /// A `RangeResponse`.
    pub(crate) fn range(header: &Header, spec: RangeSpec, pin: Pinned) -> Self {
        let mut plan = Self::empty(Some(pin));
        let pairs = plan.pairs(spec, PAIRS_OF_RANGE, true);
        plan.root = vec![Node::Bytes(header.encode()), pairs];
        plan
    }

    /// The answer of an applied entry, as the message of its method.
    pub(crate) fn applied(header: &Header, answer: Answer, pin: Option<Pinned>) -> Self {
        let mut plan = Self::empty(pin);
        let mut root = vec![Node::Bytes(header.encode())];
        match answer {
            Answer::Put(put) => plan.put(put, &mut root),
            Answer::Delete(delete) => plan.delete(delete, &mut root),
            Answer::Txn(txn) => plan.txn(txn, &mut root),
            Answer::LeaseGrant { id, ttl_seconds } => {
                let mut bytes = Vec::new();
                put_number_field(&mut bytes, 2, id);
                put_number_field(&mut bytes, 3, ttl_seconds);
                root.push(Node::Bytes(bytes));
            }
            Answer::Alarm(alarms) => {
                for alarm in alarms {
                    let mut message = Vec::new();
                    put_number_field(&mut message, 1, alarm.member_id.cast_signed());
                    put_number_field(&mut message, 2, alarm.alarm.into());
                    root.push(Node::Message { field: 2, children: vec![Node::Bytes(message)] });
                }
            }
            Answer::Compaction | Answer::LeaseRevoke | Answer::Member(_) | Answer::Empty => {}
        }
        plan.root = root;
        plan
    }

    fn empty(pin: Option<Pinned>) -> Self {
        Self { root: Vec::new(), ranges: Vec::new(), measures: Vec::new(), measuring: None, pin }
    }

    /// Takes what keeps the plan's rows, for who answers from memory at once.
    pub(crate) fn take_pin(&mut self) -> Option<Pinned> {
        self.pin.take()
    }

    pub(crate) fn keep(&mut self, pin: Option<Pinned>) {
        self.pin = pin;
    }

    /// Since when its pin holds compaction off.
    pub(crate) fn pinned_since(&self) -> Option<Instant> {
        self.pin.as_ref().map(|pin| pin.since)
    }

    fn pairs(&mut self, spec: RangeSpec, field: u8, counted: bool) -> Node {
        self.ranges.push((spec, field));
        Node::Pairs { range: self.ranges.len() - 1, counted }
    }

    fn put(&mut self, put: PutAnswer, out: &mut Vec<Node>) {
        if let Some(previous) = put.previous {
            let spec = RangeSpec::all(KeyRange::One(previous.key), previous.bound);
            out.push(self.pairs(spec, 2, false));
        }
    }

    fn delete(&mut self, delete: DeleteAnswer, out: &mut Vec<Node>) {
        let mut bytes = Vec::new();
        put_number_field(&mut bytes, 2, delete.deleted);
        out.push(Node::Bytes(bytes));
        if let Some(previous) = delete.previous {
            out.push(self.pairs(previous, 3, false));
        }
    }

    fn txn(&mut self, txn: TxnAnswer, out: &mut Vec<Node>) {
        let mut bytes = Vec::new();
        put_number_field(&mut bytes, 2, txn.succeeded.into());
        out.push(Node::Bytes(bytes));
        for response in txn.responses {
            let mut children = Vec::new();
            let field = match response {
                OpAnswer::Range(RangeAnswer { spec, header_revision }) => {
                    children.push(Node::Bytes(inner_header(header_revision)));
                    children.push(self.pairs(spec, 2, true));
                    1
                }
                OpAnswer::Put(put) => {
                    children.push(Node::Bytes(inner_header(put.header_revision)));
                    self.put(put, &mut children);
                    2
                }
                OpAnswer::Delete(delete) => {
                    children.push(Node::Bytes(inner_header(delete.header_revision)));
                    self.delete(delete, &mut children);
                    3
                }
                OpAnswer::Txn(txn) => {
                    // An empty header, as etcd's nested answers have it.
                    children.push(Node::Bytes(vec![1 << 3 | 2, 0]));
                    self.txn(txn, &mut children);
                    4
                }
            };
            let message = Node::Message { field, children };
            out.push(Node::Message { field: 3, children: vec![message] });
        }
    }

    /// The whole answer, if what it reads is in memory and small; never waits for the disk. What its ranges read is pinned.
    pub(crate) fn now<E: Engine>(&self, reader: &Reader<E>) -> Result<Option<Ready<'_>>, ReadError> {
        let mut leaves = Vec::with_capacity(self.ranges.len());
        let mut bytes = 0;
        for (spec, _) in &self.ranges {
            let Some(leaf) = Leaf::look(reader, spec)? else { return Ok(None) };
            bytes += leaf.measure.bytes;
            if bytes > SMALL {
                return Ok(None);
            }
            leaves.push(leaf);
        }
        let measures = leaves.iter().map(|leaf| leaf.measure).collect();
        Ok(Some(Ready { plan: self, leaves, measures }))
    }

    /// One slice of measuring; `true` at the end. Blocks on the disk.
    pub(crate) fn measure<E: Engine>(&mut self, reader: &Reader<E>) -> Result<bool, ReadError> {
        let Some((spec, field)) = self.ranges.get(self.measures.len()) else { return Ok(true) };
        let cursor = self.measuring.get_or_insert_with(|| RangeCursor::new(spec.clone(), *field));
        if let Some(measure) = cursor.measure(reader, SliceLimit::WORK)? {
            self.measures.push(measure);
            self.measuring = None;
        }
        Ok(self.measures.len() == self.ranges.len())
    }

    /// Bytes that the next slice holds while it sorts: of measuring, or of making the measured answer as a whole.
    pub(crate) fn sorting_bytes(&self) -> u64 {
        if self.measures.len() < self.ranges.len() {
            return self.measuring.as_ref().map_or(0, RangeCursor::sorting_bytes);
        }
        self.measures.iter().map(|measure| measure.sorting.bytes()).max().unwrap_or(0)
    }

    /// Length of the measured answer.
    pub(crate) fn len(&self) -> u64 {
        Sized { measures: &self.measures }.len(&self.root)
    }

    /// Whether the measured answer is made in one go. Sorting makes it more than its length.
    pub(crate) fn is_small(&self) -> bool {
        let mut sorted = self.ranges.iter().zip(&self.measures).filter(|((spec, _), _)| spec.sort != SortField::Key);
        let rows = SliceLimit::WORK.rows as u64;
        self.len() <= SMALL
            && sorted.all(|(_, measure)| measure.count <= rows && measure.sorting.bytes() <= SORTED_FREE)
    }

    /// The measured answer in the order in which it is written, and the pin to hold meanwhile.
    pub(crate) fn into_parts(self) -> (Vec<Part>, Option<Pinned>) {
        let mut parts = Vec::new();
        let mut pending = Vec::new();
        Sized { measures: &self.measures }.write(&self.root, &mut |item| match item {
            Item::Bytes(bytes) => pending.extend_from_slice(bytes),
            Item::Pairs(range) => {
                let (spec, field) = &self.ranges[range];
                if self.measures[range].pairs > 0 {
                    if !pending.is_empty() {
                        parts.push(Part::Bytes(std::mem::take(&mut pending)));
                    }
                    let cursor = RangeCursor::measured(spec.clone(), *field, &self.measures[range]);
                    parts.push(Part::Pairs(Box::new(cursor)));
                }
            }
        });
        if !pending.is_empty() {
            parts.push(Part::Bytes(pending));
        }
        (parts, self.pin)
    }

    /// The measured answer as a whole: for small ones. Blocks on the disk.
    pub(crate) fn collect<E: Engine>(self, reader: &Reader<E>) -> Result<Vec<u8>, ReadError> {
        let mut out = Vec::with_capacity(usize::try_from(self.len()).unwrap_or(0));
        let (parts, pin) = self.into_parts();
        for part in parts {
            match part {
                Part::Bytes(bytes) => out.extend_from_slice(&bytes),
                Part::Pairs(mut cursor) => loop {
                    let mut pieces = Vec::new();
                    let more = cursor.produce(reader, SliceLimit::WORK, &mut pieces)?;
                    for piece in pieces {
                        match piece {
                            Piece::Bytes(bytes) => out.extend_from_slice(&bytes),
                            Piece::Blob { at, .. } => {
                                let value = reader.value(at, true, Tier::All)?;
                                out.extend_from_slice(&value.known().unwrap_or_default());
                            }
                        }
                    }
                    if !more {
                        break;
                    }
                },
            }
        }
        drop(pin);
        Ok(out)
    }
}

enum Item<'a> {
    Bytes(&'a [u8]),
    Pairs(usize),
}

/// The tree with the sizes of its leaves.
struct Sized<'a> {
    measures: &'a [RangeMeasure],
}

impl Sized<'_> {
    fn len(&self, nodes: &[Node]) -> u64 {
        let node_len = |node: &Node| match node {
            Node::Bytes(bytes) => bytes.len() as u64,
            Node::Pairs { range, counted } => {
                let measure = &self.measures[*range];
                measure.bytes + if *counted { tail_len(measure) } else { 0 }
            }
            Node::Message { children, .. } => field_len(self.len(children)),
        };
        nodes.iter().map(node_len).sum()
    }

    fn write(&self, nodes: &[Node], out: &mut dyn FnMut(Item<'_>)) {
        for node in nodes {
            match node {
                Node::Bytes(bytes) => out(Item::Bytes(bytes)),
                Node::Pairs { range, counted } => {
                    out(Item::Pairs(*range));
                    if *counted {
                        let mut tail = Vec::new();
                        put_tail(&mut tail, &self.measures[*range]);
                        out(Item::Bytes(&tail));
                    }
                }
                Node::Message { field, children } => {
                    let mut head = Vec::with_capacity(11);
                    put_head(&mut head, *field, self.len(children));
                    out(Item::Bytes(&head));
                    self.write(children, out);
                }
            }
        }
    }
}
