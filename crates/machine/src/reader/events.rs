//! Changes by revision, and of one key: what catches watches up.

use tidegate_engine::{Cursor, Engine, Order, Scan, Space};

use super::{ReadError, Reader};
use crate::{
    Version,
    rows::{BadRow, EventRow, Info, VersionRow, event_key, event_version, version_key, version_prefix},
};

/// A change as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredEvent<'a> {
    pub at: Version,
    pub key: &'a [u8],
    pub info: Info,
    /// The value, unless it has a row of its own; [`Reader::value`] fetches it then.
    pub value: Option<&'a [u8]>,
}

/// A version of one key, without its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyEvent {
    pub at: Version,
    pub info: Info,
    pub blob: bool,
}

impl StoredEvent<'_> {
    /// Whether the value must be fetched.
    pub fn is_blob(&self) -> bool {
        self.value.is_none() && !self.info.deleted
    }
}

impl<E: Engine> Reader<E> {
    /// Visits changes from `from` on, up to and including revision `to`, in order, until `visit` answers `false`. Superseded
    /// changes below the compacted revision may be missing: look at [`Reader::compacted`] afterwards.
    ///
    /// # Errors
    /// [`ReadError`], also of `visit`.
    pub fn each_event(
        &self,
        from: Version,
        to: i64,
        mut visit: impl FnMut(&StoredEvent<'_>) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        let (lower, upper) = (event_key(from), event_key(Version::new(to.saturating_add(1), 0)));
        let scan = Scan { lower: &lower, upper: &upper, order: Order::Ascending, fill_cache: true };
        let mut cursor = self.engine.scan(Space::Events, scan)?;
        while let Some((key, row)) = cursor.next()? {
            let at = event_version(key).ok_or_else(|| BadRow::new(Space::Events, key, "not an event"))?;
            let event = EventRow::decode(key, row)?;
            if !visit(&StoredEvent { at, key: event.key, info: event.info, value: event.value })? {
                break;
            }
        }
        Ok(())
    }

    /// Visits the versions of one key from revision `from` to `to`, oldest first, until `visit` answers `false`.
    ///
    /// # Errors
    /// [`ReadError`], also of `visit`.
    pub fn each_version(
        &self,
        key: &[u8],
        from: i64,
        to: i64,
        mut visit: impl FnMut(KeyEvent) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        let prefix = version_prefix(key);
        // Newest first in the keyspace, so the scan goes backwards.
        let lower = version_key(key, Version::new(to, u32::MAX));
        let mut upper = version_key(key, Version::new(from, 0));
        upper.push(0);
        debug_assert!(lower.starts_with(&prefix), "rows of the key");
        let scan = Scan { lower: &lower, upper: &upper, order: Order::Descending, fill_cache: true };
        let mut cursor = self.engine.scan(Space::Versions, scan)?;
        while let Some((key, row)) = cursor.next()? {
            let row = VersionRow::decode(key, row)?;
            if !visit(KeyEvent { at: row.at, info: row.info, blob: row.blob })? {
                break;
            }
        }
        Ok(())
    }
}
