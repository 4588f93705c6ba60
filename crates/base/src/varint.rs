//! LEB128: seven bits a byte, the low ones first. Protobuf's numbers, and those in our rows.

use bytes::BufMut;

/// Bytes that `number` takes: 1 to 10.
pub const fn varint_len(number: u64) -> usize {
    (70 - (number | 1).leading_zeros() as usize) / 7
}

pub fn put_varint(out: &mut impl BufMut, mut number: u64) {
    while number >= 0x80 {
        #[expect(clippy::cast_possible_truncation, reason = "seven bits are taken at a time")]
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "less than 128 is left")]
    out.put_u8(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_what_is_written() {
        for (number, bytes) in [(0, &[0][..]), (127, &[127]), (128, &[128, 1]), (300, &[0xac, 2])] {
            let mut out = Vec::new();
            put_varint(&mut out, number);
            assert_eq!(out, bytes);
        }
        for bit in 0..64 {
            for number in [(1u64 << bit) - 1, 1 << bit, u64::MAX >> bit] {
                let mut out = Vec::new();
                put_varint(&mut out, number);
                assert_eq!(out.len(), varint_len(number), "{number}");
            }
        }
    }
}
