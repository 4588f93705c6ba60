use std::{
    fmt, fs, io,
    net::{SocketAddr, ToSocketAddrs},
    os::unix::{fs::FileTypeExt, net::UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::keep_alive;
use crate::tls;

/// Connections that the kernel keeps until we accept them; it cuts this to its own limit.
const BACKLOG: i32 = 1024;

/// Where a listener is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Address {
    /// Whether only this machine reaches it.
    pub fn is_loopback(&self) -> bool {
        match self {
            Address::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Address::Unix(_) => true,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A bound socket that listens already: who connects before it is served waits. The file of a unix socket goes with it.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: Socket,
    address: Address,
    tls: Option<Arc<tls::Handle>>,
}

impl Listener {
    /// Binds `HOST:PORT`; port 0 takes a free one, no host means every address. Resolves names, so it may block: call it at
    /// start. Only one process can have the port.
    ///
    /// # Errors
    /// When the name is unknown or the address in use.
    pub fn bind_tcp(host_port: &str) -> io::Result<Self> {
        if host_port.starts_with(':') {
            // Both protocols where the machine has both.
            return Self::bind_tcp(&format!("[::]{host_port}")).or_else(|error| match error.kind() {
                io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
                _ => Self::bind_tcp(&format!("0.0.0.0{host_port}")),
            });
        }
        let addresses: Vec<SocketAddr> = host_port.to_socket_addrs()?.collect();
        let first = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
        let address = *first.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))?;
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // Lets a restart have the port while old connections linger; it does not let two processes share it.
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        keep_alive(&socket)?;
        socket.bind(&address.into())?;
        let address = socket.local_addr()?.as_socket().unwrap_or(address);
        Self::listen(socket, Address::Tcp(address))
    }

    /// Binds a unix socket at `path`. A file that a dead process left there is replaced; anything else is not touched.
    ///
    /// # Errors
    /// When somebody listens there, when the path is another kind of file, or cannot be made.
    pub fn bind_unix(path: &Path) -> io::Result<Self> {
        let is_socket = fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
        if is_socket && UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            fs::remove_file(path)?;
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        Self::listen(socket, Address::Unix(path.to_owned()))
    }

    fn listen(socket: Socket, address: Address) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let listener = Self { socket, address, tls: None };
        listener.socket.listen(BACKLOG)?;
        Ok(listener)
    }

    /// Has connections over TCP speak TLS, with what `tls` holds when they come. A unix socket is this machine's, and stays as
    /// it is.
    #[must_use]
    pub fn with_tls(mut self, tls: Arc<tls::Handle>) -> Self {
        self.tls = Some(tls);
        self
    }

    pub(super) fn tls(&self) -> Option<Arc<tls::Handle>> {
        self.tls.clone()
    }

    /// With the port that was chosen.
    pub fn address(&self) -> &Address {
        &self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Address::Unix(path) = &self.address
            && let Err(error) = fs::remove_file(path)
        {
            tracing::debug!(%error, "a unix socket's file was gone already");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn port_zero_is_chosen_and_taken_ports_are_refused() {
        let listener = Listener::bind_tcp("localhost:0").unwrap();
        let Address::Tcp(address) = *listener.address() else { panic!("a TCP address") };
        assert!(address.ip().is_loopback() && address.port() != 0);
        let error = Listener::bind_tcp(&address.to_string()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        Listener::bind_tcp(&address.to_string()).unwrap();
        assert!(Listener::bind_tcp("no port").is_err());
        assert!(Listener::bind_tcp(":0").is_ok());
    }

    #[test]
    fn stale_unix_sockets_are_replaced_and_live_ones_are_not() {
        let dir = std::env::temp_dir().join(format!("tidegate-http-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("s");
        let listener = Listener::bind_unix(&path).unwrap();
        assert_eq!(Listener::bind_unix(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(!path.exists());
        drop(UnixListener::bind(&path).unwrap()); // leaves its file, as a killed process does
        drop(Listener::bind_unix(&path).unwrap());
        fs::write(&path, b"precious").unwrap();
        assert!(Listener::bind_unix(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_dir_all(&dir).unwrap();
    }
}
