//! What the open batch has written, for the reads of apply: the engine has no view of an open batch.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::reader::Head;

/// What a row costs besides its bytes: its place in the tree, half-full nodes included.
const ROW_BYTES: usize = 200;

/// Counted with the batch: it holds a key for each row, and values up to a kilobyte.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    heads: BTreeMap<Vec<u8>, Head>,
    /// `None`: deleted in this batch.
    state: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
}

impl Overlay {
    pub(super) fn head(&self, row_key: &[u8]) -> Option<&Head> {
        self.heads.get(row_key)
    }

    pub(super) fn heads_between(&self, from: &[u8], end: &[u8]) -> impl Iterator<Item = (&Vec<u8>, Option<&Head>)> {
        between(&self.heads, from, end).map(|(key, head)| (key, Some(head)))
    }

    pub(super) fn put_head(&mut self, row_key: Vec<u8>, head: Head) {
        self.bytes += ROW_BYTES + row_key.len() + head.value.as_ref().map_or(0, Bytes::len);
        self.heads.insert(row_key, head);
    }

    pub(super) fn state(&self, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        self.state.get(key)
    }

    pub(super) fn state_between(&self, from: &[u8], end: &[u8]) -> impl Iterator<Item = (&Vec<u8>, Option<&Vec<u8>>)> {
        between(&self.state, from, end).map(|(key, row)| (key, row.as_ref()))
    }

    /// `None` deletes.
    pub(super) fn put_state(&mut self, key: Vec<u8>, row: Option<Vec<u8>>) {
        self.bytes += ROW_BYTES + key.len() + row.as_ref().map_or(0, Vec::len);
        self.state.insert(key, row);
    }

    /// Bytes it holds at most: a row that is written twice counts twice.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets everything; returns the heads, by the keys of their rows.
    pub(super) fn take(&mut self) -> BTreeMap<Vec<u8>, Head> {
        self.state.clear();
        self.bytes = 0;
        std::mem::take(&mut self.heads)
    }
}

fn between<'a, V>(
    rows: &'a BTreeMap<Vec<u8>, V>,
    from: &[u8],
    end: &[u8],
) -> std::collections::btree_map::Range<'a, Vec<u8>, V> {
    rows.range::<[u8], _>((std::ops::Bound::Included(from), std::ops::Bound::Excluded(end)))
}
