//! Numbers in values: LEB128, low seven bits first.

pub(crate) use tidegate_base::put_varint as put_number;

use super::{DELETED, Info};

/// Signed numbers are stored as their 64 bits.
pub(crate) fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_number(out, number.cast_unsigned());
}

/// What is neither version nor value; whether it is a deletion stands in the row's flags.
pub(crate) fn put_info(out: &mut Vec<u8>, info: &Info) {
    put_signed(out, info.create);
    put_signed(out, info.version);
    put_signed(out, info.lease);
    put_number(out, info.value_len);
}

/// Takes fields off the front of a row. Never panics, whatever the bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(crate) fn signed(&mut self) -> Option<i64> {
        self.number().map(u64::cast_signed)
    }

    pub(crate) fn sub(&mut self) -> Option<u32> {
        self.number().and_then(|n| u32::try_from(n).ok())
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn info(&mut self, flags: u8) -> Option<Info> {
        Some(Info {
            deleted: flags & DELETED != 0,
            create: self.signed()?,
            version: self.signed()?,
            lease: self.signed()?,
            value_len: self.number()?,
        })
    }

    /// A length and so many bytes.
    pub(crate) fn prefixed(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        self.bytes(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_broken_ones_do_not() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            put_number(&mut out, number);
            assert_eq!(Reader(&out).number(), Some(number));
            assert_eq!(Reader(&out[..out.len() - 1]).number(), None, "cut short");
        }
        for number in [0, -1, i64::MIN, i64::MAX] {
            let mut out = Vec::new();
            put_signed(&mut out, number);
            assert_eq!(Reader(&out).signed(), Some(number));
        }
        assert_eq!(Reader(&[0xff; 11]).number(), None, "longer than 64 bits");
        assert_eq!(Reader(&[5, 1, 2]).prefixed(), None);
    }
}
