use std::rc::Rc;

use bytes::BytesMut;
use futures_util::future::LocalBoxFuture;
use tidegate_base::{Holder, clock};
use tidegate_http::conn::{Address, CONNECTION_BYTES, Http1, Listener, Peer, Stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

use crate::support::{Client, Server};

/// Gives back the first line it gets.
pub(crate) struct Lines;

impl Http1 for Lines {
    fn serve(self: Rc<Self>, mut stream: Stream, mut first: BytesMut, peer: Peer) -> LocalBoxFuture<'static, ()> {
        Box::pin(async move {
            assert!(peer.is_local() && !first.is_empty());
            while !first.contains(&b'\n') {
                if stream.read_buf(&mut first).await.unwrap_or(0) == 0 {
                    return;
                }
            }
            drop(stream.write_all(&first).await);
        })
    }
}

#[tokio::test]
async fn first_bytes_decide_the_protocol_and_are_replayed() {
    let server = Server::start();
    for line in ["GET / HTTP/1.1\r\n", "PRI * HTTP/1.1\r\n", "P\n", "\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\rX"] {
        for cut in [0, 1, line.len() / 2] {
            let mut io = TcpStream::connect(server.tcp()).await.unwrap();
            io.write_all(&line.as_bytes()[..cut]).await.unwrap();
            tokio::task::yield_now().await;
            io.write_all(&line.as_bytes()[cut..]).await.unwrap();
            let mut back = Vec::new();
            io.read_to_end(&mut back).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&back), line, "cut at {cut}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn any_bytes_after_the_preface_end_that_connection_only() {
    let server = Server::start();
    let client = server.connect().await;
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    for round in 0..200 {
        let mut io = TcpStream::connect(server.tcp()).await.unwrap();
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        // Settings first in every other round, so that what follows is read as frames.
        if round % 2 == 0 {
            bytes.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
        }
        for _ in 0..64 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            // Short frames of every type, on low streams.
            let [a, b, c, d, rest @ ..] = seed.to_le_bytes();
            bytes.extend_from_slice(&[0, 0, 4, a % 11, b, 0, 0, 0, c % 8, d]);
            bytes.extend_from_slice(&rest[1..]);
        }
        // Either side may close first.
        if io.write_all(&bytes).await.is_ok() {
            drop(io.shutdown().await);
            drop(io.read_to_end(&mut Vec::new()).await);
        }
    }
    assert_eq!(client.call("/t.T/Echo", b"alive").await.message(), b"alive");
    assert_eq!(server.net.stats().panics, 0);
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_budget_are_closed_at_once() {
    let server = Server::with(|limits| {
        limits.pool = 0;
        limits.floors[Holder::Connections.index()] = 2 * CONNECTION_BYTES;
    });
    assert_eq!(server.net.capacity().connections, 2);
    let first = server.connect().await;
    let second = server.connect().await;
    assert_eq!(first.call("/t.T/Echo", b"1").await.message(), b"1");
    assert_eq!(second.call("/t.T/Echo", b"2").await.message(), b"2");
    let mut third = TcpStream::connect(server.tcp()).await.unwrap();
    third.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    assert_eq!(third.read(&mut [0; 9]).await.unwrap_or(0), 0, "closed, not served");
    server.until(|server| server.net.stats().connections_refused == 1).await;
    drop(first);
    server.until(|server| server.net.stats().connections == 1).await;
    let fourth = server.connect().await;
    assert_eq!(fourth.call("/t.T/Echo", b"4").await.message(), b"4");
    drop((second, fourth));
    server.stop().await;
}

#[tokio::test]
async fn unix_sockets_are_served_and_their_file_goes() {
    let name = format!("tidegate-http-{}-{:?}", std::process::id(), clock::wall().as_nanos());
    let path = std::env::temp_dir().join(name);
    let server = Server::on(Listener::bind_unix(&path).unwrap(), |_| {});
    assert_eq!(server.address, Address::Unix(path.clone()));
    let client = Client::over(UnixStream::connect(&path).await.unwrap()).await;
    assert_eq!(client.call("/t.T/Echo", b"local").await.message(), b"local");
    drop(client);
    server.stop().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn connections_are_dealt_to_every_thread() {
    let server = Server::start();
    let mut clients = Vec::new();
    for _ in 0..20 {
        let client = server.connect().await;
        assert_eq!(client.call("/t.T/Echo", b"x").await.message(), b"x");
        clients.push(client);
    }
    assert_eq!(server.net.loads(), vec![10, 10]);
    drop(clients);
    server.stop().await;
}
