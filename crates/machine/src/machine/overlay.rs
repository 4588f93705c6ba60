//! What the open batch has written, for the reads of apply: the engine has no view of an open batch.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    Version,
    rows::{HeadRow, Info},
};

/// A head row that owns its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) at: Version,
    pub(super) info: Info,
    pub(super) value: Option<Bytes>,
    pub(super) blob: bool,
}

impl Head {
    pub(super) fn from_row(row: &HeadRow<'_>) -> Self {
        let value = row.value.map(Bytes::copy_from_slice);
        Self { at: row.at, info: row.info, value, blob: row.blob }
    }

    pub(super) fn live(&self) -> bool {
        !self.info.deleted
    }
}

/// Counted with the batch: it holds a key for each row, and values up to a kilobyte.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    pub(super) heads: BTreeMap<Vec<u8>, Head>,
    /// `None`: deleted in this batch.
    pub(super) state: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Overlay {
    pub(super) fn clear(&mut self) {
        self.heads.clear();
        self.state.clear();
    }
}
