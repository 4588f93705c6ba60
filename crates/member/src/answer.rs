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

use std::time::Instant;

use bytes::{BufMut, Bytes};
use tidegate_api::KeyRange;
use tidegate_base::clock;
use tidegate_engine::{Engine, Lookup, Tier};
use tidegate_kv::{
    Answer, DeleteAnswer, Info, OpAnswer, Piece, Pin, PutAnswer, RangeAnswer, RangeCursor, RangeMeasure, RangeSpec,
    ReadError, Reader, SliceLimit, TxnAnswer, Version, pair_len, put_number_field, put_pair,
};

/// Answers up to this size are made in one go.
const SMALL: u64 = 24 << 10;
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
    fn fields(&self) -> [i64; 4] {
        [self.cluster_id.cast_signed(), self.member_id.cast_signed(), self.revision, self.term.cast_signed()]
    }

    fn message_len(&self) -> u64 {
        self.fields().into_iter().map(number_field_len).sum()
    }

    /// Length as field 1 of an answer.
    fn len(&self) -> u64 {
        field_len(self.message_len())
    }

    /// As field 1 of an answer.
    fn put(&self, out: &mut impl BufMut) {
        put_head(out, 1, self.message_len());
        for (tag, number) in (1..).zip(self.fields()) {
            put_number_field(out, tag, number);
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48);
        self.put(&mut out);
        out
    }
}

/// A header inside another answer: only the revision.
fn inner_header(revision: i64) -> Vec<u8> {
    Header { cluster_id: 0, member_id: 0, revision, term: 0 }.encode()
}

fn put_head(out: &mut impl BufMut, field: u8, len: u64) {
    out.put_u8(field << 3 | 2);
    put_varint(out, len);
}

fn put_varint(out: &mut impl BufMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8(u8::try_from(number & 0x7f).expect("seven bits") | 0x80);
        number >>= 7;
    }
    out.put_u8(u8::try_from(number).expect("less than 128 is left"));
}

fn varint_len(number: u64) -> u64 {
    u64::from((70 - (number | 1).leading_zeros()) / 7)
}

fn number_field_len(number: i64) -> u64 {
    if number == 0 { 0 } else { 1 + varint_len(number.cast_unsigned()) }
}

/// Length of a message of `len` bytes as a field, its tag and length included.
fn field_len(len: u64) -> u64 {
    1 + varint_len(len) + len
}

/// A pair that was found in memory.
struct Pair {
    at: Version,
    info: Info,
    value: Bytes,
    lease: i64,
}

/// What a range of one key came to, from memory.
struct Leaf {
    measure: RangeMeasure,
    pair: Option<Pair>,
}

impl Leaf {
    /// `None` when the range is of more than one key, needs the disk, or is not small.
    fn look<E: Engine>(reader: &Reader<E>, spec: &RangeSpec) -> Result<Option<Self>, ReadError> {
        let KeyRange::One(key) = &spec.range else { return Ok(None) };
        let found = match reader.find(key, spec.bound, Tier::Cached)? {
            Lookup::Found(Some(found)) => found,
            Lookup::Found(None) => return Ok(Some(Self { measure: RangeMeasure::default(), pair: None })),
            Lookup::Absent | Lookup::NotCached => return Ok(None),
        };
        let mut measure = RangeMeasure { count: 1, ..RangeMeasure::default() };
        if spec.count_only {
            return Ok(Some(Self { measure, pair: None }));
        }
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
        let lease = if spec.keys_only { 0 } else { found.info.lease };
        let pair = Pair { at: found.at, info: found.info, value, lease };
        measure.pairs = 1;
        measure.bytes = field_len(pair.len(key));
        Ok(Some(Self { measure, pair: Some(pair) }))
    }

    fn put(&self, out: &mut impl BufMut, spec: &RangeSpec, field: u8) {
        if let Some(pair) = &self.pair {
            let key = spec.range.start();
            put_head(out, field, pair.len(key));
            put_pair(out, key, pair.at, &pair.info, &pair.value, pair.lease);
        }
    }
}

impl Pair {
    fn len(&self, key: &[u8]) -> u64 {
        pair_len(key.len(), self.at, &self.info, self.value.len() as u64, self.lease)
    }
}

/// A `RangeResponse` of one key, from memory: the answer to most reads. It took no pin and made no plan.
pub(crate) struct Point {
    header: Header,
    spec: RangeSpec,
    leaf: Leaf,
}

impl Point {
    /// `None` when it needs the long way.
    pub(crate) fn look<E: Engine>(
        reader: &Reader<E>,
        header: Header,
        spec: RangeSpec,
    ) -> Result<Option<Self>, ReadError> {
        let leaf = Leaf::look(reader, &spec)?;
        // A compaction may have passed the bound in between, and taken rows away that the read should have seen.
        Ok(leaf.filter(|_| reader.is_whole(spec.bound)).map(|leaf| Self { header, spec, leaf }))
    }

    pub(crate) fn len(&self) -> usize {
        let len = self.header.len() + self.leaf.measure.bytes + tail_len(&self.leaf.measure);
        usize::try_from(len).expect("a small answer")
    }

    pub(crate) fn put(&self, out: &mut impl BufMut) {
        self.header.put(out);
        self.leaf.put(out, &self.spec, PAIRS_OF_RANGE);
        put_tail(out, &self.leaf.measure);
    }
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

    /// Length of the measured answer.
    pub(crate) fn len(&self) -> u64 {
        Sized { measures: &self.measures }.len(&self.root)
    }

    pub(crate) fn is_small(&self) -> bool {
        self.len() <= SMALL
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
                    parts.push(Part::Pairs(RangeCursor::new(spec.clone(), *field)));
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

/// `more` and `count` of a `RangeResponse`.
fn put_tail(out: &mut impl BufMut, measure: &RangeMeasure) {
    put_number_field(out, 3, measure.more.into());
    put_number_field(out, 4, measure.count.cast_signed());
}

fn tail_len(measure: &RangeMeasure) -> u64 {
    number_field_len(measure.more.into()) + number_field_len(measure.count.cast_signed())
}
