//! Ranges of pairs in two passes: the first sums lengths and reads no value, the second gives the encoded pairs.
//!
//! Neither keeps an iterator between slices: the position is a key, and consistency comes from the bound.

use bytes::{BufMut, Bytes};
use tidegate_api::KeyRange;
use tidegate_engine::{Cursor, Engine, Order, Scan, Space, Tier};

use super::{ReadError, Reader, get::Older, wire};
use crate::{
    Bound, Version,
    rows::{HeadRow, Info, head_key, head_user_key},
};

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeSpec {
    pub range: KeyRange,
    pub bound: Bound,
    pub order: Order,
    /// Most pairs; 0 is no limit.
    pub limit: u64,
    /// No values, and no leases either: so does etcd 3.7.
    pub keys_only: bool,
    pub count_only: bool,
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
#[derive(Debug, Clone)]
pub struct RangeCursor {
    spec: RangeSpec,
    /// First byte of each pair: the number of its field, and that a length follows.
    tag: u8,
    /// The next row to look at (ascending: from here on; descending: below here).
    position: Vec<u8>,
    other_end: Vec<u8>,
    left: u64,
    done: bool,
    measure: RangeMeasure,
}

impl RangeCursor {
    /// Pairs are encoded as the repeated field number `field` of their message.
    pub fn new(spec: RangeSpec, field: u8) -> Self {
        let (lower, upper) = head_span(&spec.range);
        let done = lower >= upper;
        let (position, other_end) = match spec.order {
            Order::Ascending => (lower, upper),
            Order::Descending => (upper, lower),
        };
        let left = if spec.limit == 0 { u64::MAX } else { spec.limit };
        let tag = field << 3 | 2;
        Self { spec, tag, position, other_end, left, done, measure: RangeMeasure::default() }
    }

    pub fn spec(&self) -> &RangeSpec {
        &self.spec
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
        let (keys_only, count_only) = (self.spec.keys_only, self.spec.count_only);
        let mut measure = self.measure;
        let mut left = self.left;
        let mut rows = 0;
        self.walk(reader, |key, row| {
            rows += 1;
            if let Some(Live { at, info, .. }) = row {
                measure.count += 1;
                if count_only {
                } else if left == 0 {
                    measure.more = true;
                } else {
                    left -= 1;
                    measure.pairs += 1;
                    let (value_len, lease) = sent(&info, keys_only);
                    measure.bytes += wire::pair_field_len(wire::pair_len(key.len(), at, &info, value_len, lease));
                }
            }
            rows < limit.rows
        })?;
        (self.measure, self.left) = (measure, left);
        Ok(self.done.then_some(self.measure))
    }

    /// Goes on with the second pass: pushes encoded pairs, at least one, and at most about `limit.bytes`. `false` at the end.
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
        let (keys_only, tag) = (self.spec.keys_only, self.tag);
        let mut buffer = Vec::new();
        let mut left = self.left;
        let mut rows = 0;
        let mut failed = None;
        self.walk(reader, |key, row| {
            rows += 1;
            if let Some(live) = row {
                left -= 1;
                let (value_len, lease) = sent(&live.info, keys_only);
                buffer.push(tag);
                tidegate_base::put_varint(
                    &mut buffer,
                    wire::pair_len(key.len(), live.at, &live.info, value_len, lease),
                );
                wire::put_pair_start(&mut buffer, key, live.at, &live.info, value_len);
                if value_len > 0 {
                    if live.blob {
                        out.push(Piece::Bytes(std::mem::take(&mut buffer).into()));
                        out.push(Piece::Blob { at: live.at, len: value_len });
                    } else if let Some(value) = live.value {
                        buffer.put_slice(value);
                    } else {
                        match reader.value(live.at, false, Tier::All) {
                            Ok(value) => buffer.put_slice(&value.known().unwrap_or_default()),
                            Err(error) => {
                                failed = Some(error);
                                return false;
                            }
                        }
                    }
                }
                wire::put_pair_end(&mut buffer, lease);
            }
            // A large value ends the slice: it is sent before the next is read.
            left > 0 && rows < limit.rows && buffer.len() < limit.bytes && out.len() < 2
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        self.left = left;
        if !buffer.is_empty() {
            out.push(Piece::Bytes(buffer.into()));
        }
        Ok(!self.done && left > 0 && !self.spec.count_only)
    }

    /// Visits rows from the position on, until `visit` says stop or the range ends. A row without a pair at the bound is
    /// visited as `None`: it costs time too.
    fn walk<E: Engine>(
        &mut self,
        reader: &Reader<E>,
        mut visit: impl FnMut(&[u8], Option<Live<'_>>) -> bool,
    ) -> Result<(), ReadError> {
        if self.done {
            return Ok(());
        }
        let ascending = self.spec.order == Order::Ascending;
        let (lower, upper) =
            if ascending { (&self.position, &self.other_end) } else { (&self.other_end, &self.position) };
        let scan = Scan { lower, upper, order: self.spec.order, fill_cache: true };
        let mut cursor = reader.engine.scan(Space::Head, scan)?;
        let mut versions = Older::new(&*reader.engine, lower, upper);
        while let Some((row_key, row)) = cursor.next()? {
            let head = HeadRow::decode(row_key, row)?;
            let key = head_user_key(row_key).unwrap_or_default();
            let live = if self.spec.bound.sees(head.at) {
                Some(Live { at: head.at, info: head.info, value: head.value, blob: head.blob })
            } else {
                let older = versions.before(key, self.spec.bound)?;
                older.map(|row| Live { at: row.at, info: row.info, value: None, blob: row.blob })
            };
            let more = visit(key, live.filter(|live| !live.info.deleted));
            if !more {
                let mut position = row_key.to_vec();
                if ascending {
                    position.push(0);
                }
                drop((cursor, versions));
                self.position = position;
                return Ok(());
            }
        }
        drop((cursor, versions));
        self.done = true;
        Ok(())
    }
}

struct Live<'a> {
    at: Version,
    info: Info,
    value: Option<&'a [u8]>,
    blob: bool,
}

/// Length of the value, and the lease, as they are sent.
fn sent(info: &Info, keys_only: bool) -> (u64, i64) {
    if keys_only { (0, 0) } else { (info.value_len, info.lease) }
}

/// First row and end of a range in `head`.
pub(crate) fn head_span(range: &KeyRange) -> (Vec<u8>, Vec<u8>) {
    let lower = head_key(range.start());
    let upper = match range {
        KeyRange::One(_) => {
            let mut end = lower.clone();
            end.push(0);
            end
        }
        KeyRange::From(_) => vec![b'k' + 1],
        KeyRange::Span(_, end) => head_key(end),
    };
    (lower, upper)
}
