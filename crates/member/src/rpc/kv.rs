//! Range, Put, DeleteRange, Txn, Compact.

use std::rc::Rc;

use bytes::Bytes;
use futures_util::future::{Either, select};
use tidegate_api::{
    Error,
    pb::etcdserverpb::{
        CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, request_op::Request,
    },
    validate,
};
use tidegate_base::{Holder, Lease};
use tidegate_engine::Engine;
use tidegate_http::{
    admission::Admitted,
    grpc::{Call, Code},
};
use tidegate_kv::{
    Bound, Command, CompareCursor, OpAnswer, Outcome, RangeAnswer, ReadError, SliceLimit, TxnAnswer, range_spec,
};

use super::{Answered, decode, detach, finish, large, read_error, status};
use crate::{
    answer::{Pinned, Plan, Point},
    local::Local,
};

/// What a recipe in an applied answer takes besides its keys: its place in the outcome and in the plan.
const RECIPE_BYTES: u64 = 512;
/// Up to here the recipes of a call are part of what every call costs.
const RECIPES_FREE: u64 = 2 << 10;

pub(super) async fn range<E: Engine>(local: Rc<Local<E>>, call: Call, bytes: Bytes) -> Answered {
    let request = match range_request(&local, bytes).await {
        Ok(request) => request,
        Err(error) => return finish(call, &status(&error)),
    };
    match point(&local, &request) {
        Ok(Some(point)) => {
            call.reply_with(point.len(), |out| point.put(out)).await?;
            return Ok(Code::Ok);
        }
        Ok(None) => {}
        Err(error) => return finish(call, &status(&error)),
    }
    match pinned(&local, &request) {
        Ok(plan) => Box::pin(large::send_slowly(&local, call, plan)).await,
        Err(error) => finish(call, &status(&error)),
    }
}

/// A range for callers in the process.
pub(crate) async fn read<E: Engine>(local: &Rc<Local<E>>, bytes: Bytes) -> Result<Plan, Error> {
    let request = range_request(local, bytes).await?;
    pinned(local, &request)
}

async fn range_request<E: Engine>(local: &Rc<Local<E>>, bytes: Bytes) -> Result<RangeRequest, Error> {
    let request: RangeRequest = decode(bytes)?;
    validate::range(&request)?;
    if !request.serializable {
        local.read_barrier().await?;
    }
    Ok(request)
}

/// The answer to a read of one key, when memory has it. It takes no pin.
fn point<E: Engine>(local: &Rc<Local<E>>, request: &RangeRequest) -> Result<Option<Point>, Error> {
    if !request.range_end.is_empty() {
        return Ok(None);
    }
    let reader = &local.shared.reader;
    let bound = reader.bound(request.revision).map_err(read_error)?;
    let header = local.header(header_revision(local, request, bound));
    let point = Point::look(reader, header, range_spec(request, bound)).map_err(read_error)?;
    if point.is_some() {
        local.shared.counts.read(1);
    }
    Ok(point)
}

fn pinned<E: Engine>(local: &Rc<Local<E>>, request: &RangeRequest) -> Result<Plan, Error> {
    let (bound, pin) = local.shared.reader.pinned(request.revision).map_err(read_error)?;
    local.shared.counts.read(1);
    let header = local.header(header_revision(local, request, bound));
    Ok(Plan::range(&header, range_spec(request, bound), pin.into()))
}

/// Who reads now goes on with a watch behind the header's revision: it must be the one that was read.
fn header_revision<E: Engine>(local: &Rc<Local<E>>, request: &RangeRequest, bound: Bound) -> i64 {
    if request.revision > 0 { local.shared.reader.visible() } else { bound.revision() }
}

pub(super) async fn put<E: Engine>(local: Rc<Local<E>>, call: Call, bytes: Bytes, admitted: Admitted) -> Answered {
    let checked = decode::<PutRequest>(bytes.clone()).and_then(|request| {
        validate::put(&request)?;
        Ok(put_recipe(&request))
    });
    write(&local, call, Command::Put, checked, bytes, admitted).await
}

pub(super) async fn delete_range<E: Engine>(
    local: Rc<Local<E>>,
    call: Call,
    bytes: Bytes,
    admitted: Admitted,
) -> Answered {
    let checked = decode::<DeleteRangeRequest>(bytes.clone()).and_then(|request| {
        validate::delete_range(&request)?;
        Ok(delete_recipe(&request))
    });
    write(&local, call, Command::DeleteRange, checked, bytes, admitted).await
}

pub(super) async fn txn<E: Engine>(
    local: Rc<Local<E>>,
    call: Call,
    bytes: Bytes,
    admitted: Admitted,
    decoding: Option<Lease>,
) -> Answered {
    let checked = decode::<TxnRequest>(bytes.clone()).and_then(|request| {
        validate::txn(&request, local.shared.config.txn_ops_max)?;
        Ok(request)
    });
    let request = match checked {
        Ok(request) => request,
        Err(error) => return finish(call, &status(&error)),
    };
    if validate::reads_only(&request) {
        return match Box::pin(read_txn(&local, request)).await {
            Ok(plan) => large::send(&local, call, plan).await,
            Err(error) => finish(call, &status(&error)),
        };
    }
    let recipes = recipes(&request);
    drop((request, decoding));
    write(&local, call, Command::Txn, Ok(recipes), bytes, admitted).await
}

