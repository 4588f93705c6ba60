//! Ranges of pairs in two passes: the first sums lengths and reads no value, the second gives the encoded pairs.
//!
//! Neither keeps an iterator between slices: the position is a key, and consistency comes from the bound. Sorted by another
//! field than the key, each pass is several walks over the range: see [`sort`].

mod sort;
mod walk;

use bytes::{BufMut, Bytes};
use tidegate_api::KeyRange;
use tidegate_engine::{Engine, Order, Tier};

pub(super) use self::walk::Walk;
pub(crate) use self::walk::head_span;
use self::{
    sort::{Ranking, Step},
    walk::Live,
};
use super::{ReadError, Reader, wire};
use crate::{Bound, Version, rows::Info};

/// A field of pairs that they can be sorted by. Pairs that are equal in it come in key order, whatever the direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortField {
    Key,
    Version,
    Create,
    Mod,
    Value,
}

/// Least and largest revisions of the pairs that are wanted; 0 is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Revisions {
    pub mod_min: i64,
    pub mod_max: i64,
    pub create_min: i64,
    pub create_max: i64,
}

impl Revisions {
    /// Whether a pair of these revisions is wanted.
    pub fn admit(&self, modified: i64, created: i64) -> bool {
        let inside = |revision: i64, min: i64, max: i64| (min == 0 || revision >= min) && (max == 0 || revision <= max);
        inside(modified, self.mod_min, self.mod_max) && inside(created, self.create_min, self.create_max)
    }
}

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeSpec {
    pub range: KeyRange,
    pub bound: Bound,
    pub sort: SortField,
    pub order: Order,
    /// Only the first so many pairs in key order are sorted; 0 is all of them. Never together with `revisions`.
    pub sorted_max: u64,
    /// Most pairs; 0 is no limit.
    pub limit: u64,
    pub revisions: Revisions,
    /// No values.
    pub keys_only: bool,
    pub count_only: bool,
}

impl RangeSpec {
    /// All pairs of `range`, in key order.
    pub fn all(range: KeyRange, bound: Bound) -> Self {
        Self {
            range,
            bound,
            sort: SortField::Key,
            order: Order::Ascending,
            sorted_max: 0,
            limit: 0,
            revisions: Revisions::default(),
            keys_only: false,
            count_only: false,
        }
    }

    /// Length of the value, and the lease, as they are sent. Keys alone come without leases, as etcd 3.7 reads them from its
    /// index; not when it has to sort values.
    pub fn sent(&self, info: &Info) -> (u64, i64) {
        match (self.keys_only, self.sort) {
            (false, _) => (info.value_len, info.lease),
            (true, SortField::Value) => (0, info.lease),
            (true, _) => (0, 0),
        }
    }

    /// Length of a pair as a repeated field.
    fn field_len(&self, key: &[u8], at: Version, info: &Info) -> u64 {
        let (value_len, lease) = self.sent(info);
        wire::pair_field_len(wire::pair_len(key.len(), at, info, value_len, lease))
    }

    fn limit(&self) -> u64 {
        if self.limit == 0 { u64::MAX } else { self.limit }
    }
}

/// Where a slice of work ends.
#[derive(Debug, Clone, Copy)]
pub struct SliceLimit {
    pub rows: usize,
    pub bytes: usize,
}

impl SliceLimit {
    /// About a millisecond of work.
    pub const WORK: Self = Self { rows: 1000, bytes: 256 << 10 };
}

/// Result of the first pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RangeMeasure {
    /// Keys in the whole range, whatever the limit.
    pub count: u64,
    /// Pairs that the answer has.
    pub pairs: u64,
    /// Their encoded length, tags included.
    pub bytes: u64,
    /// There are more than the limit.
    pub more: bool,
    /// What sorting them takes.
    pub sorting: Sorting,
}

/// Bytes that sorting the pairs of a range holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sorting {
    /// Pairs that are ranked at once: their keys, and what they are compared by.
    heap: u64,
    /// The longest key.
    key: u64,
    /// What is held of each value.
    prefix: u64,
    /// Values that agree in what is held of them are read to be compared, two at once.
    values: u64,
}

impl Sorting {
    /// All of it.
    pub fn bytes(&self) -> u64 {
        self.heap + self.values
    }

