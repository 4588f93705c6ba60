//! LeaseGrant, LeaseRevoke, LeaseKeepAlive, LeaseTimeToLive, LeaseLeases.

use std::rc::Rc;

use bytes::Bytes;
use futures_util::future::{Either, select};
use tidegate_api::{
    Error, Method,
    pb::etcdserverpb::{
        LeaseGrantRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesRequest, LeaseLeasesResponse,
        LeaseRevokeRequest, LeaseStatus, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, ResponseHeader,
    },
    validate,
};
use tidegate_base::Lease;
use tidegate_engine::Engine;
use tidegate_http::{
    admission::Admitted,
    grpc::{Accept, Call, Code, Status},
};
use tidegate_kv::Command;

use super::{Answered, decode, detach, encode, finish, kv, large, read_error, status};
use crate::local::Local;

/// Keys of a lease that one slice reads, in bytes.
const KEYS_SLICE: usize = 256 << 10;
/// What a lease takes while the list of all is made: its deadline, its id, and the encoded id.
const LISTED_BYTES: u64 = 48;
/// Leases that may be granted while a list is asked for.
const LEASES_SPARE: usize = 256;
/// Tries to find an id that is not taken.
const ID_TRIES: usize = 8;

pub(super) async fn grant<E: Engine>(local: Rc<Local<E>>, call: Call, bytes: Bytes, admitted: Admitted) -> Answered {
    let checked = decode::<LeaseGrantRequest>(bytes.clone()).and_then(|request| {
        validate::lease_grant(&request)?;
        Ok((request, local.shared.room_for_lease()?))
    });
    let (request, _room) = match checked {
        Ok(checked) => checked,
        Err(error) => return finish(call, &status(&error)),
    };
    let ttl_seconds = request.ttl.max(local.shared.config.lease_ttl_least());
    // Two numbers instead of what came, which may have unknown fields of any length: so few bytes need no lease but the log's.
    let message = encode(&LeaseGrantRequest { ttl: request.ttl, id: request.id });
    drop((bytes, admitted));
    for _ in 0..ID_TRIES {
        let id = if request.id == 0 { local.shared.lease_id() } else { request.id };
        let outcome = match local.propose(Command::LeaseGrant { id, ttl_seconds }, message.clone(), None).await {
            Ok(outcome) => outcome,
            Err(error) => return finish(call, &status(&error)),
        };
        if request.id == 0 && outcome.result == Err(Error::LeaseExist) {
            continue;
        }
        return kv::answer(&local, call, outcome).await;
    }
    finish(call, &status(&Error::LeaseExist))
}

pub(super) async fn revoke<E: Engine>(local: Rc<Local<E>>, call: Call, bytes: Bytes, admitted: Admitted) -> Answered {
    if let Err(error) = decode::<LeaseRevokeRequest>(bytes.clone()) {
        return finish(call, &status(&error));
    }
    let (message, admitted) = detach(bytes, admitted);
    match local.propose(Command::LeaseRevoke, message, Some(admitted)).await {
        Ok(outcome) => kv::answer(&local, call, outcome).await,
        Err(error) => finish(call, &status(&error)),
    }
}

/// One answer for each request, in order, until the client has sent its last.
pub(super) async fn keep_alive<E: Engine>(local: Rc<Local<E>>, call: Call) -> Answered {
    if let Some(status) = local.refusal(&call, Method::LeaseKeepAlive) {
        return finish(call, &status);
    }
    let accept = Accept { message_max: local.shared.config.message_bytes_max(), decode_cost: |_| 0 };
    let (mut incoming, mut out) = call.split(accept);
    out.room(1).await?; // the client waits for the head before it sends
    let mut stopped = std::pin::pin!(local.shared.stopped());
    loop {
        let next = match select(std::pin::pin!(incoming.next()), &mut stopped).await {
            Either::Left((next, _)) => next,
            Either::Right(_) => Err(status(&Error::Stopped)),
        };
        let message = match next {
            Ok(Some(message)) => message,
            Ok(None) => {
                out.finish(&Status::OK);
                return Ok(Code::Ok);
            }
            Err(status) => {
                out.finish(&status);
                return Ok(status.code);
            }
        };
        let result = async {
            let request: LeaseKeepAliveRequest = decode(message.bytes)?;
            // The header tells the revision before the renewal.
            let header = response_header(&local, local.shared.reader.visible());
            let seconds = local.keep_alive(request.id).await?;
            let ttl = seconds.map_or(0, |seconds| i64::try_from(seconds).unwrap_or(i64::MAX));
            Ok(LeaseKeepAliveResponse { header: Some(header), id: request.id, ttl })
        };
        match result.await {
            Ok(response) => out.send_message(encode(&response)).await?,
            Err(error) => {
                let error: Error = error;
                let status = status(&error);
                out.finish(&status);
                return Ok(status.code);
            }
        }
    }
}

