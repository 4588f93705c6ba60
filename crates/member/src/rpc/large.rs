//! Sending a [`Plan`]: at once when it is small, else in slices as the client takes them.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tidegate_api::{Code as ApiCode, Error};
use tidegate_base::{Holder, Lease, clock};
use tidegate_engine::{Engine, Tier};
use tidegate_http::grpc::{CHUNK_MAX, Call, Charge, Chunk, Code, Gone, Outgoing, Status, prefix};
use tidegate_kv::{Piece, RangeCursor, ReadError, SliceLimit};

use super::{Answered, finish, read_error, reply, status};
use crate::{
    answer::{Part, Plan, SORTED_FREE},
    local::Local,
    sorts::Turn,
};

/// Longest message that gRPC clients take.
const MESSAGE_MAX: u64 = i32::MAX as u64;
/// How long a client may take nothing while it holds bytes of answers that others wait for.
const STALLED_MAX: Duration = Duration::from_secs(20);

/// How long a heap of sorted pairs is kept for a client that takes nothing: it is made anew by one more walk.
const SORTED_IDLE: Duration = Duration::from_secs(1);

/// Why a message cannot be sent to its end.
enum Broken {
    Gone(Gone),
    /// In the middle of a message there is no way to say what went wrong.
    Reset,
}

impl From<Gone> for Broken {
    fn from(gone: Gone) -> Self {
        Broken::Gone(gone)
    }
}

/// What a slice of measuring came to.
enum Slice {
    More(Box<Plan>),
    Done(Measured),
}

/// A measured answer.
enum Measured {
    Small(Vec<u8>),
    Large(Box<Plan>),
}

/// The whole answer in memory, under a lease while it is made: for callers in the process, who ask in pages.
pub(crate) async fn collect<E: Engine>(local: &Rc<Local<E>>, plan: Plan) -> Result<Vec<u8>, Error> {
    if let Some(ready) = plan.now(&local.shared.reader).map_err(read_error)? {
        let mut message = Vec::with_capacity(ready.len());
        ready.put(&mut message);
        return Ok(message);
    }
    let until = pinned_until(local, &plan);
    let whole = async {
        match measure(local, Box::new(plan)).await? {
            Measured::Small(message) => Ok(message),
            Measured::Large(plan) => {
                let lease = local.shared.budget.try_lease(Holder::Answers, plan.len());
                let lease = lease.ok_or(Error::TooManyRequests)?;
                let mut turn = None;
                take_turn(local, &mut turn, plan.sorting_bytes()).await;
                let reader = local.shared.reader.clone();
                let collected = local.work(move || plan.collect(&reader)).await;
                drop((lease, turn));
                collected?.map_err(read_error)
            }
        }
    };
    tokio::time::timeout_at(until.into(), whole).await.map_err(|_| Error::Timeout)?
}

/// Answers a call with a plan.
pub(crate) async fn send<E: Engine>(local: &Rc<Local<E>>, call: Call, mut plan: Plan) -> Answered {
    let pin = plan.take_pin();
    match plan.now(&local.shared.reader) {
        Ok(Some(ready)) => {
            // It reads no more, however long the client takes.
            drop(pin);
            call.reply_with(ready.len(), |out| ready.put(out)).await?;
            Ok(Code::Ok)
        }
        Ok(None) => {
            plan.keep(pin);
            Box::pin(send_slowly(local, call, plan)).await
        }
        Err(error) => finish(call, &status(&read_error(error))),
    }
}

