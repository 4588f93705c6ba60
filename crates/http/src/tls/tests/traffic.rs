//! Bytes over connections that are made.

use std::{cell::Cell, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use tidegate_base::{ByteSize, Limits, Profile};

use super::*;
use crate::{
    h1::{Exchange, Handler, Request, Simple, tests::run},
    message::{Body, BodyError, Method, Response},
    tls::TLS_BYTES,
};

/// Says how long the body was, or sends as many bytes as the path says.
struct Bulk;

impl Handler for Bulk {
    async fn handle(&self, mut request: Request<'_>) -> Response {
        if request.method() == Method::Get {
            let size = request.path().trim_start_matches('/').parse().unwrap();
            return Response::text(200, vec![b'x'; size]);
        }
        match request.body(64 << 20).await {
            Ok(body) => Response::text(200, body.len().to_string()),
            Err(error) => Response::text(error.status(), error.to_string()),
        }
    }
}

fn large() -> Config {
    Config { body_bytes_max: 64 << 20, ..Config::default() }
}

/// Reads until `end`.
async fn read_until(stream: &mut TlsStream, end: &str) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(end.as_bytes()) {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
    }
    String::from_utf8(answer).unwrap()
}

#[test]
fn a_head_and_its_small_body_are_one_record() {
    run(|budget| async move {
        let (mut one, mut other) = ends(&budget).await;
        let parts = [std::io::IoSlice::new(b"head"), std::io::IoSlice::new(b""), std::io::IoSlice::new(b"body")];
        let written = std::future::poll_fn(|cx| one.poll_write_parts(cx, &parts)).await.unwrap();
        assert_eq!(written, 8);
        let mut got = Vec::new();
        // A record is handed over as a whole.
        let read = std::future::poll_fn(|cx| other.poll_read_into(cx, 100, |data| got.push(data.to_vec())));
        assert_eq!(read.await.unwrap(), 8);
        assert_eq!(got, [b"headbody"]);
    });
}

/// Nothing is left on the socket when the second half is asked for: a wait for the socket would not end.
#[test]
fn what_is_decrypted_already_is_readable() {
    run(|budget| async move {
        let (mut one, mut other) = ends(&budget).await;
        one.write_all(&[7; 3000]).await.unwrap();
        one.flush().await.unwrap();
        let mut half = [0; 1500];
        other.read_exact(&mut half).await.unwrap();
        std::future::poll_fn(|cx| other.poll_readable(cx)).await.unwrap();
        other.read_exact(&mut half).await.unwrap();
        assert_eq!(half, [7; 1500]);
        let pending = std::future::poll_fn(|cx| std::task::Poll::Ready(other.poll_readable(cx).is_pending()));
        assert!(pending.await, "and after it nothing is");
    });
}

/// Many records at once and a reader with little room: records that wait to be decrypted are readable, too.
#[test]
fn records_that_came_together_are_read_in_small_pieces() {
    run(|budget| async move {
        let (mut one, mut other) = ends(&budget).await;
        let sent: Vec<u8> = (0..200u8).flat_map(|byte| [byte; 40]).collect();
        for piece in sent.chunks(40) {
            one.write_all(piece).await.unwrap();
        }
        one.flush().await.unwrap();
        let mut got = Vec::new();
        while got.len() < sent.len() {
            std::future::poll_fn(|cx| other.poll_readable(cx)).await.unwrap();
            let room = 1 + got.len() % 97;
            let read = std::future::poll_fn(|cx| other.poll_read_into(cx, room, |data| got.extend_from_slice(data)));
            let read = read.await.unwrap();
            assert!(read > 0 && read <= room);
            // What is written between does not disturb what is held.
            other.write_all(b"!").await.unwrap();
        }
        assert_eq!(got, sent);
    });
}

#[test]
fn ends_are_announced_and_cuts_are_seen() {
    run(|budget| async move {
        let (mut one, mut other) = ends(&budget).await;
        one.shutdown().await.unwrap();
        assert_eq!(other.read(&mut [0; 10]).await.unwrap(), 0);
        // The way back is open still.
        other.write_all(b"late").await.unwrap();
        other.flush().await.unwrap();
        let mut got = [0; 4];
        one.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"late");
        let (one, mut other) = ends(&budget).await;
        drop(one);
        let cut = other.read(&mut [0; 10]).await.unwrap_err();
        assert_eq!(cut.kind(), std::io::ErrorKind::UnexpectedEof);
    });
}