    /// The same with less memory, and so with more walks: the order is the same.
    #[must_use]
    pub fn within(self, heap: u64, prefix: u64) -> Self {
        Self { heap: self.heap.min(heap), prefix: self.prefix.min(prefix), ..self }
    }
}

/// A piece of the second pass: encoded bytes, or a large value on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Bytes(Bytes),
    /// A value of so many bytes, to be fetched with [`Reader::value`] once they are leased.
    Blob {
        at: Version,
        len: u64,
    },
}

/// One pass over a range.
#[derive(Debug)]
pub struct RangeCursor {
    spec: RangeSpec,
    /// First byte of each pair: the number of its field, and that a length follows.
    tag: u8,
    walk: Walk,
    /// Of pairs in another order than that of their keys, once it is known what sorting them takes.
    ranking: Option<Box<Ranking>>,
    left: u64,
    measure: RangeMeasure,
}

impl RangeCursor {
    /// The first pass. Pairs are encoded as the repeated field number `field` of their message.
    pub fn new(spec: RangeSpec, field: u8) -> Self {
        let order = if spec.sort == SortField::Key { spec.order } else { Order::Ascending };
        let walk = Walk::new(&spec.range, spec.bound, order);
        let left = spec.limit();
        Self { spec, tag: field << 3 | 2, walk, ranking: None, left, measure: RangeMeasure::default() }
    }

    /// The second pass over what came to `measure` in the first.
    pub fn measured(spec: RangeSpec, field: u8, measure: &RangeMeasure) -> Self {
        let mut cursor = Self::new(spec, field);
        cursor.left = measure.pairs;
        if cursor.spec.sort != SortField::Key {
            cursor.ranking = Some(Box::new(Ranking::new(&cursor.spec, measure.sorting)));
        }
        cursor
    }

    pub fn spec(&self) -> &RangeSpec {
        &self.spec
    }

    /// Bytes that the next slice may hold besides what it gives: to be leased by who calls for it.
    pub fn sorting_bytes(&self) -> u64 {
        self.ranking.as_ref().map_or(0, |ranking| ranking.sorting().bytes())
    }

    /// Gives back what the ranking holds. It is made anew when it goes on, by one more walk.
    pub fn forget(&mut self) {
        if let Some(ranking) = &mut self.ranking {
            ranking.forget();
        }
    }

