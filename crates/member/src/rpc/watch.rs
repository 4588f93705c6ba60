//! Watch: requests of one stream go to the hub, its frames come out as the client takes them.

use std::rc::Rc;

use bytes::Bytes;
use futures_util::future::{Either, select};
use tidegate_api::{
    Error, Method,
    pb::etcdserverpb::{
        WatchCreateRequest, WatchRequest, watch_create_request::FilterType, watch_request::RequestUnion,
    },
};
use tidegate_engine::Engine;
use tidegate_http::grpc::{Accept, Call, Chunk, Code, Gone, Incoming, Outgoing, Status, framed, prefix};
use tidegate_kv::watch::{CreateSpec, Piece};

use super::{Answered, decode, finish, status};
use crate::{local::Local, watches::WatchStream};

pub(super) async fn serve<E: Engine>(local: Rc<Local<E>>, call: Call) -> Answered {
    if let Some(status) = local.refusal(&call, Method::Watch) {
        return finish(call, &status);
    }
    let stream = match local.open_watch_stream() {
        Ok(stream) => stream,
        Err(error) => return finish(call, &status(&error)),
    };
    let accept = Accept { message_max: local.shared.config.message_bytes_max(), decode_cost: |_| 0 };
    let (mut incoming, mut out) = call.split(accept);
    let ended = {
        let requests = std::pin::pin!(requests(&local, &stream, &mut incoming));
        let frames = std::pin::pin!(frames(&stream, &mut out));
        let stopped = std::pin::pin!(local.shared.stopped());
        match select(select(requests, frames), stopped).await {
            Either::Left((Either::Left((status, _)), _)) => status,
            Either::Left((Either::Right((Err(Broken::Gone(gone)), _)), _)) => return Err(gone),
            Either::Left((Either::Right((Err(Broken::Lost), _)), _)) => None,
            Either::Left((Either::Right((Ok(never), _)), _)) => match never {},
            Either::Right(((), _)) => Some(status(&Error::Stopped)),
        }
    };
    match ended {
        Some(status) => {
            out.finish(&status);
            Ok(status.code)
        }
        None => {
            out.reset();
            Ok(Code::Internal)
        }
    }
}

/// Up to here a frame is copied behind its prefix: cheaper than another chunk.
const SMALL_BYTES: usize = 4 << 10;

enum Never {}

enum Broken {
    Gone(Gone),
    /// The rest of a message can never come.
    Lost,
}

impl From<Gone> for Broken {
    fn from(gone: Gone) -> Self {
        Broken::Gone(gone)
    }
}

/// Reads requests until one is malformed. A client that has sent its last goes on watching.
async fn requests<E: Engine>(local: &Local<E>, stream: &WatchStream<E>, incoming: &mut Incoming) -> Option<Status> {
    loop {
        // What was asked is answered before more is read.
        stream.accepting().await;
        let message = match incoming.next().await {
            Ok(Some(message)) => message,
            Ok(None) => std::future::pending().await,
            Err(status) => return Some(status),
        };
        let _decoding = match local.lease_decoding(Method::Watch, &message.bytes) {
            Ok(lease) => lease,
            Err(error) => return Some(status(&error)),
        };
        let request: WatchRequest = match decode(message.bytes) {
            Ok(request) => request,
            Err(error) => return Some(status(&error)),
        };
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => stream.create(&spec(create)),
            Some(RequestUnion::CancelRequest(cancel)) => stream.cancel(cancel.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => stream.progress(),
            None => {}
        }
    }
}

pub(crate) fn spec(create: WatchCreateRequest) -> CreateSpec {
    let filters = |filter: FilterType| create.filters.contains(&(filter as i32));
    CreateSpec {
        no_put: filters(FilterType::Noput),
        no_delete: filters(FilterType::Nodelete),
        key: create.key,
        range_end: create.range_end,
        start_revision: create.start_revision,
        prev_kv: create.prev_kv,
        progress_notify: create.progress_notify,
        fragment: create.fragment,
        watch_id: create.watch_id,
    }
}

async fn frames<E: Engine>(stream: &WatchStream<E>, out: &mut Outgoing) -> Result<Never, Broken> {
    loop {
        // Only while the client takes bytes: a slow one costs its cursor, not frames.
        out.room(1).await?;
        let Some(frame) = stream.next_frame() else {
            stream.ready().await;
            continue;
        };
        if !frame.more && frame.bytes.len() <= SMALL_BYTES {
            let framed = framed(frame.bytes.len(), |out| out.extend_from_slice(&frame.bytes));
            out.send(Chunk::leased(framed, frame.lease))?;
            continue;
        }
        let head = prefix(frame.message_bytes as usize);
        out.send(Chunk::shared(Bytes::copy_from_slice(&head)))?;
        out.send(Chunk::leased(frame.bytes, frame.lease))?;
        let mut more = frame.more;
        while more {
            out.room(1).await?;
            match stream.next_piece() {
                Piece::Bytes { bytes, lease, more: rest } => {
                    out.send(Chunk::leased(bytes, lease))?;
                    more = rest;
                }
                Piece::Wait => stream.ready().await,
                Piece::Broken => return Err(Broken::Lost),
            }
        }
    }
}
