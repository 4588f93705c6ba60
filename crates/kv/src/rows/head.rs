//! The newest version of a key.

use tidegate_engine::Space;

use super::{
    BadRow, DELETED, FieldReader, Info, ROW_VERSION, VALUE_IN_HEAD, VALUE_IS_BLOB, put_info, put_number, put_signed,
};
use crate::Version;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadRow<'a> {
    pub(crate) at: Version,
    pub(crate) info: Info,
    /// The value, when it is short enough to stand here.
    pub(crate) value: Option<&'a [u8]>,
    /// The value has a row of its own.
    pub(crate) blob: bool,
}

impl<'a> HeadRow<'a> {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut flags = 0;
        if self.info.deleted {
            flags |= DELETED;
        }
        if self.blob {
            flags |= VALUE_IS_BLOB;
        }
        if self.value.is_some() {
            flags |= VALUE_IN_HEAD;
        }
        out.extend_from_slice(&[ROW_VERSION, flags]);
        put_signed(out, self.at.main);
        put_number(out, self.at.sub.into());
        put_info(out, &self.info);
        out.extend_from_slice(self.value.unwrap_or_default());
    }

    pub(crate) fn decode(key: &[u8], row: &'a [u8]) -> Result<Self, BadRow> {
        Self::read(row).ok_or_else(|| BadRow::new(Space::Head, key, "a field is missing or the version is unknown"))
    }

    fn read(row: &'a [u8]) -> Option<Self> {
        let mut fields = FieldReader(row);
        if fields.byte()? != ROW_VERSION {
            return None;
        }
        let flags = fields.byte()?;
        let at = Version { main: fields.signed()?, sub: fields.sub()? };
        let info = fields.info(flags)?;
        let value = (flags & VALUE_IN_HEAD != 0).then_some(fields.0);
        if value.is_some_and(|value| value.len() as u64 != info.value_len) {
            return None;
        }
        Some(Self { at, info, value, blob: flags & VALUE_IS_BLOB != 0 })
    }
}
