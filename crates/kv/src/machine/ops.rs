//! The changes themselves: rows of one put, one deletion, and slices of many.

use bytes::Bytes;
use tidegate_engine::{Batch, Cursor, Engine, Order, Scan, Space};

use super::{Fatal, Machine};
use crate::{
    Version,
    reader::Head,
    rows::{
        BLOB_VALUE_LEAST, EventRow, HEAD_VALUE_MAX, HeadRow, Info, VersionRow, event_key, head_key, head_user_key,
        lease_keys_key, lease_keys_span, lease_user_key, value_key, version_key,
    },
    watch::{EventKind, EventRef, PairRef, RevisionBuilder},
};

/// Rows that a slice of a large operation looks at before it writes, and the bytes of their keys: one may be a megabyte.
const SLICE_ROWS: usize = 256;
const SLICE_BYTES: usize = 256 << 10;

/// Rows of a range of a keyspace, the open batch included, and where to go on.
pub(super) struct Slice<T> {
    pub(super) rows: Vec<(Vec<u8>, T)>,
    /// First row that was not looked at; `None` at the end.
    pub(super) next: Option<Vec<u8>>,
}

/// What a change is to watchers, if anybody listens.
pub(super) struct Recorder {
    /// `None`: nobody wants events.
    pub(super) builder: Option<RevisionBuilder>,
}

impl Recorder {
    fn record(&mut self, event: &EventRef<'_>) {
        if let Some(builder) = &mut self.builder {
            builder.record(event);
        }
    }
}

impl<E: Engine> Machine<E> {
    /// Writes a new version of `key` over `old`.
    pub(super) fn write_put(
        &mut self,
        at: Version,
        key: &Bytes,
        value: &Bytes,
        lease: i64,
        old: Option<&Head>,
        recorder: &mut Recorder,
    ) {
        let before = old.filter(|old| old.live());
        let info = Info {
            deleted: false,
            create: before.map_or(at.main, |old| old.info.create),
            version: before.map_or(1, |old| old.info.version + 1),
            lease,
            value_len: value.len() as u64,
        };
        let blob = value.len() >= BLOB_VALUE_LEAST;
        if blob {
            self.batch.put(Space::Events, &value_key(at), value);
        }
        self.write_rows(at, key, info, (!blob).then_some(value), blob, old);
        let old_lease = before.map_or(0, |old| old.info.lease);
        if old_lease != lease {
            self.detach(old_lease, key);
            if lease != 0 {
                self.put_state(lease_keys_key(lease, key), Vec::new());
            }
        }
        self.costs.push((key.clone(), (key.len() + value.len()) as u64));
        recorder.record(&EventRef {
            kind: EventKind::Put,
            sub: at.sub,
            pair: PairRef { key, value, create: info.create, modified: at.main, version: info.version, lease },
            previous: None,
        });
    }

    /// Writes the deletion of `key`, which is live.
    pub(super) fn write_delete(&mut self, at: Version, key: &[u8], old: &Head, recorder: &mut Recorder) {
        let info = Info { deleted: true, ..Info::default() };
        self.write_rows(at, key, info, None, false, Some(old));
        self.detach(old.info.lease, key);
        let pair = PairRef { key, value: &[], create: 0, modified: at.main, version: 0, lease: 0 };
        recorder.record(&EventRef { kind: EventKind::Delete, sub: at.sub, pair, previous: None });
    }

    fn detach(&mut self, lease: i64, key: &[u8]) {
        if lease != 0 {
            self.delete_state(lease_keys_key(lease, key));
        }
    }

