//! A walk over the live pairs of a range at a bound, in key order either way, in slices.

use tidegate_api::KeyRange;
use tidegate_engine::{Cursor, Engine, Order, Scan, Space};

use crate::{
    Bound, Version,
    reader::{ReadError, Reader, get::Older},
    rows::{HeadRow, Info, head_key, head_user_key},
};

/// A pair at the bound. The value, when it came with the row.
pub(in crate::reader) struct Live<'a> {
    pub(in crate::reader) at: Version,
    pub(in crate::reader) info: Info,
    pub(in crate::reader) value: Option<&'a [u8]>,
    pub(in crate::reader) blob: bool,
}

#[derive(Debug)]
pub(in crate::reader) struct Walk {
    bound: Bound,
    order: Order,
    /// The next row to look at (ascending: from here on; descending: below here).
    position: Vec<u8>,
    other_end: Vec<u8>,
    done: bool,
}

impl Walk {
    pub(in crate::reader) fn new(range: &KeyRange, bound: Bound, order: Order) -> Self {
        let (lower, upper) = head_span(range);
        let done = lower >= upper;
        let (position, other_end) = match order {
            Order::Ascending => (lower, upper),
            Order::Descending => (upper, lower),
        };
        Self { bound, order, position, other_end, done }
    }

    pub(in crate::reader) fn is_done(&self) -> bool {
        self.done
    }

    /// Visits rows from the position on, until `visit` says stop or the range ends. A row without a pair at the bound is
    /// visited as `None`: it costs time too.
    pub(in crate::reader) fn step<E: Engine>(
        &mut self,
        reader: &Reader<E>,
        mut visit: impl FnMut(&[u8], Option<Live<'_>>) -> bool,
    ) -> Result<(), ReadError> {
        if self.done {
            return Ok(());
        }
        let ascending = self.order == Order::Ascending;
        let (lower, upper) =
            if ascending { (&self.position, &self.other_end) } else { (&self.other_end, &self.position) };
        let scan = Scan { lower, upper, order: self.order, fill_cache: true };
        let mut cursor = reader.engine.scan(Space::Head, scan)?;
        let mut versions = Older::new(&*reader.engine, lower, upper);
        while let Some((row_key, row)) = cursor.next()? {
            let head = HeadRow::decode(row_key, row)?;
            let key = head_user_key(row_key).unwrap_or_default();
            let live = if self.bound.sees(head.at) {
                Some(Live { at: head.at, info: head.info, value: head.value, blob: head.blob })
            } else {
                let older = versions.before(key, self.bound)?;
                older.map(|row| Live { at: row.at, info: row.info, value: None, blob: row.blob })
            };
            let more = visit(key, live.filter(|live| !live.info.deleted));
            if !more {
                let mut position = row_key.to_vec();
                if ascending {
                    position.push(0);
                }
                drop((cursor, versions));
                self.position = position;
                return Ok(());
            }
        }
        drop((cursor, versions));
        self.done = true;
        Ok(())
    }
}

/// First row and end of a range in `head`.
pub(crate) fn head_span(range: &KeyRange) -> (Vec<u8>, Vec<u8>) {
    let lower = head_key(range.start());
    let upper = match range {
        KeyRange::One(_) => {
            let mut end = lower.clone();
            end.push(0);
            end
        }
        KeyRange::From(_) => vec![b'k' + 1],
        KeyRange::Span(_, end) => head_key(end),
    };
    (lower, upper)
}
