//! Checks of requests that need nothing but the request, in the order in which etcd makes them: the first that fails is
//! the answer.

mod keys;
#[cfg(test)]
mod tests;

use crate::{
    Error,
    pb::{
        DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
        range_request::{SortOrder, SortTarget},
        request_op::Request,
    },
};

/// Default of `--max-txn-ops`.
pub const TXN_OPS_MAX: usize = 128;

/// Longest time to live of a lease, in seconds.
pub const LEASE_TTL_MAX: i64 = 9_000_000_000;

/// # Errors
/// [`Error::EmptyKey`], [`Error::InvalidSortOption`].
pub fn range(request: &RangeRequest) -> Result<(), Error> {
    key(&request.key)?;
    if SortOrder::try_from(request.sort_order).is_err() || SortTarget::try_from(request.sort_target).is_err() {
        return Err(Error::InvalidSortOption);
    }
    Ok(())
}

/// What a streamed range may ask for: key order and no filters by revision.
///
/// # Errors
/// As [`range`]; [`Error::RangeStreamSort`], [`Error::RangeStreamFilters`].
pub fn range_stream(request: &RangeRequest) -> Result<(), Error> {
    range(request)?;
    let by_key = request.sort_target() == SortTarget::Key;
    match request.sort_order() {
        SortOrder::None | SortOrder::Ascend if by_key => {}
        _ => return Err(Error::RangeStreamSort),
    }
    let filters =
        [request.min_mod_revision, request.max_mod_revision, request.min_create_revision, request.max_create_revision];
    if filters.iter().any(|revision| *revision != 0) { Err(Error::RangeStreamFilters) } else { Ok(()) }
}

/// # Errors
/// [`Error::EmptyKey`], [`Error::ValueProvided`], [`Error::LeaseProvided`].
pub fn put(request: &PutRequest) -> Result<(), Error> {
    key(&request.key)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(Error::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Error::LeaseProvided);
    }
    Ok(())
}

/// # Errors
/// [`Error::EmptyKey`].
pub fn delete_range(request: &DeleteRangeRequest) -> Result<(), Error> {
    key(&request.key)
}

/// Checks counts and fields of the whole tree, then keys that are written twice. `ops_max` bounds each list of the
/// outermost transaction; a nested one has what its parent's longest list leaves of it.
///
/// Recursive: [`crate::wire`] has bounded the depth. O(ops × log ops).
///
/// # Errors
/// [`Error::TooManyOps`], those of each operation, [`Error::KeyNotFound`] for an operation without content,
/// [`Error::DuplicateKey`].
pub fn txn(request: &TxnRequest, ops_max: usize) -> Result<(), Error> {
    txn_fields(request, ops_max)?;
    keys::branch(&request.success)?;
    keys::branch(&request.failure)?;
    Ok(())
}

/// # Errors
/// [`Error::LeaseTtlTooLarge`].
pub fn lease_grant(request: &LeaseGrantRequest) -> Result<(), Error> {
    if request.ttl > LEASE_TTL_MAX { Err(Error::LeaseTtlTooLarge) } else { Ok(()) }
}

/// Whether a transaction only reads: such a one needs no entry in the log. A nested transaction counts as a write, as
/// in etcd.
pub fn reads_only(request: &TxnRequest) -> bool {
    ops(request).all(|op| matches!(op.request, Some(Request::RequestRange(_))))
}

/// Whether a transaction that only reads may be answered without asking the cluster: each of its ranges allows it.
pub fn serializable(request: &TxnRequest) -> bool {
    ops(request).all(|op| matches!(&op.request, Some(Request::RequestRange(range)) if range.serializable))
}

fn ops(request: &TxnRequest) -> impl Iterator<Item = &RequestOp> {
    request.success.iter().chain(&request.failure)
}

fn key(key: &[u8]) -> Result<(), Error> {
    if key.is_empty() { Err(Error::EmptyKey) } else { Ok(()) }
}

fn txn_fields(request: &TxnRequest, ops_max: usize) -> Result<(), Error> {
    let longest = request.compare.len().max(request.success.len()).max(request.failure.len());
    let Some(left) = ops_max.checked_sub(longest) else { return Err(Error::TooManyOps) };
    for compare in &request.compare {
        key(&compare.key)?;
    }
    for op in ops(request) {
        match &op.request {
            Some(Request::RequestRange(request)) => range(request)?,
            Some(Request::RequestPut(request)) => put(request)?,
            Some(Request::RequestDeleteRange(request)) => delete_range(request)?,
            Some(Request::RequestTxn(request)) => txn_fields(request, left)?,
            None => return Err(Error::KeyNotFound),
        }
    }
    Ok(())
}
