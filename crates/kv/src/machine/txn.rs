//! Which way a transaction goes, and what refuses an entry, decided before anything is written.

use std::cmp::Ordering;

use tidegate_api::{
    Error, KeyRange,
    pb::etcdserverpb::{
        Compare, PutRequest, RequestOp, TxnRequest,
        compare::{CompareResult, CompareTarget, TargetUnion},
        request_op::Request,
    },
};
use tidegate_base::LogPosition;
use tidegate_engine::{Cursor, Engine, Order, Scan, Space, Tier};

use super::{
    Fatal, Machine,
    entry::{Op, OpShape, TxnShape, delete_op},
};
use crate::{
    Bound, Found,
    reader::head_span,
    rows::{HeadRow, Info, head_user_key, lease_key},
};

impl<E: Engine> Machine<E> {
    /// The operations along the path that the compares choose. All of them are evaluated against the state before the entry,
    /// also when the entry is taken up again after a crash: its revision is not part of that state.
    pub(super) fn decide(&mut self, position: LogPosition, txn: TxnRequest) -> Result<(Vec<Op>, TxnShape), Fatal> {
        let resumed = self.meta.cursor.as_ref().is_some_and(|cursor| cursor.index == position.index);
        if needs_rows(&txn) {
            self.commit_open()?;
        }
        let mut ops = Vec::new();
        let shape = self.path(txn, resumed, &mut ops)?;
        Ok((ops, shape))
    }

    fn path(&self, txn: TxnRequest, resumed: bool, ops: &mut Vec<Op>) -> Result<TxnShape, Fatal> {
        let mut succeeded = true;
        for compare in &txn.compare {
            if !self.holds(compare, resumed)? {
                succeeded = false;
                break;
            }
        }
        let branch = if succeeded { txn.success } else { txn.failure };
        let mut responses = Vec::with_capacity(branch.len());
        for op in branch {
            responses.push(match op.request {
                Some(Request::RequestTxn(inner)) => OpShape::Txn(self.path(inner, resumed, ops)?),
                Some(Request::RequestPut(put)) => {
                    ops.push(Op::Put(put));
                    OpShape::Op
                }
                Some(Request::RequestDeleteRange(delete)) => {
                    ops.push(delete_op(delete));
                    OpShape::Op
                }
                Some(Request::RequestRange(range)) => {
                    ops.push(Op::Range(range));
                    OpShape::Op
                }
                // Refused before it was proposed; should one come all the same, it does nothing on every member.
                None => continue,
            });
        }
        Ok(TxnShape { succeeded, responses })
    }

    /// What refuses the whole entry. In the order of its operations, as etcd checks them.
    pub(super) fn refusal(&self, ops: &[Op]) -> Result<Option<Error>, Fatal> {
        for op in ops {
            let refused = match op {
                Op::Put(put) => self.put_refusal(put)?,
                Op::Range(range) if range.revision > self.meta.visible => Some(Error::FutureRev),
                Op::Range(range) if range.revision != 0 && range.revision < self.meta.compacted => {
                    Some(Error::Compacted)
                }
                Op::Range(range) if range.revision < 0 => Some(Error::Compacted),
                Op::Revoke(id) if self.state(&lease_key(*id))?.is_none() => Some(Error::LeaseNotFound),
                Op::Range(_) | Op::Revoke(_) | Op::Delete { .. } => None,
            };
            if refused.is_some() {
                return Ok(refused);
            }
        }
        Ok(None)
    }

    fn put_refusal(&self, put: &PutRequest) -> Result<Option<Error>, Fatal> {
        if put.lease != 0 && self.state(&lease_key(put.lease))?.is_none() {
            return Ok(Some(Error::LeaseNotFound));
        }
        if (put.ignore_value || put.ignore_lease) && !self.head(&put.key)?.is_some_and(|head| head.live()) {
            return Ok(Some(Error::KeyNotFound));
        }
        Ok(None)
    }

    fn holds(&self, compare: &Compare, resumed: bool) -> Result<bool, Fatal> {
        let before = Bound::within(self.meta.visible + 1, 0);
        let range = KeyRange::new(compare.key.clone(), compare.range_end.clone());
        if let KeyRange::One(key) = &range {
            if !resumed && compare.target() != CompareTarget::Value {
                let head = self.head(key)?.filter(|head| head.live());
                return Ok(matches(compare, head.as_ref().map(|head| (head.at.main, &head.info)), None));
            }
            let found = self.reader.find(key, before, Tier::All)?.known().flatten();
            return self.compare_found(compare, found.as_ref());
        }
        // The relation must hold for every key; for none at all it is evaluated once against nothing.
        let (lower, upper) = head_span(&range);
        if lower >= upper {
            return Ok(matches(compare, None, None));
        }
        let scan = Scan { lower: &lower, upper: &upper, order: Order::Ascending, fill_cache: true };
        let mut cursor = self.reader.engine.scan(Space::Head, scan)?;
        let mut any = false;
        while let Some((row_key, row)) = cursor.next()? {
            let key = head_user_key(row_key).unwrap_or_default();
            let found = if before.sees(HeadRow::decode(row_key, row)?.at) {
                let head = HeadRow::decode(row_key, row)?;
                (!head.info.deleted).then(|| Found {
                    at: head.at,
                    info: head.info,
                    value: head.value.map(bytes::Bytes::copy_from_slice),
                    blob: head.blob,
                })
            } else {
                self.reader.find(key, before, Tier::All)?.known().flatten()
            };
            if let Some(found) = found {
                any = true;
                if !self.compare_found(compare, Some(&found))? {
                    return Ok(false);
                }
            }
        }
        Ok(any || matches(compare, None, None))
    }

    fn compare_found(&self, compare: &Compare, found: Option<&Found>) -> Result<bool, Fatal> {
        let Some(found) = found else { return Ok(matches(compare, None, None)) };
        let value = match (&found.value, compare.target()) {
            (Some(value), _) => Some(value.clone()),
            (None, CompareTarget::Value) => self.reader.value(found.at, found.blob, Tier::All)?.known(),
            (None, _) => None,
        };
        Ok(matches(compare, Some((found.at.main, &found.info)), value.as_deref()))
    }
}

/// Whether some compare looks at values or at ranges: then the open batch must be in the engine.
fn needs_rows(txn: &TxnRequest) -> bool {
    let inner = |op: &RequestOp| matches!(&op.request, Some(Request::RequestTxn(inner)) if needs_rows(inner));
    txn.compare.iter().any(|compare| compare.target() == CompareTarget::Value || !compare.range_end.is_empty())
        || txn.success.iter().any(inner)
        || txn.failure.iter().any(inner)
}

/// Whether what is stored (left) stands in the relation to what the client gave (right). A missing key counts as zeros, and
/// its value equals and differs from nothing.
fn matches(compare: &Compare, stored: Option<(i64, &Info)>, value: Option<&[u8]>) -> bool {
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
