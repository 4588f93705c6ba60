//! The services of etcd's API, one file each. A handler reads like its list: message, check, propose or read, answer.

mod cluster;
mod kv;
pub(crate) mod large;
mod lease;
mod maintenance;
mod watch;

pub(crate) use self::{kv::read, watch::spec};

use std::{rc::Rc, sync::Arc, time::Instant};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use prost::Message;
use tidegate_api::{Error, Method, wire};
use tidegate_base::{Holder, Lease, clock};
use tidegate_engine::Engine;
use tidegate_http::{
    admission::Admitted,
    grpc::{Accept, Call, Code, Gone, Service, Status},
};
use tidegate_kv::ReadError;

use crate::{
    local::Local,
    metrics::Handled,
    threads::{Fatal, fail},
};

/// A message up to here may be a slice of what its stream has received: no more than a stream's window.
const COPIED_MAX: usize = 64 << 10;
/// From here on decoding may cost so much more than the message that it is leased on its own.
const DECODE_FREE: usize = 64 << 10;

/// How a call was answered.
type Answered = Result<Code, Gone>;

/// Counts a call when it ends, also by being dropped.
struct Handling {
    table: Arc<Handled>,
    method: Option<Method>,
    deadline: Option<Instant>,
    code: Option<Code>,
}

impl Handling {
    fn end(mut self, answered: Answered) {
        // A client that is gone needs no answer.
        self.code = Some(answered.unwrap_or(Code::Cancelled));
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        let dropped = || {
            if std::thread::panicking() {
                return Code::Internal;
            }
            let late = self.deadline.is_some_and(|deadline| deadline <= clock::now());
            if late { Code::DeadlineExceeded } else { Code::Cancelled }
        };
        if let Some(method) = self.method {
            self.table.count(method, self.code.unwrap_or_else(dropped));
        }
    }
}

impl<E: Engine> Service for Local<E> {
    fn call(self: Rc<Self>, call: Call) -> LocalBoxFuture<'static, ()> {
        let method = Method::from_path(call.path());
        let (table, deadline) = (Arc::clone(&self.handled), call.deadline());
        let handled = Handling { table, method, deadline, code: None };
        // The streams stay for long, and a future is as large as its largest branch: 3.7 KiB for the unary calls, which would
        // be most of what a connection with an idle watch keeps.
        match method {
            Some(Method::Watch) => Box::pin(async move { handled.end(watch::serve(self, call).await) }),
            Some(Method::LeaseKeepAlive) => Box::pin(async move { handled.end(lease::keep_alive(self, call).await) }),
            Some(_) | None => Box::pin(async move { handled.end(self.unary(call, method).await) }),
        }
    }
}

impl<E: Engine> Local<E> {
    /// What to end a call with before anything of it was read.
    fn refusal(&self, call: &Call, method: Method) -> Option<Status> {
        let error = if !method.implemented() {
            Error::unimplemented(format_args!("{}/{}", method.service(), method.rpc()))
        } else if call.requires_leader() && self.shared.consensus.leader() == 0 {
            Error::NoLeader
        } else {
            return None;
        };
        Some(status(&error))
    }

