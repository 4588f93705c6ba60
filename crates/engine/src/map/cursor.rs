//! A scan over one state of the maps.

use std::{
    ops::Bound::{Excluded, Included},
    sync::Arc,
};

use super::state::{Key, Rows, Value};
use crate::{Cursor, Error, Order, Row, Scan};

/// See [`Cursor`]. Each step costs O(log rows).
pub struct MapCursor {
    rows: Arc<Rows>,
    order: Order,
    /// What is still to be walked: inclusive and exclusive.
    lower: Vec<u8>,
    upper: Vec<u8>,
    /// The bounds of the scan, for a seek back.
    scan_lower: Vec<u8>,
    scan_upper: Vec<u8>,
    row: Option<(Key, Value)>,
}

impl MapCursor {
    pub(super) fn new(rows: Arc<Rows>, scan: Scan<'_>) -> Self {
        let (lower, upper) = (scan.lower.to_vec(), scan.upper.to_vec());
        Self { rows, order: scan.order, scan_lower: lower.clone(), scan_upper: upper.clone(), lower, upper, row: None }
    }
}

impl Cursor for MapCursor {
    fn next(&mut self) -> Result<Option<Row<'_>>, Error> {
        self.row = None;
        if self.lower < self.upper {
            let mut left = self.rows.range::<[u8], _>((Included(&self.lower[..]), Excluded(&self.upper[..])));
            let row = match self.order {
                Order::Ascending => left.next(),
                Order::Descending => left.next_back(),
            };
            self.row = row.map(|(key, value)| (Arc::clone(key), Arc::clone(value)));
        }
        let Some((key, value)) = &self.row else { return Ok(None) };
        match self.order {
            Order::Ascending => self.lower = successor(key),
            Order::Descending => self.upper = key.to_vec(),
        }
        Ok(Some((key, value)))
    }

    fn seek(&mut self, key: &[u8]) {
        match self.order {
            Order::Ascending => self.lower = self.scan_lower.as_slice().max(key).to_vec(),
            Order::Descending => self.upper = successor(key).min(self.scan_upper.clone()),
        }
    }
}

/// The least key behind `key`.
fn successor(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}
