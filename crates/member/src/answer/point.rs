//! Answers to reads of one key that memory holds.

use bytes::{BufMut, Bytes};
use tidegate_api::KeyRange;
use tidegate_engine::{Engine, Lookup, Tier};
use tidegate_kv::{Info, RangeMeasure, RangeSpec, ReadError, Reader, Version, pair_len, put_pair};

use super::{
    PAIRS_OF_RANGE, SMALL,
    wire::{Header, field_len, put_head, put_tail, tail_len},
};

/// A pair that was found in memory.
struct Pair {
    at: Version,
    info: Info,
    value: Bytes,
    lease: i64,
}

/// What a range of one key came to, from memory.
pub(super) struct Leaf {
    pub(super) measure: RangeMeasure,
    pair: Option<Pair>,
}

impl Leaf {
    /// `None` when the range is of more than one key, needs the disk, or is not small.
    pub(super) fn look<E: Engine>(reader: &Reader<E>, spec: &RangeSpec) -> Result<Option<Self>, ReadError> {
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
        if !spec.revisions.admit(found.at.main, found.info.create) {
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
        let (_, lease) = spec.sent(&found.info);
        let pair = Pair { at: found.at, info: found.info, value, lease };
        measure.pairs = 1;
        measure.bytes = field_len(pair.len(key));
        Ok(Some(Self { measure, pair: Some(pair) }))
    }

    pub(super) fn put(&self, out: &mut impl BufMut, spec: &RangeSpec, field: u8) {
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