/// Answers a call with a plan that reads more than memory holds. What it reads is pinned for a limited time: who takes longer
/// to take the answer loses it, else one client that stops reading would keep history on disk for ever.
pub(crate) async fn send_slowly<E: Engine>(local: &Rc<Local<E>>, call: Call, plan: Plan) -> Answered {
    let until = pinned_until(local, &plan);
    let plan = match tokio::time::timeout_at(until.into(), measure(local, Box::new(plan))).await {
        Ok(Ok(Measured::Small(message))) => return reply(call, message.into()).await,
        Ok(Ok(Measured::Large(plan))) => plan,
        Ok(Err(error)) => return finish(call, &status(&error)),
        Err(_) => {
            call.stream().reset();
            return Ok(Code::Internal);
        }
    };
    let len = plan.len();
    if len > MESSAGE_MAX {
        let text = format!("trying to send message larger than max ({len} vs. {MESSAGE_MAX})");
        return finish(call, &status(&Error::other(ApiCode::ResourceExhausted, text)));
    }
    let mut out = call.stream();
    let sent = tokio::time::timeout_at(until.into(), stream(local, &mut out, *plan, len)).await;
    end(out, sent.unwrap_or(Err(Broken::Reset)))
}

/// Answers a call with one message that is in memory, under `lease`.
pub(crate) async fn send_message(call: Call, message: Bytes, lease: Lease) -> Answered {
    if message.len() <= CHUNK_MAX {
        return reply(call, message).await;
    }
    let mut out = call.stream();
    let sent = async {
        out.room(CHUNK_MAX).await?;
        out.send(Chunk::shared(Bytes::copy_from_slice(&prefix(message.len()))))?;
        send_held(&mut out, held(message, lease), None).await
    };
    let sent = sent.await;
    end(out, sent)
}

fn end(out: Outgoing, sent: Result<(), Broken>) -> Answered {
    match sent {
        Ok(()) => {
            out.finish(&Status::OK);
            Ok(Code::Ok)
        }
        Err(Broken::Reset) => {
            out.reset();
            Ok(Code::Internal)
        }
        Err(Broken::Gone(gone)) => Err(gone),
    }
}

fn pinned_until<E: Engine>(local: &Local<E>, plan: &Plan) -> Instant {
    plan.pinned_since().unwrap_or_else(clock::now) + local.shared.config.pin_max
}

/// Waits for memory to sort in, when it takes more than every answer may.
async fn take_turn<'a, E: Engine>(local: &'a Local<E>, turn: &mut Option<Turn<'a>>, sorting: u64) {
    if sorting > SORTED_FREE {
        local.shared.sorts.hold(&local.shared.budget, turn, sorting).await;
    }
}

async fn measure<E: Engine>(local: &Rc<Local<E>>, mut plan: Box<Plan>) -> Result<Measured, Error> {
    let mut turn = None;
    loop {
        take_turn(local, &mut turn, plan.sorting_bytes()).await;
        let reader = local.shared.reader.clone();
        let slice = move || -> Result<_, ReadError> {
            if !plan.measure(&reader)? {
                return Ok(Slice::More(plan));
            }
            let small = plan.is_small();
            Ok(Slice::Done(if small { Measured::Small(plan.collect(&reader)?) } else { Measured::Large(plan) }))
        };
        match local.work(slice).await?.map_err(read_error)? {
            Slice::More(rest) => plan = rest,
            Slice::Done(measured) => return Ok(measured),
        }
    }
}

async fn stream<E: Engine>(local: &Rc<Local<E>>, out: &mut Outgoing, plan: Plan, len: u64) -> Result<(), Broken> {
    let len = usize::try_from(len).expect("it is below 2^31");
    out.room(CHUNK_MAX).await?;
    out.send(Chunk::shared(Bytes::copy_from_slice(&prefix(len))))?;
    let (parts, pin) = plan.into_parts();
    for part in parts {
        match part {
            Part::Bytes(bytes) => send_bytes(out, bytes.into(), None).await?,
            Part::Pairs(cursor) => send_pairs(local, out, cursor).await?,
        }
    }
    drop(pin);
    Ok(())
}

