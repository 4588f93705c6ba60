//! One key at a bound.

use bytes::Bytes;
use tidegate_base::planted::{Fault, is_planted};
use tidegate_engine::{Cursor, Engine, Lookup, Order, Scan, Space, Tier};

use super::{Head, ReadError, Reader};
use crate::{
    Bound, Version,
    rows::{
        EventRow, HeadRow, Info, VersionRow, event_key, head_key, head_user_key, value_key, version_prefix,
        version_seek, versions_end,
    },
};

/// What stood under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub at: Version,
    pub info: Info,
    /// The value, when it came with the row; else [`Reader::value`] fetches it.
    pub value: Option<Bytes>,
    /// The value has a row of its own.
    pub blob: bool,
}

/// A pair with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub at: Version,
    pub info: Info,
    pub value: Bytes,
}

impl<E: Engine> Reader<E> {
    /// The version of `key` that a read at `bound` sees, without a value of its own row. A deletion is no version.
    ///
    /// One look at `head` when nothing newer was written. The caller holds a pin, or checks afterwards that
    /// [`Reader::compacted`] is not above the bound: till then no row that the bound sees was taken away.
    ///
    /// # Errors
    /// [`ReadError::Engine`] and [`ReadError::BadRow`]: the member must stop.
    pub fn find(&self, key: &[u8], bound: Bound, tier: Tier) -> Result<Lookup<Option<Found>>, ReadError> {
        let sees = |at| bound.sees(at) || is_planted(Fault::HeadTooNewIsRead);
        // Either the version itself, or that of the head when it is too new.
        let kept =
            self.shared.heads.get(key, |head| if sees(head.at) { Ok(found(head.clone())) } else { Err(head.at) });
        let newest = match kept {
            Some(Ok(found)) => return Ok(Lookup::Found(found)),
            Some(Err(newest)) => newest,
            None => {
                let row_key = head_key(key);
                let row = match self.engine.get(Space::Head, &row_key, tier)? {
                    Lookup::NotCached => return Ok(Lookup::NotCached),
                    Lookup::Absent => return Ok(Lookup::Found(None)),
                    Lookup::Found(row) => row,
                };
                let head = HeadRow::decode(&row_key, row.as_ref())?;
                if sees(head.at) {
                    return Ok(Lookup::Found(found(Head::from_row(&head))));
                }
                head.at
            }
        };
        if tier == Tier::Cached {
            return self.predecessor(newest, bound); // iterators may touch the disk
        }
        let older = self.version_before(key, bound)?.filter(|row| !row.info.deleted);
        Ok(Lookup::Found(older.map(|row| Found { at: row.at, info: row.info, value: None, blob: row.blob })))
    }

    /// The version before the one at `newest`, where memory has it and it is the one that `bound` sees: two looks at `events`.
    /// So are the pairs found that a put has just overwritten.
    fn predecessor(&self, newest: Version, bound: Bound) -> Result<Lookup<Option<Found>>, ReadError> {
        let key = event_key(newest);
        let Lookup::Found(row) = self.engine.get(Space::Events, &key, Tier::Cached)? else {
            return Ok(Lookup::NotCached);
        };
        let (at, blob) = match EventRow::decode(&key, row.as_ref())?.previous {
            None => return Ok(Lookup::Found(None)),
            Some((at, blob)) if bound.sees(at) => (at, blob),
            Some(_) => return Ok(Lookup::NotCached),
        };
        let key = event_key(at);
        let Lookup::Found(row) = self.engine.get(Space::Events, &key, Tier::Cached)? else {
            return Ok(Lookup::NotCached);
        };
        let event = EventRow::decode(&key, row.as_ref())?;
        let value = event.value.map(Bytes::copy_from_slice);
        Ok(Lookup::Found((!event.info.deleted).then_some(Found { at, info: event.info, value, blob })))
    }

