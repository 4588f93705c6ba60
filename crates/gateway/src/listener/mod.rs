//! Listening sockets of HTTPServers: one for each I/O thread, on one address.

mod accept;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tidegate_http::{
    conn::{Presence, keep_alive},
    io::Handle,
};
use tokio::sync::watch;

use crate::data::Server;

/// Connections that wait to be accepted, on each socket.
const BACKLOG: i32 = 4096;
/// Until the threads have closed their sockets. They do nothing that takes longer than a millisecond.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// The open sockets of a server.
pub(crate) struct Listener {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    /// Each thread says that its socket is closed.
    closed: Receiver<()>,
    threads: usize,
}

impl Listener {
    /// Opens a socket for each thread. A probing bind without SO_REUSEPORT comes first: with the option alone, two
    /// programs of one user could share a port and each would get half of the other's connections.
    pub(crate) fn open(
        handle: &Handle,
        address: SocketAddr,
        server: &Arc<Server>,
        presence: &Presence,
    ) -> io::Result<Self> {
        let threads = handle.count();
        let probe = bind(address, false)?;
        let address = probe.local_addr()?;
        drop(probe);
        let sockets: Vec<TcpListener> = (0..threads).map(|_| bind(address, true)).collect::<io::Result<_>>()?;
        let (stop, stopped) = watch::channel(false);
        let (done, closed) = sync_channel(threads.max(1));
        for (thread, socket) in sockets.into_iter().enumerate() {
            let (server, stopped, done) = (Arc::clone(server), stopped.clone(), done.clone());
            let present = presence.enter();
            let run = move || accept::run(socket, server, stopped, done, present);
            handle.spawn(thread, run).map_err(io::Error::other)?;
        }
        tracing::info!(server = server.name, %address, "listening");
        Ok(Self { address, stop, closed, threads })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the sockets; connections end after the request they serve, at the latest after 30 s.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// As [`Listener::stop`], and waits until the sockets are closed. Blocks: not for an I/O thread. One that is dropped
    /// instead closes as well, when its threads come to it.
    pub(crate) fn close(self) {
        self.stop();
        for _ in 0..self.threads {
            if self.closed.recv_timeout(CLOSE_MAX).is_err() {
                tracing::warn!(address = %self.address, "an I/O thread did not close its socket");
                return;
            }
        }
    }
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.ip().is_unspecified() && address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Else the connections of the last run keep the port for a minute.
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    keep_alive(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