async fn send_pairs<E: Engine>(
    local: &Rc<Local<E>>,
    out: &mut Outgoing,
    cursor: Box<RangeCursor>,
) -> Result<(), Broken> {
    let lost = |error| {
        read_error(error); // which ends the process when it is the engine's
        Broken::Reset
    };
    let limit = SliceLimit { rows: 1000, bytes: CHUNK_MAX };
    let mut source = Source { cursor, turn: None };
    loop {
        // Room first, then the bytes: a reader whose window is closed holds nothing.
        source.room(out, CHUNK_MAX).await?;
        take_turn(local, &mut source.turn, source.cursor.sorting_bytes()).await;
        let mut lease = Some(out.lease(2 * CHUNK_MAX as u64).await?);
        let (reader, mut cursor) = (local.shared.reader.clone(), source.cursor);
        let slice = move || {
            let mut pieces = Vec::new();
            let more = cursor.produce(&reader, limit, &mut pieces);
            (cursor, pieces, more)
        };
        let (rest, pieces, more) = local.work(slice).await.map_err(|_| Broken::Reset)?;
        source.cursor = rest;
        let more = more.map_err(lost)?;
        for piece in pieces {
            match piece {
                Piece::Bytes(bytes) => match lease.take() {
                    Some(mut lease) => {
                        lease.shrink_to(bytes.len() as u64);
                        send_held(out, held(bytes, lease), Some(&mut source)).await?;
                    }
                    None => send_bytes(out, bytes, Some(&mut source)).await?,
                },
                Piece::Blob { at, len } => {
                    source.room(out, CHUNK_MAX).await?;
                    let lease = out.lease(len).await?;
                    let reader = local.shared.reader.clone();
                    let value = local.work(move || reader.value(at, true, Tier::All)).await;
                    let value = value.map_err(|_| Broken::Reset)?.map_err(lost)?.known().unwrap_or_default();
                    if value.len() as u64 != len {
                        return Err(Broken::Reset);
                    }
                    send_held(out, held(value, lease), Some(&mut source)).await?;
                }
            }
        }
        if !more {
            return Ok(());
        }
    }
}

/// Where pairs come from, and the memory that sorting them holds. A client that takes nothing loses it to others.
struct Source<'a> {
    cursor: Box<RangeCursor>,
    turn: Option<Turn<'a>>,
}

impl Source<'_> {
    async fn room(&mut self, out: &mut Outgoing, want: usize) -> Result<usize, Gone> {
        if self.turn.is_some() {
            match tokio::time::timeout(SORTED_IDLE, out.room(want)).await {
                Ok(room) => return room,
                Err(_) => {
                    self.cursor.forget();
                    self.turn = None;
                }
            }
        }
        out.room(want).await
    }
}

/// Room for bytes of `source`, or of nobody.
async fn room(out: &mut Outgoing, source: Option<&mut Source<'_>>, want: usize) -> Result<usize, Gone> {
    match source {
        Some(source) => source.room(out, want).await,
        None => out.room(want).await,
    }
}

/// Bytes that carry their lease, however they are cut.
fn held(bytes: Bytes, lease: impl Into<Charge>) -> Bytes {
    struct Held {
        bytes: Bytes,
        _lease: Charge,
    }
    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            &self.bytes
        }
    }
    Bytes::from_owner(Held { bytes, _lease: lease.into() })
}

/// Sends bytes that hold a lease of the answers while they wait for the client.
async fn send_held(out: &mut Outgoing, mut bytes: Bytes, mut source: Option<&mut Source<'_>>) -> Result<(), Broken> {
    while !bytes.is_empty() {
        let room = loop {
            match tokio::time::timeout(STALLED_MAX, room(out, source.as_deref_mut(), bytes.len())).await {
                Ok(room) => break room?,
                Err(_) if out.others_wait() => {
                    tracing::info!("a stream that takes nothing is reset: others need the bytes of its answer");
                    return Err(Broken::Reset);
                }
                Err(_) => {}
            }
        };
        out.send(Chunk::shared(bytes.split_to(room)))?;
    }
    Ok(())
}

async fn send_bytes(out: &mut Outgoing, mut bytes: Bytes, mut source: Option<&mut Source<'_>>) -> Result<(), Broken> {
    while !bytes.is_empty() {
        let room = room(out, source.as_deref_mut(), bytes.len()).await?;
        let lease = out.lease(room as u64).await?;
        out.send(Chunk::leased(bytes.split_to(room), lease))?;
    }
    Ok(())
}