    /// The newest version of `key` before `bound`, a deletion included. One bounded seek.
    fn version_before(&self, key: &[u8], bound: Bound) -> Result<Option<VersionRow>, ReadError> {
        let prefix = version_prefix(key);
        let (lower, upper) = (version_seek(&prefix, bound.0), versions_end(&prefix));
        let scan = Scan { lower: &lower, upper: &upper, order: Order::Ascending, fill_cache: true };
        let mut cursor = self.engine.scan(Space::Versions, scan)?;
        match cursor.next()? {
            None => Ok(None),
            Some((key, row)) => Ok(Some(VersionRow::decode(key, row)?)),
        }
    }

    /// The value of a version that was found. The caller leases its bytes first: it is copied here, once.
    ///
    /// # Errors
    /// [`ReadError::Compacted`] when the version is gone, which a pin prevents.
    pub fn value(&self, at: Version, blob: bool, tier: Tier) -> Result<Lookup<Bytes>, ReadError> {
        if blob {
            return Ok(match self.engine.get(Space::Events, &value_key(at), tier)? {
                Lookup::NotCached => Lookup::NotCached,
                Lookup::Found(value) => Lookup::Found(Bytes::copy_from_slice(value.as_ref())),
                Lookup::Absent => return Err(ReadError::Compacted(self.compacted())),
            });
        }
        let key = event_key(at);
        Ok(match self.engine.get(Space::Events, &key, tier)? {
            Lookup::NotCached => Lookup::NotCached,
            Lookup::Found(row) => {
                let event = EventRow::decode(&key, row.as_ref())?;
                Lookup::Found(Bytes::copy_from_slice(event.value.unwrap_or_default()))
            }
            Lookup::Absent => return Err(ReadError::Compacted(self.compacted())),
        })
    }

    /// The pair that a read at `bound` sees, with its value.
    ///
    /// # Errors
    /// As [`Reader::find`] and [`Reader::value`].
    pub fn get(&self, key: &[u8], bound: Bound, tier: Tier) -> Result<Lookup<Option<Row>>, ReadError> {
        let found = match self.find(key, bound, tier)? {
            Lookup::Found(Some(found)) => found,
            Lookup::Found(None) | Lookup::Absent => return Ok(Lookup::Found(None)),
            Lookup::NotCached => return Ok(Lookup::NotCached),
        };
        let value = match found.value {
            Some(value) => value,
            None => match self.value(found.at, found.blob, tier)? {
                Lookup::Found(value) => value,
                Lookup::NotCached | Lookup::Absent => return Ok(Lookup::NotCached),
            },
        };
        Ok(Lookup::Found(Some(Row { at: found.at, info: found.info, value })))
    }
}

fn found(head: Head) -> Option<Found> {
    head.live().then_some(Found { at: head.at, info: head.info, value: head.value, blob: head.blob })
}

/// The versions before a bound of keys within a range, by one iterator for a slice of work. It is opened when the first is
/// asked for: mostly `head` answers.
pub(super) struct Older<'a, E: Engine> {
    engine: &'a E,
    lower: Vec<u8>,
    upper: Vec<u8>,
    cursor: Option<E::Cursor<'a>>,
}

impl<'a, E: Engine> Older<'a, E> {
    /// Of the keys whose rows in `head` stand from `lower` to `upper`.
    pub(super) fn new(engine: &'a E, lower: &[u8], upper: &[u8]) -> Self {
        let bound = |row: &[u8]| head_user_key(row).map_or_else(|| row.to_vec(), version_prefix);
        Self { engine, lower: bound(lower), upper: bound(upper), cursor: None }
    }

    /// As [`Reader::version_before`].
    pub(super) fn before(&mut self, key: &[u8], bound: Bound) -> Result<Option<VersionRow>, ReadError> {
        let cursor = match &mut self.cursor {
            Some(cursor) => cursor,
            none => {
                let (lower, upper) = (&self.lower[..], &self.upper[..]);
                let scan = Scan { lower, upper, order: Order::Ascending, fill_cache: true };
                none.insert(self.engine.scan(Space::Versions, scan)?)
            }
        };
        let prefix = version_prefix(key);
        cursor.seek(&version_seek(&prefix, bound.0));
        match cursor.next()? {
            Some((row_key, row)) if row_key.starts_with(&prefix) => Ok(Some(VersionRow::decode(row_key, row)?)),
            Some(_) | None => Ok(None),
        }
    }
}
