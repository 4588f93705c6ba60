//! What an entry executes, and how the answers are put together again.

use tidegate_api::{
    Error, KeyRange,
    pb::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest},
};
use tidegate_engine::Order;

use crate::{Answer, Bound, OpAnswer, RangeSpec, TxnAnswer};

/// An operation that an entry executes. A transaction is the list of them along its path.
#[derive(Debug)]
pub(super) enum Op {
    Put(PutRequest),
    Delete { range: KeyRange, previous: bool },
    Range(RangeRequest),
    Revoke(i64),
}

/// How the answers of the operations are nested.
#[derive(Debug)]
pub(super) enum Shape {
    Single,
    Txn(TxnShape),
}

#[derive(Debug)]
pub(super) struct TxnShape {
    pub(super) succeeded: bool,
    pub(super) responses: Vec<OpShape>,
}

#[derive(Debug)]
pub(super) enum OpShape {
    /// The next operation's answer.
    Op,
    Txn(TxnShape),
}

pub(super) fn delete_op(delete: DeleteRangeRequest) -> Op {
    Op::Delete { range: KeyRange::new(delete.key, delete.range_end), previous: delete.prev_kv }
}

/// What a `RangeRequest` reads at `bound`. The keys are copied: the answer outlives the request's buffer.
pub fn range_spec(request: &RangeRequest, bound: Bound) -> RangeSpec {
    use tidegate_api::pb::etcdserverpb::range_request::SortOrder;
    let order = if request.sort_order() == SortOrder::Descend { Order::Descending } else { Order::Ascending };
    RangeSpec {
        range: KeyRange::new(request.key.clone(), request.range_end.clone()).detached(),
        bound,
        order,
        limit: u64::try_from(request.limit).unwrap_or(0),
        keys_only: request.keys_only,
        count_only: request.count_only,
    }
}

/// The answers of a transaction's operations, as deep as they were asked.
pub(super) fn nest(shape: TxnShape, answers: &mut impl Iterator<Item = OpAnswer>) -> TxnAnswer {
    let responses = shape.responses.into_iter().filter_map(|response| match response {
        OpShape::Op => answers.next(),
        OpShape::Txn(inner) => Some(OpAnswer::Txn(nest(inner, answers))),
    });
    TxnAnswer { succeeded: shape.succeeded, responses: responses.collect() }
}

/// The oldest revision that the answer's recipes read.
pub(super) fn oldest_recipe(result: &Result<Answer, Error>) -> Option<i64> {
    fn of_op(op: &OpAnswer) -> Option<i64> {
        match op {
            OpAnswer::Range(range) => Some(range.spec.bound.revision()),
            OpAnswer::Put(put) => put.previous.as_ref().map(|previous| previous.bound.revision()),
            OpAnswer::Delete(delete) => delete.previous.as_ref().map(|spec| spec.bound.revision()),
            OpAnswer::Txn(txn) => txn.responses.iter().filter_map(of_op).min(),
        }
    }
    match result.as_ref().ok()? {
        Answer::Put(put) => put.previous.as_ref().map(|previous| previous.bound.revision()),
        Answer::Delete(delete) => delete.previous.as_ref().map(|spec| spec.bound.revision()),
        Answer::Txn(txn) => txn.responses.iter().filter_map(of_op).min(),
        _ => None,
    }
}
