//! The store for callers in the same process, such as the gateway: the traits of `api` without a connection.

use futures_util::future::{Either, select};
use prost::Message;
use tidegate_api::{
    BoxFuture, Error, Kv, Watch, WatchStream as ApiWatchStream,
    pb::etcdserverpb::{
        DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse, TxnRequest,
        TxnResponse, WatchCreateRequest, WatchResponse,
    },
    validate,
};
use tidegate_engine::Engine;
use tidegate_http::io::SpawnError;
use tidegate_kv::{Command, watch::Piece};
use tokio::sync::{mpsc, oneshot};

use crate::{
    answer::{Pinned, Plan},
    local::{Local, failed},
    member::{Handle, local},
    rpc::{large, spec},
    watches::WatchStream,
};

/// Answers of a watch that wait for their reader; more stay where they are, as a cursor.
const ANSWERS_WAITING: usize = 4;
/// The I/O thread that works for callers in the process.
const THREAD: usize = 0;

impl<E: Engine> Handle<E> {
    /// Runs `call` on an I/O thread and waits for it.
    fn on_io<T, F, C>(&self, call: C) -> BoxFuture<'_, Result<T, Error>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + 'static,
        C: FnOnce(std::rc::Rc<Local<E>>) -> F + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let spawned = self.io.spawn(THREAD, move || async move {
            // A caller that went away needs no answer.
            tell.send(call(local::<E>()).await).ok();
        });
        Box::pin(async move {
            spawned.map_err(|error| match error {
                SpawnError::Full => Error::TooManyRequests,
                SpawnError::Stopped | SpawnError::NoSuchThread => Error::Stopped,
            })?;
            told.await.map_err(|_| failed(&self.shared))?
        })
    }

    fn write<T: Message + Default + 'static>(
        &self,
        command: Command,
        checked: Result<(), Error>,
        request: &impl Message,
    ) -> BoxFuture<'_, Result<T, Error>> {
        if let Err(error) = checked {
            return Box::pin(async move { Err(error) });
        }
        let message = request.encode_to_vec().into();
        self.on_io(move |local| async move {
            let outcome = *local.propose(command, message, None).await?;
            let pin = outcome.pin.map(Pinned::from);
            let plan = Plan::applied(&local.header(outcome.revision), outcome.result?, pin);
            decode(&large::collect(&local, plan).await?)
        })
    }
}

fn decode<T: Message + Default>(bytes: &[u8]) -> Result<T, Error> {
    T::decode(bytes).map_err(Error::undecodable)
}

impl<E: Engine> Kv for Handle<E> {
    /// The answer is one message in memory, leased while it is made: ask in pages.
    fn range(&self, request: RangeRequest) -> BoxFuture<'_, Result<RangeResponse, Error>> {
        let bytes = request.encode_to_vec().into();
        self.on_io(move |local| async move {
            let plan = crate::rpc::read(&local, bytes).await?;
            decode(&large::collect(&local, plan).await?)
        })
    }

    fn put(&self, request: PutRequest) -> BoxFuture<'_, Result<PutResponse, Error>> {
        self.write(Command::Put, validate::put(&request), &request)
    }

    fn delete_range(&self, request: DeleteRangeRequest) -> BoxFuture<'_, Result<DeleteRangeResponse, Error>> {
        self.write(Command::DeleteRange, validate::delete_range(&request), &request)
    }

    fn txn(&self, request: TxnRequest) -> BoxFuture<'_, Result<TxnResponse, Error>> {
        self.write(Command::Txn, validate::txn(&request, self.shared.config.txn_ops_max), &request)
    }
}

impl<E: Engine> Watch for Handle<E> {
    fn watch(&self, request: WatchCreateRequest) -> BoxFuture<'_, Result<Box<dyn ApiWatchStream>, Error>> {
        self.on_io(move |local| async move {
            let stream = local.open_watch_stream()?;
            stream.create(&spec(request));
            let created = next(&stream).await?;
            if created.canceled {
                return Err(Error::other(tidegate_api::Code::InvalidArgument, created.cancel_reason));
            }
            let (answers, receiver) = mpsc::channel(ANSWERS_WAITING);
            tokio::task::spawn_local(async move {
                loop {
                    // A place first: a slow reader holds no answer.
                    let Ok(place) = answers.reserve().await else { return };
                    let stopped = std::pin::pin!(local.shared.stopped());
                    let dropped = std::pin::pin!(answers.closed());
                    let answer = std::pin::pin!(next(&stream));
                    let answer = match select(answer, select(stopped, dropped)).await {
                        Either::Left((answer, _)) => answer,
                        Either::Right((Either::Left(((), _)), _)) => Err(Error::Stopped),
                        // Else it would stay until the next event, which may never come.
                        Either::Right((Either::Right(((), _)), _)) => return,
                    };
                    let last = answer.as_ref().map_or(true, |answer| answer.canceled);
                    place.send(answer);
                    if last {
                        return;
                    }
                }
            });
            Ok(Box::new(Answers(receiver)) as Box<dyn ApiWatchStream>)
        })
    }
}

/// The next answer of a stream, whole.
async fn next<E: Engine>(stream: &WatchStream<E>) -> Result<WatchResponse, Error> {
    let frame = loop {
        match stream.next_frame() {
            Some(frame) => break frame,
            None => stream.ready().await,
        }
    };
    let mut bytes = frame.bytes.to_vec();
    let mut more = frame.more;
    while more {
        match stream.next_piece() {
            Piece::Bytes { bytes: piece, more: rest, .. } => {
                bytes.extend_from_slice(&piece);
                more = rest;
            }
            Piece::Wait => stream.ready().await,
            Piece::Broken => return Err(Error::WatchCanceled),
        }
    }
    decode(&bytes)
}

struct Answers(mpsc::Receiver<Result<WatchResponse, Error>>);

impl ApiWatchStream for Answers {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<WatchResponse, Error>>> {
        Box::pin(self.0.recv())
    }
}
