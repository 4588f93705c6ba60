//! A pair as it stands in answers: lengths before bytes, so that an answer's length is known from its rows alone.

use bytes::BufMut;
use tidegate_base::{put_varint, varint_len};

use crate::{Version, rows::Info};

const fn signed_field_len(number: i64) -> usize {
    if number == 0 { 0 } else { 1 + varint_len(number.cast_unsigned()) }
}

const fn bytes_field_len(len: u64) -> u64 {
    if len == 0 { 0 } else { 1 + varint_len(len) as u64 + len }
}

/// A protobuf field of a number: nothing for zero.
pub fn put_number_field(out: &mut impl BufMut, tag: u8, number: i64) {
    if number != 0 {
        out.put_u8(tag << 3);
        put_varint(out, number.cast_unsigned());
    }
}

fn put_bytes_head(out: &mut impl BufMut, tag: u8, len: u64) {
    if len != 0 {
        out.put_u8(tag << 3 | 2);
        put_varint(out, len);
    }
}

/// Length of a `mvccpb.KeyValue` of this key and version. `value_len` is what is sent of the value: 0 for keys only.
pub fn pair_len(key_len: usize, at: Version, info: &Info, value_len: u64, lease: i64) -> u64 {
    bytes_field_len(key_len as u64)
        + bytes_field_len(value_len)
        + (signed_field_len(info.create)
            + signed_field_len(at.main)
            + signed_field_len(info.version)
            + signed_field_len(lease)) as u64
}

/// Length of the pair as a repeated field, its tag and length included.
pub(super) fn pair_field_len(pair: u64) -> u64 {
    1 + varint_len(pair) as u64 + pair
}

/// Everything of a pair before the bytes of its value; [`put_pair_end`] follows them.
pub(super) fn put_pair_start(out: &mut impl BufMut, key: &[u8], at: Version, info: &Info, value_len: u64) {
    put_bytes_head(out, 1, key.len() as u64);
    out.put_slice(key);
    put_number_field(out, 2, info.create);
    put_number_field(out, 3, at.main);
    put_number_field(out, 4, info.version);
    put_bytes_head(out, 5, value_len);
}

pub(super) fn put_pair_end(out: &mut impl BufMut, lease: i64) {
    put_number_field(out, 6, lease);
}

/// A whole `mvccpb.KeyValue`.
pub fn put_pair(out: &mut impl BufMut, key: &[u8], at: Version, info: &Info, value: &[u8], lease: i64) {
    put_pair_start(out, key, at, info, value.len() as u64);
    out.put_slice(value);
    put_pair_end(out, lease);
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use tidegate_api::pb::mvccpb::KeyValue;

    use super::*;

    #[test]
    fn length_and_bytes_are_those_of_the_message() {
        let numbers = [0, 1, 127, 128, 16_384, i64::MAX, -1];
        for (n, create) in numbers.into_iter().enumerate() {
            for value_len in [0usize, 1, 127, 128, 20_000] {
                let lease = numbers[(n + 3) % numbers.len()];
                let at = Version::new(numbers[(n + 1) % numbers.len()], 9);
                let info =
                    Info { deleted: false, create, version: numbers[(n + 2) % numbers.len()], lease, value_len: 0 };
                let key = vec![7; n];
                let value = vec![1; value_len];
                let pair = KeyValue {
                    key: key.clone().into(),
                    create_revision: create,
                    mod_revision: at.main,
                    version: info.version,
                    value: value.clone().into(),
                    lease,
                };
                let mut out = Vec::new();
                put_pair_start(&mut out, &key, at, &info, value_len as u64);
                out.extend_from_slice(&value);
                put_pair_end(&mut out, lease);
                assert_eq!(out, pair.encode_to_vec());
                assert_eq!(pair_len(n, at, &info, value_len as u64, lease), out.len() as u64);
            }
        }
    }
}
