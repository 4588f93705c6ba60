//! Accepts connections on one thread.

use std::{
    io,
    rc::Rc,
    sync::{Arc, mpsc::SyncSender},
    time::Duration,
};

use bytes::BytesMut;
use tidegate_http::{conn::Present, h1::serve, multiplex::serve_h2, tls};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinError, JoinSet},
};

use crate::data::{Permit, Server, Worker};

/// Until connections of a closed listener are cut.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// Until the next try when the process has no descriptor or memory for a connection.
const PAUSE: Duration = Duration::from_millis(50);

/// Ends with the last connection, which `present` tells.
pub(super) async fn run(
    socket: std::net::TcpListener,
    server: Arc<Server>,
    mut stopped: watch::Receiver<bool>,
    done: SyncSender<()>,
    present: Present,
) {
    let worker = Worker::new(server);
    let mut connections = JoinSet::new();
    match TcpListener::from_std(socket) {
        Ok(listener) => {
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => {} // also when the owner is gone
                () = accept(&listener, &worker, &mut connections) => {}
            }
        }
        Err(error) => tracing::error!(server = worker.server.name, %error, "cannot listen on an I/O thread"),
    }
    // There is room for one word of each thread, so this fails only when nobody waits any more.
    done.try_send(()).ok();
    worker.drain();
    let last = async {
        while let Some(ended) = connections.join_next().await {
            look_at(&worker, ended);
        }
    };
    if tokio::time::timeout(DRAIN_MAX, last).await.is_err() {
        tracing::info!(server = worker.server.name, connections = connections.len(), "connections are cut");
    }
    drop((connections, present));
}

async fn accept(listener: &TcpListener, worker: &Rc<Worker>, connections: &mut JoinSet<()>) {
    let mut waiting = None;
    loop {
        let accepted = tokio::select! {
            biased;
            Some(ended) = connections.join_next() => {
                look_at(worker, ended);
                continue;
            }
            // Beyond the limit the connection waits, and those behind it in the system's queue.
            permit = worker.server.permits.acquire(), if waiting.is_some() => {
                if let Some((stream, peer)) = waiting.take() {
                    connections.spawn_local(connection(stream, peer, Rc::clone(worker), permit));
                }
                continue;
            }
            accepted = listener.accept(), if waiting.is_none() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match stream.set_nodelay(true) {
                Ok(()) => waiting = Some((stream, peer)),
                Err(error) => tracing::debug!(%error, "a connection was lost at once"),
            },
            Err(error) if is_of_the_connection(&error) => {}
            Err(error) => {
                tracing::warn!(server = worker.server.name, %error, "cannot accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, peer: std::net::SocketAddr, worker: Rc<Worker>, _permit: Permit) {
    let (held, shared) = worker.current();
    let tls = held.routes.tls.clone();
    drop(held);
    let peer = Some(peer);
    let Some(tls) = tls else {
        return match worker.server.h2c && begins_with_preface(&stream).await {
            // In a box of its own: a task is as large as its largest state.
            true => Box::pin(serve_h2(stream, BytesMut::new(), peer, worker, shared, None)).await,
            false => serve(stream, BytesMut::new(), peer, worker, shared).await,
        };
    };
    // Boxed, so that a connection that is made does not hold the room of its handshake.
    let accepting = Box::pin(tls::accept(stream, &tls, &worker.server.budget, shared.config().holder));
    match accepting.await {
        Ok(stream) if stream.info().alpn == Some(b"h2") => {
            let details = stream.details();
            Box::pin(serve_h2(stream, BytesMut::new(), peer, worker, shared, Some(details))).await;
        }
        // A challenge is answered by the handshake itself.
        Ok(stream) if stream.info().alpn == Some(tls::ACME_TLS) => tls::dismiss(stream).await,
        Ok(stream) => serve(stream, BytesMut::new(), peer, worker, shared).await,
        Err(error) => tracing::debug!(server = worker.server.name, %error, "a TLS handshake failed"),
    }
}

/// Whether the first bytes are those of HTTP/2 (RFC 9113, 3.4). They stay unread.
async fn begins_with_preface(stream: &TcpStream) -> bool {
    let mut first = [0; 4];
    matches!(stream.peek(&mut first).await, Ok(4) if &first == b"PRI ")
}

/// Panics of handlers are answered and counted where they happen: this one is our own.
fn look_at(worker: &Worker, ended: Result<(), JoinError>) {
    if ended.is_err_and(|error| error.is_panic()) {
        tracing::error!(server = worker.server.name, "a connection ended by a panic");
    }
}

fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
