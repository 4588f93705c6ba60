//! The row of a lease.

use tidegate_base::LogIndex;
use tidegate_engine::Space;

use super::{BadRow, FieldReader, ROW_VERSION, put_number, put_signed};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeaseRow {
    pub(crate) ttl_seconds: i64,
    /// The entry that granted it.
    pub(crate) granted: LogIndex,
}

impl LeaseRow {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut row = vec![ROW_VERSION];
        put_signed(&mut row, self.ttl_seconds);
        // Remaining seconds, which nobody checkpoints yet.
        put_signed(&mut row, 0);
        put_number(&mut row, self.granted.0);
        row
    }

    pub(crate) fn decode(key: &[u8], row: &[u8]) -> Result<Self, BadRow> {
        let mut fields = FieldReader(row);
        let mut read = || {
            fields.byte().filter(|version| *version == ROW_VERSION)?;
            let ttl_seconds = fields.signed()?;
            fields.signed()?;
            Some(Self { ttl_seconds, granted: LogIndex(fields.number()?) })
        };
        read().ok_or_else(|| BadRow::new(Space::State, key, "not a lease"))
    }
}