    fn write_rows(
        &mut self,
        at: Version,
        key: &[u8],
        info: Info,
        value: Option<&Bytes>,
        blob: bool,
        old: Option<&Head>,
    ) {
        let mut row = std::mem::take(&mut self.scratch);
        let in_head = value.filter(|value| value.len() <= HEAD_VALUE_MAX);
        row.clear();
        HeadRow { at, info, value: in_head.map(|value| &value[..]), blob }.encode(&mut row);
        let head_row_key = head_key(key);
        self.batch.put(Space::Head, &head_row_key, &row);

        row.clear();
        let previous = old.map(|old| (old.at, old.blob));
        EventRow { key, info, previous, value: value.map(|value| &value[..]) }.encode(&mut row);
        self.batch.put(Space::Events, &event_key(at), &row);

        row.clear();
        VersionRow { at, info, blob }.encode(&mut row);
        self.batch.put(Space::Versions, &version_key(key, at), &row);
        self.scratch = row;

        let value = in_head.map(|value| Bytes::copy_from_slice(value));
        self.overlay.put_head(head_row_key, Head { at, info, value, blob });
    }

    /// Heads of the rows from `from` to `upper`, a bounded number of them, as the open batch has them.
    pub(super) fn heads_slice(&self, from: &[u8], upper: &[u8]) -> Result<Slice<Head>, Fatal> {
        let scan = Scan { lower: from, upper, order: Order::Ascending, fill_cache: true };
        let mut rows: Vec<(Vec<u8>, Head)> = Vec::new();
        let (mut next, mut bytes) = (None, 0);
        let mut cursor = self.reader.engine.scan(Space::Head, scan)?;
        while let Some((key, row)) = cursor.next()? {
            if rows.len() == SLICE_ROWS || bytes >= SLICE_BYTES {
                next = Some(key.to_vec());
                break;
            }
            bytes += key.len() + row.len();
            rows.push((key.to_vec(), Head::from_row(&HeadRow::decode(key, row)?)));
        }
        drop(cursor);
        let end = next.as_deref().unwrap_or(upper);
        if from < end {
            merge(&mut rows, self.overlay.heads_between(from, end));
        }
        Ok(Slice { rows, next })
    }

    /// Keys attached to a lease behind `after`, a bounded number of them, as the open batch has them.
    pub(super) fn attached_slice(&self, id: i64, after: Option<&[u8]>) -> Result<Slice<()>, Fatal> {
        let (mut from, upper) = lease_keys_span(id);
        if let Some(after) = after {
            from.extend_from_slice(after);
            from.push(0);
        }
        let scan = Scan { lower: &from, upper: &upper, order: Order::Ascending, fill_cache: true };
        let mut rows = Vec::new();
        let (mut next, mut bytes) = (None, 0);
        let mut cursor = self.reader.engine.scan(Space::State, scan)?;
        while let Some((key, _)) = cursor.next()? {
            if rows.len() == SLICE_ROWS || bytes >= SLICE_BYTES {
                next = Some(key.to_vec());
                break;
            }
            bytes += key.len();
            rows.push((key.to_vec(), ()));
        }
        drop(cursor);
        let end = next.as_deref().unwrap_or(&upper);
        if from.as_slice() < end {
            let written = self.overlay.state_between(&from, end);
            merge(&mut rows, written.map(|(key, row)| (key, row.map(|_| &()))));
        }
        for (row, ()) in &mut rows {
            *row = lease_user_key(row).unwrap_or_default().to_vec();
        }
        Ok(Slice { rows, next })
    }

    /// The key of a head row.
    pub(super) fn user_key(row: &[u8]) -> &[u8] {
        head_user_key(row).unwrap_or_default()
    }
}

/// Puts what the open batch wrote over what the engine has. `None` is a deleted row.
fn merge<'a, T: Clone + 'a>(rows: &mut Vec<(Vec<u8>, T)>, written: impl Iterator<Item = (&'a Vec<u8>, Option<&'a T>)>) {
    for (key, row) in written {
        match (rows.binary_search_by(|(have, _)| have.cmp(key)), row) {
            (Ok(at), Some(row)) => rows[at].1 = row.clone(),
            (Ok(at), None) => {
                rows.remove(at);
            }
            (Err(at), Some(row)) => rows.insert(at, (key.clone(), row.clone())),
            (Err(_), None) => {}
        }
    }
}
