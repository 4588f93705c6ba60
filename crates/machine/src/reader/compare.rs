//! The compares of a transaction, against the state at a bound.

use std::cmp::Ordering;

use tidegate_api::{
    KeyRange,
    pb::etcdserverpb::{
        Compare,
        compare::{CompareResult, CompareTarget, TargetUnion},
    },
};
use tidegate_engine::{Cursor, Engine, Order, Scan, Space, Tier};

use super::{Found, ReadError, Reader, head_span};
use crate::{
    Bound,
    rows::{HeadRow, Info, head_user_key},
};

impl<E: Engine> Reader<E> {
    /// Whether a compare holds at `bound`. Over a range it must hold for every key; over no key at all it is evaluated once
    /// against nothing.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn holds(&self, compare: &Compare, bound: Bound) -> Result<bool, ReadError> {
        let range = KeyRange::new(compare.key.clone(), compare.range_end.clone());
        if let KeyRange::One(key) = &range {
            let found = self.find(key, bound, Tier::All)?.known().flatten();
            return self.found_holds(compare, found.as_ref());
        }
        let (lower, upper) = head_span(&range);
        if lower >= upper {
            return Ok(matches(compare, None, None));
        }
        let scan = Scan { lower: &lower, upper: &upper, order: Order::Ascending, fill_cache: true };
        let mut cursor = self.engine.scan(Space::Head, scan)?;
        let mut any = false;
        while let Some((row_key, row)) = cursor.next()? {
            let head = HeadRow::decode(row_key, row)?;
            let found = if bound.sees(head.at) {
                (!head.info.deleted).then(|| Found {
                    at: head.at,
                    info: head.info,
                    value: head.value.map(bytes::Bytes::copy_from_slice),
                    blob: head.blob,
                })
            } else {
                self.find(head_user_key(row_key).unwrap_or_default(), bound, Tier::All)?.known().flatten()
            };
            if let Some(found) = found {
                any = true;
                if !self.found_holds(compare, Some(&found))? {
                    return Ok(false);
                }
            }
        }
        Ok(any || matches(compare, None, None))
    }

    fn found_holds(&self, compare: &Compare, found: Option<&Found>) -> Result<bool, ReadError> {
        let Some(found) = found else { return Ok(matches(compare, None, None)) };
        let value = match (&found.value, compare.target()) {
            (Some(value), _) => Some(value.clone()),
            (None, CompareTarget::Value) => self.value(found.at, found.blob, Tier::All)?.known(),
            (None, _) => None,
        };
        Ok(matches(compare, Some((found.at.main, &found.info)), value.as_deref()))
    }
}

/// Whether what is stored (left) stands in the relation to what the client gave (right). A missing key counts as zeros, and
/// its value equals and differs from nothing.
pub(crate) fn matches(compare: &Compare, stored: Option<(i64, &Info)>, value: Option<&[u8]>) -> bool {
    let (main, info) = stored.map_or((0, Info::default()), |(main, info)| (main, *info));
    let given = compare.target_union.as_ref();
    let order = match compare.target() {
        CompareTarget::Version => {
            let given = if let Some(TargetUnion::Version(given)) = given { *given } else { 0 };
            info.version.cmp(&given)
        }
        CompareTarget::Create => {
            let given = if let Some(TargetUnion::CreateRevision(given)) = given { *given } else { 0 };
            info.create.cmp(&given)
        }
        CompareTarget::Mod => {
            let given = if let Some(TargetUnion::ModRevision(given)) = given { *given } else { 0 };
            main.cmp(&given)
        }
        CompareTarget::Lease => {
            let given = if let Some(TargetUnion::Lease(given)) = given { *given } else { 0 };
            info.lease.cmp(&given)
        }
        CompareTarget::Value => {
            if stored.is_none() {
                return false;
            }
            let given = if let Some(TargetUnion::Value(given)) = given { &given[..] } else { &[] };
            value.unwrap_or_default().cmp(given)
        }
    };
    match compare.result() {
        CompareResult::Equal => order == Ordering::Equal,
        CompareResult::Greater => order == Ordering::Greater,
        CompareResult::Less => order == Ordering::Less,
        CompareResult::NotEqual => order != Ordering::Equal,
    }
}