#[test]
fn large_bodies_go_both_ways_under_a_small_budget() {
    run(|_| async move {
        let budget = Budget::new(Limits::new(ByteSize::mib(128), Profile::Server).unwrap());
        // Room for the bodies, and little else.
        let taken = budget.try_lease(Holder::Connections, budget.room(Holder::Connections) - (13 << 20)).unwrap();
        let authority = Authority::new();
        let (address, _) = start(Echo, Handle::new(local(&authority)), large(), &budget).await;
        let client = trusting(&authority);
        let body: Vec<u8> = (0..(4u32 << 20)).map(|at| at.to_le_bytes()[at as usize % 3]).collect();
        let exchange = async || {
            let stream = connect(address, &client, "localhost").await.unwrap();
            let (mut reader, mut writer) = tokio::io::split(stream);
            let head =
                format!("POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            let send = async {
                writer.write_all(head.as_bytes()).await.unwrap();
                writer.write_all(&body).await.unwrap();
                writer.flush().await.unwrap();
            };
            let mut answer = Vec::new();
            let receive = async { reader.read_to_end(&mut answer).await.unwrap() };
            tokio::join!(send, receive);
            let start = answer.len() - body.len();
            assert!(answer[start..] == body, "what came back is what was sent");
        };
        join_all((0..3).map(|_| exchange())).await;
        let used = async || {
            // The connections end with their tasks, one turn later.
            while budget.used(Holder::Connections) > taken.bytes() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), used()).await.expect("every lease comes back");
    });
}

/// Sends the body back in pieces as it has come.
struct Echo;

impl Service for Echo {
    async fn handle(&self, mut exchange: Exchange) -> Exchange {
        let body = exchange.body().await.unwrap();
        let pieces = (0..body.len())
            .step_by(100_000)
            .map(move |at| Ok::<_, BodyError>(body.slice(at..body.len().min(at + 100_000))));
        let response =
            Response::new(200).with_body(Body::chunks(futures_util::stream::iter(pieces.collect::<Vec<_>>())));
        // Without chunks, so that the client sees the bytes alone.
        exchange.head_mut().version = crate::message::Version::Http10;
        exchange.respond(response).await.ok();
        exchange
    }
}

/// What a socket does not take at once leaves although nothing further is written: the source of the answer waits.
#[test]
fn what_was_written_leaves_while_its_source_waits() {
    struct Waits(Rc<Cell<bool>>);
    impl Service for Waits {
        async fn handle(&self, mut exchange: Exchange) -> Exchange {
            let first = futures_util::stream::iter([Ok(Bytes::from(vec![b'x'; 8 << 20]))]);
            let done = Rc::clone(&self.0);
            let rest = futures_util::stream::poll_fn(move |_| {
                done.set(true);
                std::task::Poll::<Option<Result<Bytes, BodyError>>>::Pending
            });
            let body = futures_util::StreamExt::chain(first, rest);
            exchange.respond(Response::new(200).with_body(Body::chunks(body))).await.ok();
            exchange
        }
    }
    run(|budget| async move {
        let authority = Authority::new();
        let waits = Waits(Rc::default());
        let (address, _) = start(waits, Handle::new(local(&authority)), large(), &budget).await;
        let mut stream = connect(address, &trusting(&authority), "localhost").await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        stream.flush().await.unwrap();
        let (mut got, mut piece) = (0, vec![0; 64 << 10]);
        while got < 8 << 20 {
            got += stream.read(&mut piece).await.unwrap();
        }
    });
}

#[test]
fn an_idle_connection_gives_its_buffers_back() {
    run(|budget| async move {
        let authority = Authority::new();
        let (address, _) = start(Simple(Bulk), Handle::new(local(&authority)), large(), &budget).await;
        let mut stream = connect(address, &trusting(&authority), "localhost").await.unwrap();
        stream.write_all(b"GET /300000 HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        stream.flush().await.unwrap();
        let answer = read_until(&mut stream, "xxxx").await;
        let mut left = 300_000 - answer.rsplit_once("\r\n\r\n").unwrap().1.len();
        while left > 0 {
            left -= stream.read(&mut [0; 10_000]).await.unwrap();
        }
        // It goes to sleep after a second.
        while budget.used(Holder::Connections) > (3 << 10) + TLS_BYTES + (4 << 10) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stream.write_all(b"GET /2 HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        stream.flush().await.unwrap();
        assert!(read_until(&mut stream, "\r\n\r\nxx").await.starts_with("HTTP/1.1 200 "));
    });
}

#[test]
fn certificates_change_under_traffic_and_connections_stay() {
    run(|budget| async move {
        let (authority, next) = (Authority::new(), Authority::new());
        let handle = Handle::new(local(&authority));
        let (address, shared) = start(Simple(Bulk), Arc::clone(&handle), Config::default(), &budget).await;
        let client = trusting(&authority);
        let mut streams = Vec::new();
        for _ in 0..4 {
            streams.push(connect(address, &client, "localhost").await.unwrap());
        }
        for round in 0..20 {
            handle.swap(local(if round % 2 == 0 { &next } else { &authority }));
            for stream in &mut streams {
                stream.write_all(b"GET /5 HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
                stream.flush().await.unwrap();
                assert!(read_until(stream, "xxxxx").await.starts_with("HTTP/1.1 200 "));
            }
        }
        handle.swap(local(&next));
        assert!(connect(address, &client, "localhost").await.is_err(), "new ones get the new certificate");
        assert!(connect(address, &trusting(&next), "localhost").await.is_ok());
        let requests = shared.stats().requests.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(requests, 80);
    });
}
