//! Connections that become WebSockets, with an upstream on the other side.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{read_all, read_until, run, start_service};
use crate::{h1::Config, upstream::tests::Forward};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
    Sec-WebSocket-Key: dGhl\r\nSec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
const YES: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
    Sec-WebSocket-Accept: s3pP\r\nSec-WebSocket-Protocol: b\r\nSec-WebSocket-Extensions: permessage-deflate; x=1\r\n\r\n";

async fn begin(budget: &tidegate_base::Budget) -> (TcpStream, TcpListener, std::rc::Rc<crate::h1::Shared>) {
    let (service, upstream) = Forward::new(budget, 1).await;
    let (address, shared) = start_service(service, Config::default(), budget).await;
    let client = TcpStream::connect(address).await.unwrap();
    client.set_nodelay(true).unwrap();
    (client, upstream, shared)
}

/// Both ends of an open one.
async fn open(budget: &tidegate_base::Budget) -> (TcpStream, TcpStream, std::rc::Rc<crate::h1::Shared>) {
    let (mut client, upstream, shared) = begin(budget).await;
    client.write_all(ASK.as_bytes()).await.unwrap();
    let (mut server, _) = upstream.accept().await.unwrap();
    read_until(&mut server, "\r\n\r\n").await;
    server.write_all(YES.as_bytes()).await.unwrap();
    read_until(&mut client, "\r\n\r\n").await;
    (client, server, shared)
}

#[test]
fn a_websocket_is_passed_on_with_what_its_ends_agree_on() {
    run(|budget| async move {
        let (mut client, upstream, _shared) = begin(&budget).await;
        // Bytes behind the head are the client's first ones, bytes behind the 101 the server's.
        client.write_all([ASK, "early"].concat().as_bytes()).await.unwrap();
        let (mut server, _) = upstream.accept().await.unwrap();
        let head = read_until(&mut server, "\r\n\r\n").await;
        let expected = "GET /chat HTTP/1.1\r\nHost: h\r\nSec-WebSocket-Key: dGhl\r\nSec-WebSocket-Protocol: a, b\r\n\
            Sec-WebSocket-Extensions: permessage-deflate\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(head, expected);
        server.write_all([YES, "hello"].concat().as_bytes()).await.unwrap();
        let answer = read_until(&mut client, "hello").await;
        let expected = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Accept: s3pP\r\nSec-WebSocket-Protocol: b\r\nSec-WebSocket-Extensions: permessage-deflate; x=1\r\n\r\nhello";
        assert_eq!(answer, expected);
        assert_eq!(read_until(&mut server, "early").await, "early");
        client.write_all(b"one").await.unwrap();
        assert_eq!(read_until(&mut server, "one").await, "one");
        server.write_all(b"two").await.unwrap();
        assert_eq!(read_until(&mut client, "two").await, "two");
        // One side may have said all it has to say before the other.
        client.shutdown().await.unwrap();
        assert_eq!(server.read(&mut [0; 1]).await.unwrap(), 0);
        server.write_all(b"last").await.unwrap();
        drop(server);
        assert_eq!(read_all(&mut client).await, "last");
    });
}

#[test]
fn an_end_of_either_side_ends_both() {
    run(|budget| async move {
        let (mut client, server, _shared) = open(&budget).await;
        server.set_zero_linger().unwrap();
        drop(server);
        assert!(matches!(client.read(&mut [0; 1]).await, Ok(0) | Err(_)));
        let (client, mut server, _shared) = open(&budget).await;
        client.set_zero_linger().unwrap();
        drop(client);
        assert!(matches!(server.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    });
}

#[test]
fn bytes_pass_both_ways_at_once_in_bounded_buffers() {
    run(|budget| async move {
        let (client, server, _shared) = open(&budget).await;
        let data: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
        let ends = [client, server].map(|stream| {
            let data = data.clone();
            let budget = budget.clone();
            async move {
                let (mut reader, mut writer) = stream.into_split();
                let sending = tokio::task::spawn_local({
                    let data = data.clone();
                    async move { writer.write_all(&data).await.unwrap() }
                });
                let mut seen = vec![0; data.len()];
                reader.read_exact(&mut seen).await.unwrap();
                assert!(seen == data);
                sending.await.unwrap();
                assert!(budget.used(tidegate_base::Holder::Connections) < 256 << 10);
            }
        });
        futures_util::future::join_all(ends).await;
    });
}

#[test]
fn a_drain_leaves_an_open_one() {
    run(|budget| async move {
        let (mut client, mut server, shared) = open(&budget).await;
        shared.drain();
        for text in ["one", "two"] {
            client.write_all(text.as_bytes()).await.unwrap();
            assert_eq!(read_until(&mut server, text).await, text);
            server.write_all(text.as_bytes()).await.unwrap();
            assert_eq!(read_until(&mut client, text).await, text);
        }
    });
}

#[test]
fn a_refusal_is_an_ordinary_answer() {
    run(|budget| async move {
        let (mut client, upstream, _shared) = begin(&budget).await;
        client.write_all(ASK.as_bytes()).await.unwrap();
        let (mut server, _) = upstream.accept().await.unwrap();
        for _ in 0..2 {
            read_until(&mut server, "\r\n\r\n").await;
            server.write_all(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
            assert!(read_until(&mut client, "\r\n\r\nno").await.starts_with("HTTP/1.1 403 "));
            // Both connections serve the next request.
            client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        }
    });
}

#[test]
fn nothing_else_is_passed_on() {
    for head in [
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nab",
        "GET / HTTP/1.0\r\nHost: h\r\nConnection: Upgrade, keep-alive\r\nUpgrade: websocket\r\n\r\n",
    ] {
        run(|budget| async move {
            let (mut client, upstream, _shared) = begin(&budget).await;
            client.write_all(head.as_bytes()).await.unwrap();
            let (mut server, _) = upstream.accept().await.unwrap();
            let end = if head.ends_with("ab") { "ab" } else { "\r\n\r\n" };
            let seen = read_until(&mut server, end).await;
            assert!(!seen.contains("pgrade"), "{seen}");
            // And who switches though nobody asked is not believed.
            server.write_all(YES.as_bytes()).await.unwrap();
            assert!(read_until(&mut client, "no answer").await.starts_with("HTTP/1.1 503 "));
        });
    }
}

#[test]
fn another_protocol_than_the_one_asked_for_is_no_answer() {
    run(|budget| async move {
        let (mut client, upstream, _shared) = begin(&budget).await;
        client.write_all(ASK.as_bytes()).await.unwrap();
        let (mut server, _) = upstream.accept().await.unwrap();
        read_until(&mut server, "\r\n\r\n").await;
        server.write_all(b"HTTP/1.1 101 Sure\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n").await.unwrap();
        assert!(read_until(&mut client, "no answer").await.starts_with("HTTP/1.1 503 "));
    });
}
