//! Range, Put, DeleteRange, Txn, Compact.

use std::{
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use tidegate_api::{
    Error,
    pb::etcdserverpb::{
        CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
        range_request::{SortOrder, SortTarget},
        request_op::Request,
    },
    validate,
};
use tidegate_base::Lease;
use tidegate_engine::Engine;
use tidegate_http::{
    admission::Admitted,
    grpc::{Call, Gone},
};
use tidegate_kv::{Bound, Command, OpAnswer, Outcome, RangeAnswer, TxnAnswer, range_spec};

use super::{decode, detach, finish, large, read_error, status};
use crate::{answer::Plan, local::Local};

pub(super) async fn range<E: Engine>(local: Rc<Local<E>>, call: Call, bytes: Bytes) -> Result<(), Gone> {
    count(&local.shared.counts.ranges);
    match read(&local, bytes).await {
        Ok(plan) => large::send(&local, call, plan).await,
        Err(error) => finish(call, &status(&error)),
    }
}

pub(crate) async fn read<E: Engine>(local: &Rc<Local<E>>, bytes: Bytes) -> Result<Plan, Error> {
    let request: RangeRequest = decode(bytes)?;
    validate::range(&request)?;
    supported(&request)?;
    if !request.serializable {
        local.read_barrier().await?;
    }
    let reader = &local.shared.reader;
    let (bound, pin) = reader.pinned(request.revision).map_err(read_error)?;
    // Who reads now goes on with a watch behind the header's revision: it must be the one that was read.
    let header = local.header(if request.revision > 0 { reader.visible() } else { bound.revision() });
    let spec = range_spec(&request, bound);
    Ok(Plan::range(&header, spec, Some(pin)))
}

/// What a range may ask of this version.
fn supported(request: &RangeRequest) -> Result<(), Error> {
    let by_key = request.sort_target() == SortTarget::Key || request.sort_order() == SortOrder::None;
    if !by_key || (request.sort_target() != SortTarget::Key && request.sort_order() == SortOrder::None) {
        return Err(Error::unimplemented("Range: sort by another field than the key"));
    }
    let filters =
        [request.min_mod_revision, request.max_mod_revision, request.min_create_revision, request.max_create_revision];
    if filters.iter().any(|revision| *revision != 0) {
        return Err(Error::unimplemented("Range: min and max revisions"));
    }
    Ok(())
}

pub(super) async fn put<E: Engine>(
    local: Rc<Local<E>>,
    call: Call,
    bytes: Bytes,
    admitted: Admitted,
) -> Result<(), Gone> {
    count(&local.shared.counts.puts);
    let checked = decode::<PutRequest>(bytes.clone()).and_then(|request| validate::put(&request));
    write(&local, call, Command::Put, checked, bytes, admitted).await
}

pub(super) async fn delete_range<E: Engine>(
    local: Rc<Local<E>>,
    call: Call,
    bytes: Bytes,
    admitted: Admitted,
) -> Result<(), Gone> {
    count(&local.shared.counts.deletes);
    let checked = decode::<DeleteRangeRequest>(bytes.clone()).and_then(|request| validate::delete_range(&request));
    write(&local, call, Command::DeleteRange, checked, bytes, admitted).await
}

pub(super) async fn txn<E: Engine>(
    local: Rc<Local<E>>,
    call: Call,
    bytes: Bytes,
    admitted: Admitted,
    decoding: Option<Lease>,
) -> Result<(), Gone> {
    count(&local.shared.counts.txns);
    let checked = decode::<TxnRequest>(bytes.clone()).and_then(|request| {
        validate::txn(&request, local.shared.config.txn_ops_max)?;
        ranges_supported(&request)?;
        Ok(request)
    });
    let request = match checked {
        Ok(request) => request,
        Err(error) => return finish(call, &status(&error)),
    };
    if validate::reads_only(&request) {
        return match read_txn(&local, request).await {
            Ok(plan) => large::send(&local, call, plan).await,
            Err(error) => finish(call, &status(&error)),
        };
    }
    drop((request, decoding));
    write(&local, call, Command::Txn, Ok(()), bytes, admitted).await
}

fn ranges_supported(txn: &TxnRequest) -> Result<(), Error> {
    txn.success.iter().chain(&txn.failure).try_for_each(|op| match &op.request {
        Some(Request::RequestRange(range)) => supported(range),
        Some(Request::RequestTxn(inner)) => ranges_supported(inner),
        _ => Ok(()),
    })
}

/// A transaction that changes nothing is answered from a bound, without an entry.
async fn read_txn<E: Engine>(local: &Rc<Local<E>>, request: TxnRequest) -> Result<Plan, Error> {
    if !validate::serializable(&request) {
        local.read_barrier().await?;
    }
    let reader = local.shared.reader.clone();
    let (bound, mut pin) = reader.pinned(0).map_err(read_error)?;
    let (visible, compacted) = (bound.revision(), reader.compacted());
    let compares = request.compare;
    let succeeded = if compares.is_empty() {
        true
    } else {
        let holds = move || {
            for compare in &compares {
                if !reader.holds(compare, bound)? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let held = local.shared.work.run(crate::threads::Lane::Read, holds).await.map_err(|_| Error::Stopped)?;
        held.map_err(read_error)?
    };
    let mut responses = Vec::new();
    for op in if succeeded { request.success } else { request.failure } {
        let RequestOp { request: Some(Request::RequestRange(range)) } = op else { continue };
        let at = match range.revision {
            0 => bound,
            revision if revision > visible => return Err(Error::FutureRev),
            revision if revision < compacted => return Err(Error::Compacted),
            ..0 => bound,
            revision => Bound::at(revision),
        };
        if at < bound {
            let older = local.shared.reader.pin(at).map_err(read_error)?;
            if older.revision() < pin.revision() {
                pin = older;
            }
        }
        responses.push(OpAnswer::Range(RangeAnswer { spec: range_spec(&range, at), header_revision: visible }));
    }
    let answer = tidegate_kv::Answer::Txn(TxnAnswer { succeeded, responses });
    Ok(Plan::applied(&local.header(visible), answer, Some(pin)))
}

async fn write<E: Engine>(
    local: &Rc<Local<E>>,
    call: Call,
    command: Command,
    checked: Result<(), Error>,
    bytes: Bytes,
    admitted: Admitted,
) -> Result<(), Gone> {
    if let Err(error) = checked {
        return finish(call, &status(&error));
    }
    let (message, admitted) = detach(&bytes, admitted);
    drop(bytes);
    match local.propose(command, message, Some(admitted)).await {
        Ok(outcome) => answer(local, call, *outcome).await,
        Err(error) => finish(call, &status(&error)),
    }
}

/// Answers with the outcome of an applied entry.
pub(super) async fn answer<E: Engine>(local: &Rc<Local<E>>, call: Call, outcome: Outcome) -> Result<(), Gone> {
    match outcome.result {
        Ok(answer) => {
            let plan = Plan::applied(&local.header(outcome.revision), answer, outcome.pin);
            large::send(local, call, plan).await
        }
        Err(error) => finish(call, &status(&error)),
    }
}

pub(super) async fn compact<E: Engine>(
    local: Rc<Local<E>>,
    call: Call,
    bytes: Bytes,
    admitted: Admitted,
) -> Result<(), Gone> {
    let request: CompactionRequest = match decode(bytes.clone()) {
        Ok(request) => request,
        Err(error) => return finish(call, &status(&error)),
    };
    let (message, admitted) = detach(&bytes, admitted);
    let outcome = match local.propose(Command::Compaction, message, Some(admitted)).await {
        Ok(outcome) => outcome,
        Err(error) => return finish(call, &status(&error)),
    };
    if request.physical && outcome.result.is_ok() {
        // Gone for good once no read holds it; the client's deadline ends the wait.
        while local.shared.swept.load(Ordering::Acquire) < request.revision {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    answer(&local, call, *outcome).await
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
