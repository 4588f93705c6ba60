//! A version of a key, for reads in the past.

use tidegate_engine::Space;

use super::{BadRow, DELETED, FieldReader, Info, ROW_VERSION, VALUE_IS_BLOB, put_info};
use crate::Version;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VersionRow {
    pub(crate) at: Version,
    pub(crate) info: Info,
    pub(crate) blob: bool,
}

impl VersionRow {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let flags = if self.info.deleted { DELETED } else { 0 } | if self.blob { VALUE_IS_BLOB } else { 0 };
        out.extend_from_slice(&[ROW_VERSION, flags]);
        put_info(out, &self.info);
    }

    /// The version itself stands in the last twelve bytes of the row's key.
    pub(crate) fn decode(key: &[u8], row: &[u8]) -> Result<Self, BadRow> {
        Self::read(key, row)
            .ok_or_else(|| BadRow::new(Space::Versions, key, "a field is missing or the version is unknown"))
    }

    fn read(key: &[u8], row: &[u8]) -> Option<Self> {
        let (_, numbers) = key.split_last_chunk::<12>()?;
        let (main, sub) = numbers.split_first_chunk::<8>()?;
        let at = Version {
            main: !i64::from_be_bytes(*main),
            sub: !u32::from_be_bytes(sub.try_into().expect("twelve less eight")),
        };
        let mut fields = FieldReader(row);
        if fields.byte()? != ROW_VERSION {
            return None;
        }
        let flags = fields.byte()?;
        let info = fields.info(flags)?;
        Some(Self { at, info, blob: flags & VALUE_IS_BLOB != 0 })
    }
}
