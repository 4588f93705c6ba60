use std::{pin::pin, rc::Rc, time::Duration};

use tidegate_base::Holder;
use tokio::{
    net::{TcpStream, UnixStream},
    sync::mpsc,
    task::JoinSet,
};

use super::{Local, Peer, Served, Stream, accept::Accepted, sniff};
use crate::tls::{self, TlsError};

/// Runs the connections of one listener on one thread, until the acceptor is gone and the last of them has ended, or the
/// grace of the drain is over.
pub(super) async fn work(local: Rc<Local>, served: Served, mut accepted: mpsc::Receiver<Accepted>) {
    let mut connections = JoinSet::new();
    let drain = local.net.drain.clone();
    let mut drain = pin!(drain.started());
    let mut end = pin!(tokio::time::sleep(Duration::ZERO));
    let (mut draining, mut open) = (false, true);
    while open || !connections.is_empty() {
        tokio::select! {
            biased;
            grace = &mut drain, if !draining => {
                draining = true;
                local.start_drain();
                end.as_mut().reset((tidegate_base::clock::now() + grace).into());
            }
            () = &mut end, if draining => {
                tracing::info!(connections = connections.len(), "the grace is over: connections are dropped");
                return; // the set drops them
            }
            next = accepted.recv(), if open => match next {
                Some(accepted) => {
                    connections.spawn_local(run(Rc::clone(&local), served.clone(), accepted));
                }
                None => open = false,
            },
            Some(ended) = connections.join_next() => {
                if ended.is_err_and(|error| error.is_panic()) {
                    tracing::error!("a connection ended by a panic");
                    local.stats().panics.add(1);
                }
            }
        }
    }
}

async fn run(local: Rc<Local>, served: Served, accepted: Accepted) {
    let _open = Open::new(&local);
    let Accepted { socket, peer, id, lease, tls } = accepted;
    // A box of its own: the handshake is over when the connection is served.
    let stream = match Box::pin(connect(&local, socket, peer, tls)).await {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!(%error, "a connection was lost before it was served"),
    };
    sniff::serve(stream, peer, id, lease, &local, served).await;
}

async fn connect(
    local: &Local,
    socket: socket2::Socket,
    peer: Peer,
    tls: Option<tls::Server>,
) -> Result<Stream, TlsError> {
    let stream = match peer {
        Peer::Tcp(_) => {
            socket.set_tcp_nodelay(true)?;
            TcpStream::from_std(socket.into())?
        }
        Peer::Unix => return Ok(Stream::Unix(UnixStream::from_std(socket.into())?)),
    };
    let Some(tls) = tls else { return Ok(Stream::Tcp(stream)) };
    tokio::select! {
        biased;
        () = local.drained() => Err(TlsError::Closed), // it has asked for nothing yet
        done = tls::accept(stream, &tls, &local.net.budget, Holder::Connections) => done.map(Stream::Tls),
    }
}

/// Counts a connection while it lives. The acceptor has counted its load already.
struct Open<'a>(&'a Local);

impl<'a> Open<'a> {
    fn new(local: &'a Local) -> Self {
        local.stats().connections_opened.add(1);
        Self(local)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.stats().connections_closed.add(1);
        self.0.load(-1);
    }
}