    async fn unary(self: Rc<Self>, mut call: Call, method: Option<Method>) -> Answered {
        let Some(method) = method else {
            let (service, rpc) = call.names();
            let text = if Method::ALL.iter().any(|method| method.service() == service) {
                format!("unknown method {rpc} for service {service}")
            } else {
                format!("unknown service {service}")
            };
            return finish(call, &Status::new(Code::Unimplemented, text));
        };
        if let Some(status) = self.refusal(&call, method) {
            return finish(call, &status);
        }
        // A call's future is as large as the largest of its branches: those apart from the common ones are boxed.
        let accept = Accept { message_max: self.shared.config.message_bytes_max(), decode_cost: |_| 0 };
        let message = match call.message(accept).await {
            Ok(message) => message,
            Err(status) => return finish(call, &status),
        };
        let (bytes, admitted) = (message.bytes, message.lease);
        let decoding = match self.lease_decoding(method, &bytes) {
            Ok(lease) => lease,
            Err(error) => return finish(call, &status(&error)),
        };
        let result = match method {
            Method::Range => return kv::range(self, call, bytes).await,
            Method::Put => return kv::put(self, call, bytes, admitted).await,
            Method::DeleteRange => return Box::pin(kv::delete_range(self, call, bytes, admitted)).await,
            Method::Txn => return kv::txn(self, call, bytes, admitted, decoding).await,
            Method::Compact => return Box::pin(kv::compact(self, call, bytes, admitted)).await,
            Method::LeaseGrant => return Box::pin(lease::grant(self, call, bytes, admitted)).await,
            Method::LeaseRevoke => return Box::pin(lease::revoke(self, call, bytes, admitted)).await,
            Method::LeaseTimeToLive => return Box::pin(lease::time_to_live(self, call, bytes)).await,
            Method::LeaseLeases => return Box::pin(lease::leases(self, call, bytes)).await,
            Method::HashKv => return Box::pin(maintenance::hash_kv(self, call, bytes)).await,
            Method::MemberList => Box::pin(cluster::member_list(&self, bytes)).await,
            Method::Status => Box::pin(maintenance::status(&self)).await,
            Method::Alarm => Box::pin(maintenance::alarm(&self, bytes)).await,
            other => Err(Error::unimplemented(other.path())),
        };
        match result {
            Ok(message) => reply(call, message).await,
            Err(error) => finish(call, &status(&error)),
        }
    }

    /// Refuses a message whose decoding would cost too much, and leases what it may cost beyond a little.
    fn lease_decoding(&self, method: Method, bytes: &Bytes) -> Result<Option<Lease>, Error> {
        let cost = wire::decode_cost(method, bytes, self.shared.config.txn_ops_max)?;
        if cost <= DECODE_FREE {
            return Ok(None);
        }
        self.shared.budget.try_lease(Holder::Requests, cost as u64).map(Some).ok_or(Error::TooManyRequests)
    }
}

/// How a client sees an error.
pub(crate) fn status(error: &Error) -> Status {
    let (code, text) = error.row();
    Status::new(Code::from_number(code.number().into()), text.to_owned())
}

fn finish(call: Call, status: &Status) -> Answered {
    call.fail(status);
    Ok(status.code)
}

async fn reply(call: Call, message: Bytes) -> Answered {
    call.reply(message).await?;
    Ok(Code::Ok)
}

/// How a client sees a read that has no answer. A read that the engine failed stops the member.
fn read_error(error: ReadError) -> Error {
    match error {
        ReadError::Compacted(_) => Error::Compacted,
        ReadError::Future(_) => Error::FutureRev,
        error @ (ReadError::Engine(_) | ReadError::BadRow(_)) => fail(&Fatal::of("the store cannot be read")(error)),
    }
}

fn decode<M: Message + Default>(bytes: Bytes) -> Result<M, Error> {
    wire::decode(bytes)
}

fn encode(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

/// Keeps what a proposal needs: the message as it came, in a buffer of its own.
fn detach(bytes: Bytes, admitted: Admitted) -> (Bytes, Admitted) {
    (own(bytes), admitted)
}

/// A slice of the connection's read buffer is copied, since it would pin that for as long as the entry lives; a large message
/// came in its own.
fn own(bytes: Bytes) -> Bytes {
    if bytes.len() <= COPIED_MAX {
        return Bytes::copy_from_slice(&bytes);
    }
    match bytes.try_into_mut() {
        Ok(whole) if whole.capacity() <= whole.len() + whole.len() / 8 => whole.freeze(),
        Ok(whole) => Bytes::copy_from_slice(&whole),
        Err(shared) => Bytes::copy_from_slice(&shared),
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    /// Every large message was copied, on the thread of all its neighbours.
    #[test]
    fn only_what_pins_more_than_itself_is_copied() {
        let message = |len: usize, capacity: usize| {
            let mut buffer = BytesMut::with_capacity(capacity);
            buffer.resize(len, 7);
            buffer.freeze()
        };
        let check = |bytes: Bytes, kept: bool| {
            let (at, len) = (bytes.as_ptr(), bytes.len());
            let decoded = bytes.clone();
            drop(decoded);
            let own = own(bytes);
            assert_eq!((own.as_ptr() == at, own.len()), (kept, len));
        };
        check(message(1 << 20, 1 << 20), true);
        check(message(100, 100), false);
        check(message(1 << 20, 2 << 20), false);
        let shared = message(1 << 20, 1 << 20);
        check(shared.slice(..1 << 19), false);
    }
}
