//! The compares of a transaction, against the state at a bound.

use std::cmp::Ordering;

use tidegate_api::{
    KeyRange,
    pb::etcdserverpb::{
        Compare,
        compare::{CompareResult, CompareTarget, TargetUnion},
    },
};
use tidegate_engine::{Cursor, Engine, Lookup, Order, Scan, Space, Tier};

use super::{Found, ReadError, Reader, get::Older, head_span};
use crate::{
    Bound,
    rows::{HeadRow, Info, head_user_key},
};

/// Works through one compare in slices. Over a range it must hold for every key; over no key at all it is evaluated once
/// against nothing.
#[derive(Debug, Clone)]
pub struct CompareCursor {
    compare: Compare,
    bound: Bound,
    /// The next row to look at, and the end.
    position: Vec<u8>,
    upper: Vec<u8>,
    /// There was a key.
    any: bool,
}

impl CompareCursor {
    pub fn new(compare: Compare, bound: Bound) -> Self {
        let (position, upper) = head_span(&KeyRange::new(compare.key.clone(), compare.range_end.clone()));
        Self { compare, bound, position, upper, any: false }
    }

    /// Whether it holds, when it is of one key and memory tells.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn now<E: Engine>(&self, reader: &Reader<E>) -> Result<Option<bool>, ReadError> {
        if !self.compare.range_end.is_empty() {
            return Ok(None);
        }
        match reader.find(&self.compare.key, self.bound, Tier::Cached)? {
            // A large value is not copied here.
            Lookup::Found(Some(Found { blob: true, .. })) | Lookup::Absent | Lookup::NotCached => Ok(None),
            Lookup::Found(found) => reader.found_holds(&self.compare, found, Tier::Cached),
        }
    }

    /// Goes on for at most `rows` rows; `Some` at the end. The caller holds a pin.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn step<E: Engine>(&mut self, reader: &Reader<E>, rows: usize) -> Result<Option<bool>, ReadError> {
        let (compare, bound) = (&self.compare, self.bound);
        if compare.range_end.is_empty() {
            let found = reader.find(&compare.key, bound, Tier::All)?.known().flatten();
            return reader.found_holds(compare, found, Tier::All);
        }
        if self.position >= self.upper {
            return Ok(Some(self.any || matches(compare, None, None)));
        }
        let scan = Scan { lower: &self.position, upper: &self.upper, order: Order::Ascending, fill_cache: true };
        let mut cursor = reader.engine.scan(Space::Head, scan)?;
        let mut versions = Older::new(&*reader.engine, &self.position, &self.upper);
        let by_value = compare.target() == CompareTarget::Value;
        let mut seen = 0;
        while let Some((row_key, row)) = cursor.next()? {
            if seen == rows {
                let position = row_key.to_vec();
                drop((cursor, versions));
                self.position = position;
                return Ok(None);
            }
            seen += 1;
            let head = HeadRow::decode(row_key, row)?;
            let found = if bound.sees(head.at) {
                let value = head.value.filter(|_| by_value).map(bytes::Bytes::copy_from_slice);
                Some(Found { at: head.at, info: head.info, value, blob: head.blob })
            } else {
                let older = versions.before(head_user_key(row_key).unwrap_or_default(), bound)?;
                older.map(|row| Found { at: row.at, info: row.info, value: None, blob: row.blob })
            };
            if let Some(found) = found.filter(|found| !found.info.deleted) {
                self.any = true;
                if reader.found_holds(compare, Some(found), Tier::All)? == Some(false) {
                    return Ok(Some(false));
                }
            }
        }
        Ok(Some(self.any || matches(compare, None, None)))
    }
}

impl<E: Engine> Reader<E> {
    /// Whether a compare holds at `bound`, in one go.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(crate) fn holds(&self, compare: &Compare, bound: Bound) -> Result<bool, ReadError> {
        let mut cursor = CompareCursor::new(compare.clone(), bound);
        loop {
            if let Some(holds) = cursor.step(self, usize::MAX)? {
                return Ok(holds);
            }
        }
    }

    /// `None` when the value is needed and `tier` does not reach it.
    fn found_holds(&self, compare: &Compare, found: Option<Found>, tier: Tier) -> Result<Option<bool>, ReadError> {
        let Some(found) = found else { return Ok(Some(matches(compare, None, None))) };
        let value = match (found.value, compare.target()) {
            (Some(value), CompareTarget::Value) => value,
            (None, CompareTarget::Value) => match self.value(found.at, found.blob, tier)? {
                Lookup::Found(value) => value,
                Lookup::NotCached | Lookup::Absent => return Ok(None),
            },
            (_, _) => bytes::Bytes::new(),
        };
        Ok(Some(matches(compare, Some((found.at.main, &found.info)), Some(&value))))
    }
}

/// Whether what is stored (left) stands in the relation to what the client gave (right). A missing key counts as zeros, and
/// its value equals and differs from nothing. As in etcd, a target that nobody knows is equal to everything, and a relation
/// that nobody knows holds.
pub(crate) fn matches(compare: &Compare, stored: Option<(i64, &Info)>, value: Option<&[u8]>) -> bool {
    let (main, info) = stored.map_or((0, Info::default()), |(main, info)| (main, *info));
    let given = compare.target_union.as_ref();
    let order = match CompareTarget::try_from(compare.target) {
        Err(_) => Ordering::Equal,
        Ok(CompareTarget::Version) => {
            let given = if let Some(TargetUnion::Version(given)) = given { *given } else { 0 };
            info.version.cmp(&given)
        }
        Ok(CompareTarget::Create) => {
            let given = if let Some(TargetUnion::CreateRevision(given)) = given { *given } else { 0 };
            info.create.cmp(&given)
        }
        Ok(CompareTarget::Mod) => {
            let given = if let Some(TargetUnion::ModRevision(given)) = given { *given } else { 0 };
            main.cmp(&given)
        }
        Ok(CompareTarget::Lease) => {
            let given = if let Some(TargetUnion::Lease(given)) = given { *given } else { 0 };
            info.lease.cmp(&given)
        }
        Ok(CompareTarget::Value) => {
            if stored.is_none() {
                return false;
            }
            let given = if let Some(TargetUnion::Value(given)) = given { &given[..] } else { &[] };
            value.unwrap_or_default().cmp(given)
        }
    };
    match CompareResult::try_from(compare.result) {
        Err(_) => true,
        Ok(CompareResult::Equal) => order == Ordering::Equal,
        Ok(CompareResult::Greater) => order == Ordering::Greater,
        Ok(CompareResult::Less) => order == Ordering::Less,
        Ok(CompareResult::NotEqual) => order != Ordering::Equal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// They were taken for the first of their kind.
    #[test]
    fn what_nobody_knows_is_equal_and_holds() {
        let holds = |target: i32, result: i32| {
            let compare = Compare { target, result, target_union: Some(TargetUnion::Version(3)), ..Compare::default() };
            matches(&compare, None, None)
        };
        let (version, value, unknown) = (0, 3, 9);
        let relations = |target| [0, 1, 2, 3, unknown].map(|result| holds(target, result));
        assert_eq!(relations(version), [false, false, true, true, true]);
        assert_eq!(relations(value), [false; 5], "a key that is not there has no value");
        assert_eq!(relations(unknown), [true, false, false, false, true]);
    }
}
