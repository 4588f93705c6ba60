use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use socket2::Socket;
use tidegate_base::{Holder, Lease};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::mpsc,
};

use super::{Address, Listener, Peer, capacity::ACCEPTED_BYTES, net::Shared};
use crate::tls;

/// Connections on their way to one thread, each with its lease.
pub(super) const ACCEPTED_WAITING_MAX: usize = 256;
/// After an error of the process, such as no free descriptor: nothing but time helps.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection on its way to its thread.
pub(super) struct Accepted {
    pub(super) socket: Socket,
    pub(super) peer: Peer,
    pub(super) id: u64,
    pub(super) lease: Lease,
    pub(super) tls: Option<tls::Server>,
}

enum Source {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Source {
    fn new(listener: &Listener) -> io::Result<Self> {
        let socket = listener.socket.try_clone()?;
        Ok(match listener.address() {
            Address::Tcp(_) => Source::Tcp(TcpListener::from_std(socket.into())?),
            Address::Unix(_) => Source::Unix(UnixListener::from_std(socket.into())?),
        })
    }

    /// The next connection, taken off this thread's poll set again: most are for another.
    async fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Source::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                Ok((stream.into_std()?.into(), Peer::Tcp(from)))
            }
            Source::Unix(listener) => Ok((listener.accept().await?.0.into_std()?.into(), Peer::Unix)),
        }
    }
}

/// Accepts until the drain, then closes the socket. The runtime makes it yield in a flood of connections.
pub(super) async fn accept(net: Arc<Shared>, listener: Listener, workers: Vec<mpsc::Sender<Accepted>>) {
    let source = match Source::new(&listener) {
        Ok(source) => source,
        Err(error) => return tracing::error!(%error, address = %listener.address(), "a listener cannot be watched"),
    };
    let tls = listener.tls();
    let mut drain = std::pin::pin!(net.drain.started());
    loop {
        let accepted = tokio::select! {
            biased;
            _ = &mut drain => return,
            accepted = source.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                let tls = tls.as_ref().map(|tls| tls.current());
                if !deal(&net, &workers, socket, peer, tls) {
                    net.refused.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(error) if is_of_the_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, address = %listener.address(), "cannot accept connections");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The client gave up before it was accepted: no reason to pause.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// Hands a connection to the thread with the least load. `false` when it was closed instead.
fn deal(
    net: &Shared,
    workers: &[mpsc::Sender<Accepted>],
    socket: Socket,
    peer: Peer,
    tls: Option<tls::Server>,
) -> bool {
    let Some(lease) = net.budget.try_lease(Holder::Connections, ACCEPTED_BYTES) else { return false };
    let loads = net.threads.iter().map(|thread| thread.load.load(Ordering::Relaxed));
    let Some(((_, thread), worker)) = loads.zip(&net.threads).zip(workers).min_by_key(|((load, _), _)| *load) else {
        return false;
    };
    let id = net.next_connection.fetch_add(1, Ordering::Relaxed);
    thread.load.fetch_add(1, Ordering::Relaxed); // at once, so that a burst is spread
    let sent = worker.try_send(Accepted { socket, peer, id, lease, tls }).is_ok();
    if !sent {
        thread.load.fetch_sub(1, Ordering::Relaxed);
    }
    sent
}
