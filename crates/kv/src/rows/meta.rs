//! Where the store stands. The same row in every space, written by every batch.

use tidegate_base::{LogIndex, LogPosition, Term};

use super::{FieldReader, ROW_VERSION, put_number, put_signed};
use crate::Version;

/// What an entry that is applied in several batches does in its current operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CursorKind {
    /// The operation `op` has not begun.
    Between = 0,
    /// It has done everything up to and including the cursor's key.
    Behind = 1,
}

/// How far an entry has come that needs more than one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpCursor {
    pub(crate) index: LogIndex,
    /// Ordinal among the operations that the entry executes.
    pub(crate) op: u64,
    pub(crate) next_sub: u32,
    pub(crate) kind: CursorKind,
    pub(crate) key: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meta {
    /// The last entry that is applied as a whole.
    pub(crate) applied: LogPosition,
    /// Revision of the last whole entry that changed anything.
    pub(crate) visible: i64,
    /// History below this revision may not be read.
    pub(crate) compacted: i64,
    /// Up to this revision superseded versions are gone.
    pub(crate) swept: i64,
    /// Where the sweep beyond it goes on.
    pub(crate) sweep: Version,
    pub(crate) cursor: Option<OpCursor>,
}

impl Meta {
    /// Of a new store: etcd's begins at revision 1, compacted to -1, too.
    pub(crate) fn new() -> Self {
        Self {
            applied: LogPosition::default(),
            visible: 1,
            compacted: -1,
            swept: 0,
            sweep: Version::default(),
            cursor: None,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![ROW_VERSION];
        put_number(&mut out, self.applied.index.0);
        put_number(&mut out, self.applied.term.0);
        for number in [self.visible, self.compacted, self.swept, self.sweep.main] {
            put_signed(&mut out, number);
        }
        put_number(&mut out, self.sweep.sub.into());
        match &self.cursor {
            None => out.push(0),
            Some(cursor) => {
                out.push(1);
                put_number(&mut out, cursor.index.0);
                put_number(&mut out, cursor.op);
                put_number(&mut out, cursor.next_sub.into());
                out.push(cursor.kind as u8);
                put_number(&mut out, cursor.key.len() as u64);
                out.extend_from_slice(&cursor.key);
            }
        }
        out
    }

    pub(crate) fn decode(row: &[u8]) -> Option<Self> {
        let mut fields = FieldReader(row);
        if fields.byte()? != ROW_VERSION {
            return None;
        }
        let applied = LogPosition { index: LogIndex(fields.number()?), term: Term(fields.number()?) };
        let (visible, compacted, swept) = (fields.signed()?, fields.signed()?, fields.signed()?);
        let sweep = Version { main: fields.signed()?, sub: fields.sub()? };
        let cursor = match fields.byte()? {
            0 => None,
            1 => Some(OpCursor {
                index: LogIndex(fields.number()?),
                op: fields.number()?,
                next_sub: fields.sub()?,
                kind: match fields.byte()? {
                    0 => CursorKind::Between,
                    1 => CursorKind::Behind,
                    _ => return None,
                },
                key: fields.prefixed()?.to_vec(),
            }),
            _ => return None,
        };
        fields.0.is_empty().then_some(Self { applied, visible, compacted, swept, sweep, cursor })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_comes_back_and_no_other_bytes_do() {
        let cursor =
            OpCursor { index: LogIndex(12), op: 3, next_sub: 70_000, kind: CursorKind::Behind, key: b"k\0".to_vec() };
        let meta = Meta {
            applied: LogPosition::new(11, 2),
            visible: 900,
            compacted: 17,
            swept: 9,
            sweep: Version::new(12, 4),
            cursor: Some(cursor),
        };
        for meta in [meta, Meta::new()] {
            let row = meta.encode();
            assert_eq!(Meta::decode(&row), Some(meta));
            for cut in 0..row.len() {
                assert_eq!(Meta::decode(&row[..cut]), None);
            }
            assert_eq!(Meta::decode(&[&row[..], &[0]].concat()), None);
        }
    }
}