    /// Goes on with the first pass; `Some` at its end. Needs no pin for `count`-only answers of now; else the caller holds one.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn measure<E: Engine>(
        &mut self,
        reader: &Reader<E>,
        limit: SliceLimit,
    ) -> Result<Option<RangeMeasure>, ReadError> {
        if self.ranking.is_some() {
            return self.measure_ranked(reader, limit);
        }
        let sorts = self.spec.sort != SortField::Key && !self.spec.count_only;
        // Sorted, all pairs are summed: which of them the limit leaves is seen only in their order.
        let most = if sorts { sorted_max(&self.spec) } else { self.spec.limit() };
        let (spec, mut measure, mut rows) = (&self.spec, self.measure, 0);
        self.walk.step(reader, |key, row| {
            rows += 1;
            if let Some(live) = row {
                measure.count += 1;
                if spec.count_only || !spec.revisions.admit(live.at.main, live.info.create) {
                } else if measure.pairs == most {
                    measure.more = true;
                } else {
                    measure.pairs += 1;
                    measure.bytes += spec.field_len(key, live.at, &live.info);
                    if sorts {
                        sort::count(&mut measure.sorting, spec, key, &live.info);
                    }
                }
            }
            rows < limit.rows
        })?;
        self.measure = measure;
        if !self.walk.is_done() {
            return Ok(None);
        }
        if sorts {
            sort::settle(&mut self.measure);
            self.measure.more = self.measure.pairs > self.spec.limit();
            if self.measure.more {
                (self.measure.pairs, self.measure.bytes) = (0, 0);
                self.ranking = Some(Box::new(Ranking::new(&self.spec, self.measure.sorting)));
                return Ok(None);
            }
        }
        Ok(Some(self.measure))
    }

    fn measure_ranked<E: Engine>(
        &mut self,
        reader: &Reader<E>,
        limit: SliceLimit,
    ) -> Result<Option<RangeMeasure>, ReadError> {
        let Some(ranking) = &mut self.ranking else { return Ok(Some(self.measure)) };
        for _ in 0..limit.rows {
            match ranking.step(reader, limit, self.left)? {
                Step::Busy => return Ok(None),
                Step::Next(pair) => {
                    self.left -= 1;
                    self.measure.pairs += 1;
                    self.measure.bytes += self.spec.field_len(&pair.key, pair.at, &pair.info);
                }
                Step::End => {
                    self.ranking = None;
                    return Ok(Some(self.measure));
                }
            }
        }
        Ok(None)
    }

    /// Goes on with the second pass: pushes encoded pairs, and at most about `limit.bytes`; nothing while it sorts. `false` at
    /// the end.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn produce<E: Engine>(
        &mut self,
        reader: &Reader<E>,
        limit: SliceLimit,
        out: &mut Vec<Piece>,
    ) -> Result<bool, ReadError> {
        if self.left == 0 || self.spec.count_only {
            return Ok(false);
        }
        let mut writer = Writer { spec: &self.spec, tag: self.tag, buffer: Vec::new(), out };
        let (mut left, mut rows) = (self.left, 0);
        if let Some(ranking) = &mut self.ranking {
            while left > 0 && rows < limit.rows && writer.goes_on(limit) {
                match ranking.step(reader, limit, left)? {
                    Step::Busy => break,
                    Step::End => left = 0,
                    Step::Next(pair) => {
                        (left, rows) = (left - 1, rows + 1);
                        let live = Live { at: pair.at, info: pair.info, value: None, blob: pair.blob };
                        writer.pair(reader, &pair.key, &live)?;
                    }
                }
            }
        } else {
            let (spec, mut failed) = (&self.spec, None);
            self.walk.step(reader, |key, row| {
                rows += 1;
                if let Some(live) = row.filter(|live| spec.revisions.admit(live.at.main, live.info.create)) {
                    left -= 1;
                    if let Err(error) = writer.pair(reader, key, &live) {
                        failed = Some(error);
                        return false;
                    }
                }
                left > 0 && rows < limit.rows && writer.goes_on(limit)
            })?;
            if let Some(error) = failed {
                return Err(error);
            }
            if self.walk.is_done() {
                left = 0;
            }
        }
        writer.end();
        self.left = left;
        Ok(left > 0)
    }
}

/// How many pairs are sorted at most.
fn sorted_max(spec: &RangeSpec) -> u64 {
    if spec.sorted_max == 0 { u64::MAX } else { spec.sorted_max }
}

/// Encodes pairs into pieces.
struct Writer<'a> {
    spec: &'a RangeSpec,
    tag: u8,
    buffer: Vec<u8>,
    out: &'a mut Vec<Piece>,
}

impl Writer<'_> {
    fn pair<E: Engine>(&mut self, reader: &Reader<E>, key: &[u8], live: &Live<'_>) -> Result<(), ReadError> {
        let (value_len, lease) = self.spec.sent(&live.info);
        self.buffer.push(self.tag);
        tidegate_base::put_varint(&mut self.buffer, wire::pair_len(key.len(), live.at, &live.info, value_len, lease));
        wire::put_pair_start(&mut self.buffer, key, live.at, &live.info, value_len);
        if value_len > 0 {
            if live.blob {
                self.out.push(Piece::Bytes(std::mem::take(&mut self.buffer).into()));
                self.out.push(Piece::Blob { at: live.at, len: value_len });
            } else if let Some(value) = live.value {
                self.buffer.put_slice(value);
            } else {
                let value = reader.value(live.at, false, Tier::All)?;
                self.buffer.put_slice(&value.known().unwrap_or_default());
            }
        }
        wire::put_pair_end(&mut self.buffer, lease);
        Ok(())
    }

    /// A large value ends the slice: it is sent before the next is read.
    fn goes_on(&self, limit: SliceLimit) -> bool {
        self.buffer.len() < limit.bytes && self.out.len() < 2
    }

    fn end(self) {
        if !self.buffer.is_empty() {
            self.out.push(Piece::Bytes(self.buffer.into()));
        }
    }
}
