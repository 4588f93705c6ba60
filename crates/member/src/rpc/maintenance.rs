//! Status, HashKV, and the list of alarms.

use std::rc::Rc;

use bytes::Bytes;
use tidegate_api::{
    Error,
    pb::etcdserverpb::{
        AlarmRequest, AlarmResponse, AlarmType, HashKvRequest, HashKvResponse, StatusResponse,
        alarm_request::AlarmAction,
    },
};
use tidegate_engine::Engine;
use tidegate_http::grpc::Call;
use tidegate_kv::{HashAnswer, HashCursor};

use super::{Answered, decode, encode, finish, lease::response_header, read_error, reply, status as status_of};
use crate::{local::Local, version::VERSION};

/// Rows that one slice of hashing takes.
const HASH_ROWS: usize = 1000;
/// Size of an empty store: a page.
const SIZE_LEAST: i64 = 4096;
/// The quota where none is set. Source: etcd.
const QUOTA_DEFAULT: i64 = 2 << 30;

pub(super) async fn status<E: Engine>(local: &Rc<Local<E>>) -> Result<Bytes, Error> {
    let shared = &local.shared;
    let reader = shared.reader.clone();
    let (alarms, usage) = local.work(move || (reader.alarms(), reader.engine().usage())).await?;
    let mut errors: Vec<String> = alarms
        .map_err(read_error)?
        .iter()
        .map(|alarm| format!("memberID:{} alarm:{} ", alarm.member_id, alarm.alarm().as_str_name()))
        .collect();
    if shared.consensus.leader() == 0 {
        errors.insert(0, Error::NoLeader.text().to_owned());
    }
    // What is written counts before it is flushed; tools divide by it, so it is never nothing.
    let size = i64::try_from(usage.disk + usage.unflushed).unwrap_or(i64::MAX).max(SIZE_LEAST);
    Ok(encode(&StatusResponse {
        header: Some(response_header(local, shared.reader.visible())),
        version: VERSION.to_owned(),
        db_size: size,
        leader: shared.consensus.leader(),
        raft_index: shared.consensus.commit().0,
        raft_term: shared.consensus.term(),
        raft_applied_index: shared.reader.applied().0,
        errors,
        db_size_in_use: size,
        is_learner: false,
        storage_version: crate::version::STORAGE_VERSION.to_owned(),
        db_size_quota: if shared.config.quota_bytes == 0 { QUOTA_DEFAULT } else { shared.config.quota_bytes },
        downgrade_info: Some(Default::default()),
    }))
}

pub(super) async fn hash_kv<E: Engine>(local: Rc<Local<E>>, call: Call, bytes: Bytes) -> Answered {
    match hash(&local, bytes).await {
        Ok(answer) => {
            let response = HashKvResponse {
                header: Some(response_header(&local, local.shared.reader.visible())),
                hash: answer.hash,
                compact_revision: answer.compact_revision,
                hash_revision: answer.hash_revision,
            };
            reply(call, encode(&response)).await
        }
        Err(error) => finish(call, &status_of(&error)),
    }
}

async fn hash<E: Engine>(local: &Rc<Local<E>>, bytes: Bytes) -> Result<HashAnswer, Error> {
    let request: HashKvRequest = decode(bytes)?;
    let mut cursor = HashCursor::new(&local.shared.reader, request.revision).map_err(read_error)?;
    loop {
        let reader = local.shared.reader.clone();
        let slice = move || {
            let step = cursor.step(&reader, HASH_ROWS);
            (cursor, step)
        };
        let (rest, step) = local.work(slice).await?;
        cursor = rest;
        if let Some(answer) = step.map_err(read_error)? {
            return Ok(answer);
        }
    }
}

pub(super) async fn alarm<E: Engine>(local: &Rc<Local<E>>, bytes: Bytes) -> Result<Bytes, Error> {
    let request: AlarmRequest = decode(bytes.clone())?;
    if request.action() != AlarmAction::Get {
        return Err(Error::unimplemented("Maintenance/Alarm: activate and deactivate"));
    }
    let reader = local.shared.reader.clone();
    let mut alarms = local.work(move || reader.alarms()).await?.map_err(read_error)?;
    // Of any member, whatever the request names: so answers the real one.
    alarms.retain(|alarm| request.alarm() == AlarmType::None || alarm.alarm == request.alarm);
    Ok(encode(&AlarmResponse { header: Some(response_header(local, local.shared.reader.visible())), alarms }))
}
