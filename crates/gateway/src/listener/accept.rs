//! Accepts connections on one thread.

use std::{io, rc::Rc, sync::Arc, sync::mpsc::SyncSender, time::Duration};

use bytes::BytesMut;
use tidegate_http::h1::serve;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, watch},
};

use crate::data::{Server, Worker};

/// Until connections of a closed listener are cut.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// Until the next try when the process has no descriptor or memory for a connection.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) async fn run(
    socket: std::net::TcpListener,
    server: Arc<Server>,
    mut stopped: watch::Receiver<bool>,
    done: SyncSender<()>,
) {
    let worker = Worker::new(server);
    match TcpListener::from_std(socket) {
        Ok(listener) => {
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => {} // also when the owner is gone
                () = accept(&listener, &worker) => {}
            }
        }
        Err(error) => tracing::error!(server = worker.server.name, %error, "cannot listen on an I/O thread"),
    }
    // There is room for one word of each thread, so this fails only when nobody waits any more.
    done.try_send(()).ok();
    worker.drain();
    tokio::time::sleep(DRAIN_MAX).await;
    worker.cut.notify_waiters();
}

async fn accept(listener: &TcpListener, worker: &Rc<Worker>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (held, shared) = worker.current();
                // Beyond the limit the connection waits, and those behind it in the system's queue.
                let Ok(permit) = Arc::clone(&held.routes.settings.permits).acquire_owned().await else { continue };
                drop(held);
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection was lost at once");
                    continue;
                }
                tokio::task::spawn_local(connection(stream, peer, Rc::clone(worker), shared, permit));
            }
            Err(error) if is_of_the_connection(&error) => {}
            Err(error) => {
                tracing::warn!(server = worker.server.name, %error, "cannot accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: std::net::SocketAddr,
    worker: Rc<Worker>,
    shared: Rc<tidegate_http::h1::Shared>,
    _permit: OwnedSemaphorePermit,
) {
    tokio::select! {
        biased;
        () = serve(stream, BytesMut::new(), Some(peer), Rc::clone(&worker), shared) => {}
        () = worker.cut.notified() => {}
    }
}

fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
