//! Sending a [`Plan`]: at once when it is small, else in slices as the client takes them.

use std::rc::Rc;

use bytes::Bytes;
use tidegate_api::{Code as ApiCode, Error};
use tidegate_engine::{Engine, Tier};
use tidegate_http::{
    admission::Admitted,
    grpc::{CHUNK_MAX, Call, Chunk, Gone, Outgoing, Status, prefix},
};
use tidegate_kv::{Piece, RangeCursor, ReadError, SliceLimit};

use super::{finish, read_error, status};
use crate::{
    answer::{Part, Plan},
    local::Local,
    threads::Lane,
};

/// Longest message that gRPC clients take.
const MESSAGE_MAX: u64 = i32::MAX as u64;

/// What a slice of measuring came to.
enum Measured {
    More(Plan),
    Small(Vec<u8>),
    Large(Plan),
}

/// The whole answer in memory, under a lease while it is made: for callers in the process, who ask in pages.
pub(crate) async fn collect<E: Engine>(local: &Rc<Local<E>>, mut plan: Plan) -> Result<Vec<u8>, Error> {
    loop {
        let reader = local.shared.reader.clone();
        let slice = move || plan.measure(&reader).map(|done| (plan, done));
        let slice = local.shared.work.run(Lane::Read, slice).await.map_err(|_| Error::Stopped)?;
        let (rest, done) = slice.map_err(read_error)?;
        plan = rest;
        if done {
            break;
        }
    }
    let lease = local.shared.budget.try_lease(tidegate_base::Holder::Answers, plan.len());
    let lease = lease.ok_or(Error::TooManyRequests)?;
    let reader = local.shared.reader.clone();
    let collected = local.shared.work.run(Lane::Read, move || plan.collect(&reader)).await;
    drop(lease);
    collected.map_err(|_| Error::Stopped)?.map_err(read_error)
}

/// Answers a call with a plan.
pub(crate) async fn send<E: Engine>(local: &Rc<Local<E>>, call: Call, mut plan: Plan) -> Result<(), Gone> {
    match plan.now(&local.shared.reader) {
        Ok(Some(message)) => return call.reply(message.into()).await,
        Ok(None) => {}
        Err(error) => return finish(call, &status(&read_error(error))),
    }
    let plan = loop {
        let reader = local.shared.reader.clone();
        let slice = move || -> Result<Measured, ReadError> {
            if !plan.measure(&reader)? {
                return Ok(Measured::More(plan));
            }
            if plan.is_small() { plan.collect(&reader).map(Measured::Small) } else { Ok(Measured::Large(plan)) }
        };
        match local.shared.work.run(Lane::Read, slice).await {
            Ok(Ok(Measured::More(rest))) => plan = rest,
            Ok(Ok(Measured::Small(message))) => return call.reply(message.into()).await,
            Ok(Ok(Measured::Large(plan))) => break plan,
            Ok(Err(error)) => return finish(call, &status(&read_error(error))),
            Err(_) => return finish(call, &status(&Error::Stopped)),
        }
    };
    let len = plan.len();
    if len > MESSAGE_MAX {
        let text = format!("trying to send message larger than max ({len} vs. {MESSAGE_MAX})");
        return finish(call, &status(&Error::other(ApiCode::ResourceExhausted, text)));
    }
    let mut out = call.stream();
    let sent = stream(local, &mut out, plan, len).await;
    match sent {
        Ok(true) => out.finish(&Status::OK),
        // In the middle of a message there is no way to say what went wrong.
        Ok(false) => out.reset(),
        Err(gone) => return Err(gone),
    }
    Ok(())
}

async fn stream<E: Engine>(local: &Rc<Local<E>>, out: &mut Outgoing, plan: Plan, len: u64) -> Result<bool, Gone> {
    let len = usize::try_from(len).expect("it is below 2^31");
    out.room(CHUNK_MAX).await?;
    out.send(Chunk::shared(Bytes::copy_from_slice(&prefix(len))))?;
    let (parts, pin) = plan.into_parts();
    for part in parts {
        match part {
            Part::Bytes(bytes) => send_bytes(out, bytes.into()).await?,
            Part::Pairs(cursor) => {
                if !send_pairs(local, out, cursor).await? {
                    return Ok(false);
                }
            }
        }
    }
    drop(pin);
    Ok(true)
}

async fn send_pairs<E: Engine>(
    local: &Rc<Local<E>>,
    out: &mut Outgoing,
    mut cursor: RangeCursor,
) -> Result<bool, Gone> {
    let limit = SliceLimit { rows: 1000, bytes: CHUNK_MAX };
    loop {
        // Room first, then the bytes: a reader whose window is closed holds nothing.
        out.room(CHUNK_MAX).await?;
        let lease = out.lease(2 * CHUNK_MAX as u64).await?;
        let reader = local.shared.reader.clone();
        let slice = move || {
            let mut pieces = Vec::new();
            let more = cursor.produce(&reader, limit, &mut pieces);
            (cursor, pieces, more)
        };
        let Ok((rest, pieces, more)) = local.shared.work.run(Lane::Read, slice).await else { return Ok(false) };
        cursor = rest;
        let more = match more {
            Ok(more) => more,
            Err(error) => {
                read_error(error);
                return Ok(false);
            }
        };
        let mut lease = Some(lease);
        for piece in pieces {
            match piece {
                Piece::Bytes(bytes) => match lease.take() {
                    Some(lease) => send_shared(out, owned(bytes, lease)).await?,
                    None => send_bytes(out, bytes).await?,
                },
                Piece::Blob { at, len } => {
                    let lease = out.lease(len).await?;
                    let reader = local.shared.reader.clone();
                    let fetch = move || reader.value(at, true, Tier::All);
                    let value = match local.shared.work.run(Lane::Read, fetch).await {
                        Ok(Ok(value)) => value.known().unwrap_or_default(),
                        Ok(Err(error)) => {
                            read_error(error);
                            return Ok(false);
                        }
                        Err(_) => return Ok(false),
                    };
                    if value.len() as u64 != len {
                        return Ok(false);
                    }
                    send_shared(out, owned(value, lease)).await?;
                }
            }
        }
        if !more {
            return Ok(true);
        }
    }
}

/// Bytes that carry their lease, however they are cut.
fn owned(bytes: Bytes, lease: Admitted) -> Bytes {
    struct Owned {
        bytes: Bytes,
        _lease: Admitted,
    }
    impl AsRef<[u8]> for Owned {
        fn as_ref(&self) -> &[u8] {
            &self.bytes
        }
    }
    Bytes::from_owner(Owned { bytes, _lease: lease })
}

async fn send_shared(out: &mut Outgoing, mut bytes: Bytes) -> Result<(), Gone> {
    while !bytes.is_empty() {
        let room = out.room(bytes.len()).await?;
        out.send(Chunk::shared(bytes.split_to(room)))?;
    }
    Ok(())
}

async fn send_bytes(out: &mut Outgoing, mut bytes: Bytes) -> Result<(), Gone> {
    while !bytes.is_empty() {
        let room = out.room(bytes.len()).await?;
        let lease = out.lease(room as u64).await?;
        out.send(Chunk::leased(bytes.split_to(room), lease))?;
    }
    Ok(())
}
