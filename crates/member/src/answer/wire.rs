//! The fixed parts of answers on the wire: headers, lengths, and what follows a range's pairs.

use bytes::BufMut;
use tidegate_base::{put_varint, varint_len};
use tidegate_kv::{RangeMeasure, put_number_field};

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
    pub(super) fn len(&self) -> u64 {
        field_len(self.message_len())
    }

    /// As field 1 of an answer.
    pub(super) fn put(&self, out: &mut impl BufMut) {
        put_head(out, 1, self.message_len());
        for (tag, number) in (1..).zip(self.fields()) {
            put_number_field(out, tag, number);
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48);
        self.put(&mut out);
        out
    }
}

/// A header inside another answer: only the revision.
pub(super) fn inner_header(revision: i64) -> Vec<u8> {
    Header { cluster_id: 0, member_id: 0, revision, term: 0 }.encode()
}

pub(super) fn put_head(out: &mut impl BufMut, field: u8, len: u64) {
    out.put_u8(field << 3 | 2);
    put_varint(out, len);
}

fn number_field_len(number: i64) -> u64 {
    if number == 0 { 0 } else { 1 + varint_len(number.cast_unsigned()) as u64 }
}

/// Length of a message of `len` bytes as a field, its tag and length included.
pub(super) fn field_len(len: u64) -> u64 {
    1 + varint_len(len) as u64 + len
}

/// `more` and `count` of a `RangeResponse`.
pub(super) fn put_tail(out: &mut impl BufMut, measure: &RangeMeasure) {
    put_number_field(out, 3, measure.more.into());
    put_number_field(out, 4, measure.count.cast_signed());
}

pub(super) fn tail_len(measure: &RangeMeasure) -> u64 {
    number_field_len(measure.more.into()) + number_field_len(measure.count.cast_signed())
}
