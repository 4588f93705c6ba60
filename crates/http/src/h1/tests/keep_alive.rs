//! What happens between requests and at the end of a connection.

use std::time::Duration;

use tidegate_base::Holder;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Config, Echo, read_all, read_until, run, start, talk};

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn pipelined_requests_are_answered_in_order() {
    run(|budget| async move {
        let (address, shared) = start(Echo, Config::default(), &budget).await;
        let mut wire = Vec::new();
        for n in 0..500 {
            wire.extend_from_slice(format!("GET /{n} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
        }
        wire.extend_from_slice(b"GET /end HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let answer = talk(address, &[&wire]).await;
        let bodies: Vec<&str> = answer.split("GET /").skip(1).filter_map(|part| part.split(' ').next()).collect();
        let expected: Vec<String> = (0..500).map(|n| n.to_string()).chain(["end".to_owned()]).collect();
        assert_eq!(bodies, expected);
        assert_eq!(shared.stats().requests.load(std::sync::atomic::Ordering::Relaxed), 501);
    });
}

#[test]
fn old_clients_are_kept_only_when_they_ask() {
    run(|budget| async move {
        let (address, _shared) = start(Echo, Config::default(), &budget).await;
        let once = talk(address, &[b"GET /a HTTP/1.0\r\n\r\n"]).await;
        assert!(once.contains("\r\nConnection: close\r\n"), "{once}");
        let mut stream = TcpStream::connect(address).await.unwrap();
        for _ in 0..2 {
            stream.write_all(b"GET /a HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").await.unwrap();
            assert!(read_until(&mut stream, "[]").await.contains("\r\nConnection: keep-alive\r\n"));
        }
    });
}

#[test]
fn a_client_that_closed_its_side_still_gets_its_answer() {
    run(|budget| async move {
        let (address, _shared) = start(Echo, Config::default(), &budget).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(GET).await.unwrap();
        stream.shutdown().await.unwrap();
        assert!(read_all(&mut stream).await.ends_with("GET /a []"));
        let mut cut = TcpStream::connect(address).await.unwrap();
        cut.write_all(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe").await.unwrap();
        cut.shutdown().await.unwrap();
        assert!(read_all(&mut cut).await.starts_with("HTTP/1.1 400 "));
    });
}

#[test]
fn a_small_body_that_was_not_read_is_dropped_and_a_large_one_ends_the_connection() {
    run(|budget| async move {
        let (address, _shared) = start(Echo, Config::default(), &budget).await;
        let small = talk(
            address,
            &[b"POST /unread HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", b"GET /b HTTP/1.0\r\n\r\n"],
        );
        assert!(small.await.ends_with("GET /b []"));
        let large = talk(
            address,
            &[b"POST /unread HTTP/1.1\r\nHost: h\r\nContent-Length: 500000\r\n\r\nhello", &[b'x'; 100_000], GET],
        );
        let large = large.await;
        assert!(large.ends_with("unread") && large.contains("Connection: close"), "{large}");
    });
}

#[test]
fn sleeping_connections_hold_no_buffers() {
    run(|budget| async move {
        let (address, _shared) = start(Echo, Config::default(), &budget).await;
        let mut streams = Vec::new();
        for _ in 0..20 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(GET).await.unwrap();
            read_until(&mut stream, "[]").await;
            streams.push(stream);
        }
        assert!(budget.used(Holder::Connections) > 20 * (8 << 10));
        while budget.used(Holder::Connections) > 20 * 3072 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for stream in &mut streams {
            stream.write_all(GET).await.unwrap();
            read_until(stream, "[]").await;
        }
    });
}

#[test]
fn without_memory_the_answer_is_503() {
    run(|budget| async move {
        let (address, shared) = start(Echo, Config::default(), &budget).await;
        let room = budget.room(Holder::Connections) - (8 << 10);
        let taken = budget.try_lease(Holder::Connections, room).unwrap();
        let answer = talk(address, &[GET]).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert_eq!(shared.stats().no_memory.load(std::sync::atomic::Ordering::Relaxed), 1);
        drop(taken);
        assert!(talk(address, &[b"GET /a HTTP/1.0\r\n\r\n"]).await.ends_with("GET /a []"));
    });
}

#[test]
fn a_drain_ends_idle_connections_at_once_and_busy_ones_after_their_answer() {
    run(|budget| async move {
        let (address, shared) = start(Echo, Config::default(), &budget).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        let mut busy = TcpStream::connect(address).await.unwrap();
        busy.write_all(b"POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
            .await
            .unwrap();
        read_until(&mut busy, "\r\n\r\n").await;
        shared.drain();
        assert_eq!(idle.read(&mut [0; 8]).await.unwrap(), 0);
        busy.write_all(b"hello").await.unwrap();
        let answer = read_all(&mut busy).await;
        assert!(answer.ends_with("POST /b [hello]") && answer.contains("Connection: close"), "{answer}");
    });
}

#[test]
fn a_panic_ends_its_own_connection_alone() {
    run(|budget| async move {
        let (address, shared) = start(Echo, Config::default(), &budget).await;
        let answer =
            talk(address, &[b"GET /panic HTTP/1.1\r\nHost: h\r\n\r\nGET /next HTTP/1.1\r\nHost: h\r\n\r\n"]).await;
        assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("\r\nConnection: close\r\n"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert_eq!(shared.stats().panics.load(std::sync::atomic::Ordering::Relaxed), 1);
        assert!(talk(address, &[b"GET /a HTTP/1.0\r\n\r\n"]).await.ends_with("GET /a []"));
    });
}

#[test]
fn idle_connections_end() {
    run(|budget| async move {
        let config = Config { idle_timeout: Duration::from_millis(30), ..Config::default() };
        let (address, _shared) = start(Echo, config, &budget).await;
        assert_eq!(talk(address, &[]).await, "");
    });
}

#[test]
fn a_sleeping_connection_is_small() {
    run(|budget| async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let shared = super::Shared::new(Config::default(), budget);
        let service = std::rc::Rc::new(super::Simple(Echo));
        let serving = super::serve(client, bytes::BytesMut::new(), None, service, shared);
        let task = size_of_val(&serving);
        let inner = size_of::<crate::h1::exchange::Inner>();
        // With the reactor's entry and the timer this stays within what such a connection leases.
        assert!(task + inner <= 1400, "{task} + {inner} bytes");
    });
}
