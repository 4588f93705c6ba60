//! Which way a transaction goes, and what refuses an entry, decided before anything is written.

use bytes::Bytes;
use tidegate_api::{
    Error,
    pb::etcdserverpb::{Compare, PutRequest, RequestOp, TxnRequest, compare::CompareTarget, request_op::Request},
};
use tidegate_base::LogPosition;
use tidegate_engine::Engine;

use super::{
    Fatal, Machine,
    shape::{Op, OpShape, TxnShape, delete_op},
};
use crate::{Bound, reader::matches, rows::lease_key};

impl<E: Engine> Machine<E> {
    /// The operations along the path that the compares choose. All of them are evaluated against the state before the entry,
    /// also when the entry is taken up again after a crash: its revision is not part of that state.
    pub(super) fn decide(&mut self, position: LogPosition, txn: TxnRequest) -> Result<(Vec<Op>, TxnShape), Fatal> {
        let resumed = self.meta.cursor.as_ref().is_some_and(|cursor| cursor.index == position.index);
        if self.reads_beyond_the_overlay(&txn) {
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
        if !resumed && compare.range_end.is_empty() {
            let head = self.head(&compare.key)?.filter(|head| head.live());
            let value = match &head {
                Some(head) if compare.target() == CompareTarget::Value => self.value_of(head)?,
                _ => Bytes::new(),
            };
            return Ok(matches(compare, head.as_ref().map(|head| (head.at.main, &head.info)), Some(&value)));
        }
        Ok(self.reader.holds(compare, Bound::within(self.meta.visible + 1, 0))?)
    }

    /// Whether some compare looks at what only the open batch holds: a range, or a value too large for the overlay. Then the
    /// batch must be in the engine.
    fn reads_beyond_the_overlay(&self, txn: &TxnRequest) -> bool {
        let compares = txn.compare.iter().any(|compare| {
            !compare.range_end.is_empty()
                || (compare.target() == CompareTarget::Value && self.value_is_in_the_batch(&compare.key))
        });
        let inner = |op: &RequestOp| matches!(&op.request, Some(Request::RequestTxn(inner)) if self.reads_beyond_the_overlay(inner));
        compares || txn.success.iter().any(inner) || txn.failure.iter().any(inner)
    }
}
