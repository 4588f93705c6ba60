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

use bytes::Bytes;
use tidegate_api::KeyRange;
use tidegate_engine::{Engine, Lookup, Tier};
use tidegate_kv::{
    Answer, DeleteAnswer, OpAnswer, Piece, Pin, PutAnswer, RangeAnswer, RangeCursor, RangeMeasure, RangeSpec,
    ReadError, Reader, SliceLimit, TxnAnswer, put_number_field,
};

/// Answers up to this size are made in one go.
const SMALL: u64 = 24 << 10;

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
    /// Keeps what the ranges read; none is needed for what one look answers.
    _pin: Option<Pin>,
}

/// What is written, in order.
#[derive(Debug)]
pub(crate) enum Part {
    Bytes(Vec<u8>),
    Pairs(RangeCursor),
}

/// The numbers in every answer's header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) cluster_id: u64,
    pub(crate) member_id: u64,
    pub(crate) revision: i64,
    pub(crate) term: u64,
}

impl Header {
    /// As field 1 of an answer.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(48);
        put_number_field(&mut message, 1, self.cluster_id.cast_signed());
        put_number_field(&mut message, 2, self.member_id.cast_signed());
        put_number_field(&mut message, 3, self.revision);
        put_number_field(&mut message, 4, self.term.cast_signed());
        let mut out = Vec::with_capacity(message.len() + 2);
        put_head(&mut out, 1, message.len() as u64);
        out.extend_from_slice(&message);
        out
    }
}

/// A header inside another answer: only the revision.
fn inner_header(revision: i64) -> Vec<u8> {
    Header { cluster_id: 0, member_id: 0, revision, term: 0 }.encode()
}

fn put_head(out: &mut Vec<u8>, field: u8, len: u64) {
    out.push(field << 3 | 2);
    put_varint(out, len);
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).expect("seven bits") | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).expect("less than 128 is left"));
}

fn varint_len(number: u64) -> u64 {
    u64::from((70 - (number | 1).leading_zeros()) / 7)
}

impl Plan {
    /// A `RangeResponse`.
    pub(crate) fn range(header: &Header, spec: RangeSpec, pin: Option<Pin>) -> Self {
        let mut plan = Self::empty(pin);
        let pairs = plan.pairs(spec, 2, true);
        plan.root = vec![Node::Bytes(header.encode()), pairs];
        plan
    }

    /// The answer of an applied entry, as the message of its method.
    pub(crate) fn applied(header: &Header, answer: Answer, pin: Option<Pin>) -> Self {
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

    fn empty(pin: Option<Pin>) -> Self {
        Self { root: Vec::new(), ranges: Vec::new(), measures: Vec::new(), measuring: None, _pin: pin }
    }

    fn pairs(&mut self, spec: RangeSpec, field: u8, counted: bool) -> Node {
        self.ranges.push((spec, field));
        Node::Pairs { range: self.ranges.len() - 1, counted }
    }

    fn put(&mut self, put: PutAnswer, out: &mut Vec<Node>) {
        if let Some(previous) = put.previous {
            let spec = RangeSpec {
                range: KeyRange::One(previous.key),
                bound: previous.bound,
                order: tidegate_engine::Order::Ascending,
                limit: 0,
                keys_only: false,
                count_only: false,
            };
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

    /// The whole answer, if what it reads is in memory and small; never waits for the disk.
    pub(crate) fn now<E: Engine>(&self, reader: &Reader<E>) -> Result<Option<Vec<u8>>, ReadError> {
        let mut bodies = Vec::with_capacity(self.ranges.len());
        let mut measures = Vec::with_capacity(self.ranges.len());
        for (spec, field) in &self.ranges {
            let KeyRange::One(key) = &spec.range else { return Ok(None) };
            let found = match reader.find(key, spec.bound, Tier::Cached)? {
                Lookup::Found(found) => found,
                Lookup::Absent | Lookup::NotCached => return Ok(None),
            };
            let Some(found) = found else {
                measures.push(RangeMeasure::default());
                bodies.push(Vec::new());
                continue;
            };
            if spec.count_only {
                measures.push(RangeMeasure { count: 1, ..RangeMeasure::default() });
                bodies.push(Vec::new());
                continue;
            }
            let lease = if spec.keys_only { 0 } else { found.info.lease };
            let value = if spec.keys_only || found.info.value_len == 0 {
                Bytes::new()
            } else if let Some(value) = found.value {
                value
            } else if found.blob || found.info.value_len > SMALL {
                return Ok(None);
            } else {
                match reader.value(found.at, false, Tier::Cached) {
                    Ok(Lookup::Found(value)) => value,
                    // Gone meanwhile: the long way takes a pin and tells.
                    Ok(Lookup::NotCached | Lookup::Absent) | Err(ReadError::Compacted(_)) => return Ok(None),
                    Err(error) => return Err(error),
                }
            };
            let mut pair = Vec::with_capacity(key.len() + value.len() + 40);
            let len = tidegate_kv::pair_len(key.len(), found.at, &found.info, value.len() as u64, lease);
            put_head(&mut pair, *field, len);
            tidegate_kv::put_pair(&mut pair, key, found.at, &found.info, &value, lease);
            measures.push(RangeMeasure { count: 1, pairs: 1, bytes: pair.len() as u64, more: false });
            bodies.push(pair);
        }
        let sized = Sized { measures: &measures };
        let mut out = Vec::new();
        sized.write(&self.root, &mut |item| match item {
            Item::Bytes(bytes) => out.extend_from_slice(bytes),
            Item::Pairs(range) => out.extend_from_slice(&bodies[range]),
        });
        Ok(Some(out))
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

    /// Length of the measured answer.
    pub(crate) fn len(&self) -> u64 {
        Sized { measures: &self.measures }.len(&self.root)
    }

    pub(crate) fn is_small(&self) -> bool {
        self.len() <= SMALL
    }

    /// The measured answer in the order in which it is written, and the pin to hold meanwhile.
    pub(crate) fn into_parts(self) -> (Vec<Part>, Option<Pin>) {
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
                    parts.push(Part::Pairs(RangeCursor::new(spec.clone(), *field)));
                }
            }
        });
        if !pending.is_empty() {
            parts.push(Part::Bytes(pending));
        }
        (parts, self._pin)
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
                let tail = if *counted { tail(&self.measures[*range]).len() as u64 } else { 0 };
                self.measures[*range].bytes + tail
            }
            Node::Message { children, .. } => {
                let len = self.len(children);
                1 + varint_len(len) + len
            }
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
                        out(Item::Bytes(&tail(&self.measures[*range])));
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

/// `more` and `count` of a `RangeResponse`.
fn tail(measure: &RangeMeasure) -> Vec<u8> {
    let mut out = Vec::new();
    put_number_field(&mut out, 3, measure.more.into());
    put_number_field(&mut out, 4, measure.count.cast_signed());
    out
}