pub(super) async fn time_to_live<E: Engine>(local: Rc<Local<E>>, call: Call, bytes: Bytes) -> Answered {
    let mut lease = local.shared.budget.empty(tidegate_base::Holder::Answers);
    let outcome = remaining(&local, bytes, &mut lease).await;
    send(call, outcome, lease).await
}

/// The answer, and what it takes in `lease`, also while it is made.
async fn remaining<E: Engine>(local: &Rc<Local<E>>, bytes: Bytes, lease: &mut Lease) -> Result<Bytes, Error> {
    let request: LeaseTimeToLiveRequest = decode(bytes)?;
    local.read_barrier().await?;
    let header = Some(response_header(local, local.shared.reader.visible()));
    let Some((granted, remaining)) = local.time_to_live(request.id).await? else {
        return Ok(encode(&LeaseTimeToLiveResponse { header, id: request.id, ttl: -1, ..Default::default() }));
    };
    let mut keys: Vec<Bytes> = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    // The answer is one message, so it is bounded: what does not fit is refused rather than cut.
    loop {
        if !request.keys {
            break;
        }
        let (reader, id, from) = (local.shared.reader.clone(), request.id, after.take());
        let slice = move || reader.lease_keys(id, from.as_deref(), KEYS_SLICE);
        let slice = local.work(slice).await?.map_err(read_error)?;
        let Some(last) = slice.last() else { break };
        after = Some(last.clone());
        let bytes: usize = slice.iter().map(|key| key.len() + size_of::<Bytes>() + 8).sum();
        if !lease.try_grow(2 * bytes as u64) {
            return Err(Error::TooManyRequests);
        }
        keys.extend(slice.into_iter().map(Bytes::from));
    }
    let signed = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    Ok(encode(&LeaseTimeToLiveResponse {
        header,
        id: request.id,
        ttl: signed(remaining),
        granted_ttl: signed(granted),
        keys,
    }))
}

pub(super) async fn leases<E: Engine>(local: Rc<Local<E>>, call: Call, bytes: Bytes) -> Answered {
    let mut lease = local.shared.budget.empty(tidegate_base::Holder::Answers);
    let outcome = all(&local, bytes, &mut lease).await;
    send(call, outcome, lease).await
}

/// Sends an answer that was made as a whole under `lease`.
async fn send(call: Call, outcome: Result<Bytes, Error>, mut lease: Lease) -> Answered {
    match outcome {
        Ok(message) => {
            lease.shrink_to(message.len() as u64);
            large::send_message(call, message, lease).await
        }
        Err(error) => finish(call, &status(&error)),
    }
}

/// The answer, and what it takes in `lease`, also while it is made.
async fn all<E: Engine>(local: &Rc<Local<E>>, bytes: Bytes, lease: &mut Lease) -> Result<Bytes, Error> {
    decode::<LeaseLeasesRequest>(bytes)?;
    loop {
        // What is there now, and what may come while the question is on its way.
        let most = local.shared.consensus.leases() + LEASES_SPARE;
        let wanted = most as u64 * LISTED_BYTES;
        if !lease.try_grow(wanted.saturating_sub(lease.bytes())) {
            return Err(Error::TooManyRequests);
        }
        let header = Some(response_header(local, local.shared.reader.visible()));
        let mut deadlines = local.leases().await?;
        if deadlines.len() > most {
            continue;
        }
        let encoded = move || {
            // The next to expire first, as etcd's leader has them.
            deadlines.sort_unstable();
            let leases = deadlines.into_iter().map(|(_, id)| LeaseStatus { id }).collect();
            encode(&LeaseLeasesResponse { header, leases })
        };
        return local.work(encoded).await;
    }
}

pub(super) fn response_header<E: Engine>(local: &Rc<Local<E>>, revision: i64) -> ResponseHeader {
    let header = local.header(revision);
    ResponseHeader {
        cluster_id: header.cluster_id,
        member_id: header.member_id,
        revision: header.revision,
        raft_term: header.term,
    }
}
