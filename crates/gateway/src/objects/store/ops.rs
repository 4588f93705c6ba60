//! Requests to the store, made and read.

use bytes::Bytes;
use tidegate_api::{
    Error, KeyRange,
    pb::{
        Compare, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, RangeResponse, RequestOp, TxnResponse,
        compare::{CompareTarget, TargetUnion},
        request_op::Request,
        response_op::Response,
    },
};

pub(crate) fn read_op(key: impl Into<Bytes>) -> RequestOp {
    range_op(RangeRequest { key: key.into(), ..RangeRequest::default() })
}

pub(crate) const fn range_op(range: RangeRequest) -> RequestOp {
    RequestOp { request: Some(Request::RequestRange(range)) }
}

/// At most `limit` pairs below a prefix; 0: all of them.
pub(crate) fn prefix_range(prefix: &str, limit: i64) -> RangeRequest {
    let (key, range_end) = KeyRange::prefix(Bytes::copy_from_slice(prefix.as_bytes())).into_request();
    RangeRequest { key, range_end, limit, ..RangeRequest::default() }
}

pub(crate) fn put_op(key: impl Into<Bytes>, value: impl Into<Bytes>) -> RequestOp {
    let put = PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() };
    RequestOp { request: Some(Request::RequestPut(put)) }
}

pub(crate) fn delete_op(key: impl Into<Bytes>) -> RequestOp {
    delete_span(key, Bytes::new())
}

/// Deletes from `from` up to `to`, exclusive.
pub(crate) fn delete_span(from: impl Into<Bytes>, to: impl Into<Bytes>) -> RequestOp {
    let delete = DeleteRangeRequest { key: from.into(), range_end: to.into(), prev_kv: false };
    RequestOp { request: Some(Request::RequestDeleteRange(delete)) }
}

/// Holds while the key was not written since this revision; 0: while it does not exist.
pub(crate) fn unchanged(key: impl Into<Bytes>, mod_revision: i64) -> Compare {
    let target_union = Some(TargetUnion::ModRevision(mod_revision));
    Compare { key: key.into(), target: CompareTarget::Mod.into(), target_union, ..Compare::default() }
}

pub(crate) fn same(key: &str, pair: Option<&KeyValue>) -> Compare {
    unchanged(Bytes::copy_from_slice(key.as_bytes()), pair.map_or(0, |pair| pair.mod_revision))
}

/// The ranges that a transaction of ours answers.
pub(crate) fn ranges<const N: usize>(answer: TxnResponse) -> Result<[RangeResponse; N], Error> {
    let ranges = answer.responses.into_iter().filter_map(|op| match op.response {
        Some(Response::ResponseRange(range)) => Some(range),
        _ => None,
    });
    let ranges: Vec<_> = ranges.collect();
    ranges.try_into().map_err(|_| Error::undecodable("a transaction of ranges answered something else"))
}

/// A decimal number; what is none counts as 0, and the next change puts it right.
pub(crate) fn number_of(pair: Option<&KeyValue>) -> u64 {
    pair.and_then(|pair| std::str::from_utf8(&pair.value).ok()?.trim().parse().ok()).unwrap_or(0)
}