/// Most bytes that the recipes of an answer take.
fn recipes(txn: &TxnRequest) -> u64 {
    let branch = |ops: &[RequestOp]| {
        let of = |op: &RequestOp| match &op.request {
            Some(Request::RequestRange(range)) => RECIPE_BYTES + (range.key.len() + range.range_end.len()) as u64,
            Some(Request::RequestPut(put)) => put_recipe(put),
            Some(Request::RequestDeleteRange(delete)) => delete_recipe(delete),
            Some(Request::RequestTxn(inner)) => RECIPE_BYTES + recipes(inner),
            None => 0,
        };
        ops.iter().map(of).sum()
    };
    u64::max(branch(&txn.success), branch(&txn.failure))
}

fn put_recipe(put: &PutRequest) -> u64 {
    RECIPE_BYTES + if put.prev_kv { put.key.len() as u64 } else { 0 }
}

fn delete_recipe(delete: &DeleteRangeRequest) -> u64 {
    RECIPE_BYTES + if delete.prev_kv { (delete.key.len() + delete.range_end.len()) as u64 } else { 0 }
}

/// A transaction that changes nothing is answered from a bound, without an entry.
async fn read_txn<E: Engine>(local: &Rc<Local<E>>, request: TxnRequest) -> Result<Plan, Error> {
    if !validate::serializable(&request) {
        local.read_barrier().await?;
    }
    let reader = &local.shared.reader;
    let (bound, pin) = reader.pinned(0).map_err(read_error)?;
    // The time of the pin begins with the oldest.
    let mut pin = Pinned::from(pin);
    let (visible, compacted) = (bound.revision(), reader.compacted());
    let mut succeeded = true;
    let compares = request.compare.len();
    for compare in request.compare {
        if !holds(local, CompareCursor::new(compare, bound)).await? {
            succeeded = false;
            break;
        }
    }
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
            pin.keep_older(older);
        }
        responses.push(OpAnswer::Range(RangeAnswer { spec: range_spec(&range, at), header_revision: visible }));
    }
    local.shared.counts.read(compares + responses.len());
    let answer = tidegate_kv::Answer::Txn(TxnAnswer { succeeded, responses });
    Ok(Plan::applied(&local.header(visible), answer, Some(pin)))
}

async fn holds<E: Engine>(local: &Rc<Local<E>>, mut compare: CompareCursor) -> Result<bool, Error> {
    if let Some(holds) = compare.now(&local.shared.reader).map_err(read_error)? {
        return Ok(holds);
    }
    loop {
        let reader = local.shared.reader.clone();
        let slice = move || -> Result<_, ReadError> {
            let holds = compare.step(&reader, SliceLimit::WORK.rows)?;
            Ok((compare, holds))
        };
        let (rest, holds) = local.work(slice).await?.map_err(read_error)?;
        match holds {
            Some(holds) => return Ok(holds),
            None => compare = rest,
        }
    }
}

/// Proposes a request that was checked and waits until it is applied. `checked` are the bytes that the answer's recipes take.
async fn write<E: Engine>(
    local: &Rc<Local<E>>,
    call: Call,
    command: Command,
    checked: Result<u64, Error>,
    bytes: Bytes,
    admitted: Admitted,
) -> Answered {
    // The message's bytes change over to the log and are gone when it is applied: what the answer needs is its own.
    let leased = checked.and_then(|recipes| lease_recipes(local, recipes));
    let _recipes = match leased {
        Ok(lease) => lease,
        Err(error) => return finish(call, &status(&error)),
    };
    let (message, admitted) = detach(bytes, admitted);
    match local.propose(command, message, Some(admitted)).await {
        Ok(outcome) => answer(local, call, outcome).await,
        Err(error) => finish(call, &status(&error)),
    }
}

fn lease_recipes<E: Engine>(local: &Local<E>, bytes: u64) -> Result<Option<Lease>, Error> {
    if bytes <= RECIPES_FREE {
        return Ok(None);
    }
    local.shared.budget.try_lease(Holder::Requests, bytes).map(Some).ok_or(Error::TooManyRequests)
}

/// Answers with the outcome of an applied entry.
pub(super) async fn answer<E: Engine>(local: &Rc<Local<E>>, call: Call, outcome: Box<Outcome>) -> Answered {
    let plan = {
        let Outcome { result, revision, pin, .. } = *outcome;
        result.map(|answer| Plan::applied(&local.header(revision), answer, pin.map(Pinned::from)))
    };
    match plan {
        Ok(plan) => large::send(local, call, plan).await,
        Err(error) => finish(call, &status(&error)),
    }
}

pub(super) async fn compact<E: Engine>(local: Rc<Local<E>>, call: Call, bytes: Bytes, admitted: Admitted) -> Answered {
    let request: CompactionRequest = match decode(bytes.clone()) {
        Ok(request) => request,
        Err(error) => return finish(call, &status(&error)),
    };
    let (message, admitted) = detach(bytes, admitted);
    let outcome = match local.propose(Command::Compaction, message, Some(admitted)).await {
        Ok(outcome) => outcome,
        Err(error) => return finish(call, &status(&error)),
    };
    if request.physical && outcome.result.is_ok() {
        // Gone for good once no read holds it; the client's deadline ends the wait, or the end of the member.
        let mut swept = local.shared.swept.subscribe();
        let gone = std::pin::pin!(swept.wait_for(|swept| *swept >= request.revision));
        let stopped = std::pin::pin!(local.shared.stopped());
        if let Either::Right(_) = select(gone, stopped).await {
            return finish(call, &status(&Error::Stopped));
        }
    }
    answer(&local, call, outcome).await
}
