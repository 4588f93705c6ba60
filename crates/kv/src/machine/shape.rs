//! What an entry executes, and how the answers are put together again.

use tidegate_api::{
    Error, KeyRange,
    pb::etcdserverpb::{
        DeleteRangeRequest, PutRequest, RangeRequest,
        range_request::{SortOrder, SortTarget},
    },
};
use tidegate_engine::Order;

use crate::{Answer, Bound, OpAnswer, RangeSpec, Revisions, SortField, TxnAnswer};

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
    let sort = match request.sort_target() {
        SortTarget::Key => SortField::Key,
        SortTarget::Version => SortField::Version,
        SortTarget::Create => SortField::Create,
        SortTarget::Mod => SortField::Mod,
        SortTarget::Value => SortField::Value,
    };
    let descends = request.sort_order() == SortOrder::Descend;
    let limit = u64::try_from(request.limit).unwrap_or(0);
    let revisions = Revisions {
        mod_min: request.min_mod_revision,
        mod_max: request.max_mod_revision,
        create_min: request.min_create_revision,
        create_max: request.max_create_revision,
    };
    // Where no order is asked for, etcd takes what the limit leaves in key order, and one more, before it sorts.
    let cut_first = request.sort_order() == SortOrder::None && revisions == Revisions::default() && limit > 0;
    RangeSpec {
        range: KeyRange::new(request.key.clone(), request.range_end.clone()).detached(),
        bound,
        sort,
        order: if descends { Order::Descending } else { Order::Ascending },
        sorted_max: if cut_first { limit.saturating_add(1) } else { 0 },
        limit,
        revisions,
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
    let mut oldest: Option<i64> = None;
    result.as_ref().ok()?.each_recipe(&mut |recipe| {
        let revision = recipe.bound().revision();
        oldest = Some(oldest.map_or(revision, |oldest| oldest.min(revision)));
    });
    oldest
}
