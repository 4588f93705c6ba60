use rocksdb::DBRawIterator;
use tidegate_engine::{Cursor, Error, Order, Row};

use crate::error::error;

enum Position {
    /// Before the first row of the scan.
    Start,
    /// On a row that a seek found and nobody has seen.
    Fresh,
    /// On the row that was given last.
    Given,
    End,
}

/// See [`Cursor`].
pub struct RocksCursor<'a> {
    /// `None` when the bounds leave nothing.
    rows: Option<DBRawIterator<'a>>,
    order: Order,
    position: Position,
}

impl<'a> RocksCursor<'a> {
    pub(crate) fn new(rows: Option<DBRawIterator<'a>>, order: Order) -> Self {
        Self { rows, order, position: Position::Start }
    }
}

impl Cursor for RocksCursor<'_> {
    fn next(&mut self) -> Result<Option<Row<'_>>, Error> {
        let Some(rows) = &mut self.rows else { return Ok(None) };
        match (&self.position, self.order) {
            (Position::Start, Order::Ascending) => rows.seek_to_first(),
            (Position::Start, Order::Descending) => rows.seek_to_last(),
            (Position::Given, Order::Ascending) => rows.next(),
            (Position::Given, Order::Descending) => rows.prev(),
            (Position::Fresh, _) => {}
            (Position::End, _) => return Ok(None),
        }
        if rows.valid() {
            self.position = Position::Given;
            return Ok(rows.item());
        }
        self.position = Position::End;
        rows.status().map_err(|cause| error("scan", cause))?;
        Ok(None)
    }

    fn seek(&mut self, key: &[u8]) {
        let Some(rows) = &mut self.rows else { return };
        // Either stays within the bounds that the iterator was made with.
        match self.order {
            Order::Ascending => rows.seek(key),
            Order::Descending => rows.seek_for_prev(key),
        }
        self.position = Position::Fresh;
    }
}
