//! HTTP/1 or HTTP/2, by the first bytes.

use std::{rc::Rc, sync::atomic::Ordering, time::Duration};

use bytes::BytesMut;
use futures_util::future::LocalBoxFuture;
use tidegate_base::Lease;
use tokio::io::AsyncReadExt;

use super::{CONNECTION_BYTES, Local, Peer, Served, Stream};
use crate::http2::{self, Conn};

/// What an HTTP/2 client sends first. Source: RFC 9113, 3.4.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A client that has not said by then what it speaks is not kept.
const FIRST_BYTES_MAX: Duration = Duration::from_secs(30);

/// What answers HTTP/1 connections of a listener on one thread.
pub trait Http1: 'static {
    /// Serves one connection until it ends; `already_read` are its first bytes, at least one. Buffers are its own to lease.
    /// The future is dropped when the grace of a drain is over.
    fn serve(self: Rc<Self>, stream: Stream, already_read: BytesMut, peer: Peer) -> LocalBoxFuture<'static, ()>;
}

pub(super) async fn serve(
    mut stream: Stream,
    peer: Peer,
    id: u64,
    mut lease: Lease,
    local: &Rc<Local>,
    served: Served,
) {
    // Each state has a box of its own: a task is as large as its largest one.
    let first = Box::pin(async {
        tokio::select! {
            biased;
            first = tokio::time::timeout(FIRST_BYTES_MAX, first_bytes(&mut stream)) => first.ok().flatten(),
            () = local.drained() => None, // it has asked for nothing yet
        }
    });
    let Some(first) = first.await else { return };
    if &first[..] == PREFACE {
        let Some(service) = served.grpc else { return };
        if !lease.try_grow(CONNECTION_BYTES - lease.bytes()) {
            local.net.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let conn = Rc::new(Conn::new(id, peer, lease, Rc::clone(local)));
        Box::pin(http2::serve(stream, first, conn, service)).await;
    } else if let Some(http1) = served.http1 {
        http1.serve(stream, first, peer).await;
        drop(lease);
    }
}

/// The preface of HTTP/2, or the shortest start that cannot become one, and what came with it. `None` when the client left.
async fn first_bytes(stream: &mut Stream) -> Option<BytesMut> {
    let mut first = [0; PREFACE.len()];
    let mut len = 0;
    // One byte that differs is enough: a request can be shorter than the preface.
    while len < first.len() && first[..len] == PREFACE[..len] {
        match stream.read(&mut first[len..]).await {
            Ok(count) if count > 0 => len += count,
            Ok(_) | Err(_) => return None,
        }
    }
    Some(BytesMut::from(&first[..len]))
}
