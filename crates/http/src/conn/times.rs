use std::{io, time::Duration};

use socket2::{Socket, TcpKeepalive};

/// When connections are given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// A client that takes nothing of its answers for this long loses them, once others wait for the bytes they hold.
    pub blocked: Duration,
    /// An HTTP/2 client that says nothing for this long is asked whether it is there. Source: etcd,
    /// `--grpc-keepalive-interval`.
    pub ping_after: Duration,
    /// And is gone when it says nothing for this long after that. Source: etcd, `--grpc-keepalive-timeout`.
    pub ping_timeout: Duration,
}

impl Default for Times {
    fn default() -> Self {
        let (blocked, ping_timeout) = (Duration::from_secs(20), Duration::from_secs(20));
        Self { blocked, ping_after: Duration::from_secs(2 * 3600), ping_timeout }
    }
}

/// Has the kernel ask quiet peers whether they are there: a client that vanished without a word is gone after two and a
/// half minutes. Set on the listening socket, whose connections inherit it, so that none pays a call for it. Source: the
/// defaults of Go's `net.KeepAliveConfig`, which etcd uses.
///
/// # Errors
/// What the system says.
pub fn keep_alive(listener: &Socket) -> io::Result<()> {
    let every = Duration::from_secs(15);
    listener.set_tcp_keepalive(&TcpKeepalive::new().with_time(every).with_interval(every).with_retries(9))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use socket2::SockRef;

    use super::*;

    #[test]
    fn connections_inherit_what_their_listener_asks_of_the_kernel() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        keep_alive(&Socket::from(listener.try_clone().unwrap())).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let accepted = SockRef::from(&accepted);
        assert!(accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), Duration::from_secs(15));
        assert_eq!(accepted.tcp_keepalive_interval().unwrap(), Duration::from_secs(15));
        assert_eq!(accepted.tcp_keepalive_retries().unwrap(), 9);
        drop(client);
    }
}
