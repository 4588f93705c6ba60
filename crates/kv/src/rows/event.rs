//! A change, by revision.

use tidegate_engine::Space;

use super::{
    BadRow, DELETED, FieldReader, HAS_PREVIOUS, Info, PREVIOUS_IS_BLOB, ROW_VERSION, VALUE_IS_BLOB, put_info,
    put_number, put_signed,
};
use crate::Version;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventRow<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) info: Info,
    /// The change of the same key before this one, a deletion included, and whether its value has a row of its own.
    pub(crate) previous: Option<(Version, bool)>,
    /// The value, when it stands here.
    pub(crate) value: Option<&'a [u8]>,
}

impl<'a> EventRow<'a> {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut flags = 0;
        if self.info.deleted {
            flags |= DELETED;
        }
        if let Some((_, blob)) = self.previous {
            flags |= HAS_PREVIOUS | if blob { PREVIOUS_IS_BLOB } else { 0 };
        }
        if self.value.is_none() && !self.info.deleted {
            flags |= VALUE_IS_BLOB;
        }
        out.extend_from_slice(&[ROW_VERSION, flags]);
        put_number(out, self.key.len() as u64);
        out.extend_from_slice(self.key);
        put_info(out, &self.info);
        if let Some((previous, _)) = self.previous {
            put_signed(out, previous.main);
            put_number(out, previous.sub.into());
        }
        out.extend_from_slice(self.value.unwrap_or_default());
    }

    pub(crate) fn decode(key: &[u8], row: &'a [u8]) -> Result<Self, BadRow> {
        Self::read(row).ok_or_else(|| BadRow::new(Space::Events, key, "a field is missing or the version is unknown"))
    }

    fn read(row: &'a [u8]) -> Option<Self> {
        let mut fields = FieldReader(row);
        if fields.byte()? != ROW_VERSION {
            return None;
        }
        let flags = fields.byte()?;
        let key = fields.prefixed()?;
        let info = fields.info(flags)?;
        let previous = if flags & HAS_PREVIOUS == 0 {
            None
        } else {
            Some((Version { main: fields.signed()?, sub: fields.sub()? }, flags & PREVIOUS_IS_BLOB != 0))
        };
        let here = flags & (DELETED | VALUE_IS_BLOB) == 0;
        if here && fields.0.len() as u64 != info.value_len {
            return None;
        }
        Some(Self { key, info, previous, value: here.then_some(fields.0) })
    }
}
