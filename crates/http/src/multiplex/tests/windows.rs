//! Clients and upstreams that take or send nothing.

use std::time::Duration;

use bytes::Bytes;
use tidegate_base::Holder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    ask, connect,
    raw::{DATA, END_HEADERS, END_STREAM, GET, HEADERS, RST_STREAM, WINDOW_UPDATE, frame, hello, next, until},
    request, start,
};
use crate::{
    h1::{
        Config, Exchange, Service,
        tests::{read_until, run},
    },
    message::{Body, Response},
    upstream::tests::Forward,
};

/// Answers with 8 MiB, or with a word where it is asked so.
struct Large(Bytes);

impl Service for Large {
    async fn handle(&self, mut exchange: Exchange) -> Exchange {
        let body = if exchange.head().path() == b"/small" { Bytes::from_static(b"word") } else { self.0.clone() };
        exchange.respond(Response::new(200).with_body(Body::Full(body))).await.ok();
        exchange
    }
}

fn large() -> Large {
    Large(Bytes::from(vec![7; 8 << 20]))
}

#[test]
fn a_stream_whose_window_stays_shut_is_reset_and_others_go_on() {
    run(|budget| async move {
        let config = Config { stall_timeout: Duration::from_millis(30), ..Config::default() };
        let (address, _shared) = start(large(), config, &budget).await;
        // No window for any stream: SETTINGS_INITIAL_WINDOW_SIZE is 0.
        let mut stream = hello(address, &[(4, 0)]).await;
        stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, GET)).await.unwrap();
        let reset = until(&mut stream, |frame| frame.kind == RST_STREAM).await.unwrap();
        assert_eq!(reset.stream, 1);
        stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 3, GET)).await.unwrap();
        let head = until(&mut stream, |frame| frame.stream == 3).await.unwrap();
        assert_eq!(head.kind, HEADERS);
    });
}

#[test]
fn a_client_that_reads_nothing_holds_little_and_is_cut() {
    run(|budget| async move {
        let config = Config { stall_timeout: Duration::from_millis(300), ..Config::default() };
        let (address, _shared) = start(large(), config, &budget).await;
        // Windows as large as they can be: only its socket is full.
        let mut stream = hello(address, &[(4, 0x7fff_ffff)]).await;
        stream.write_all(&frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000u32.to_be_bytes())).await.unwrap();
        for id in (1..200).step_by(2) {
            stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, id, GET)).await.unwrap();
        }
        let mut most = 0;
        while budget.used(Holder::Connections) == 0 {
            tokio::task::yield_now().await;
        }
        while budget.used(Holder::Connections) > 0 {
            most = most.max(budget.used(Holder::Connections));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // 100 streams, and what all of them may have on the way.
        assert!(most <= 100 * (20 << 10) + (1 << 20), "{most}");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.ok();
        assert!(bytes.len() < 100 * (8 << 20), "it was not sent all");
    });
}

#[test]
fn uploads_that_nobody_takes_hold_no_other_request_up() {
    run(|budget| async move {
        let (service, upstream) = Forward::new(&budget, 1).await;
        let config = Config { body_bytes_max: u64::MAX, ..Config::default() };
        let (address, _shared) = start(service, config, &budget).await;
        let mut client = connect(address).await;
        let mut stuck = Vec::new();
        for number in 0..8 {
            let (answer, mut body) = client.send_request(request("POST", &format!("/{number}")), false).unwrap();
            body.send_data(Bytes::from(vec![7; 8 << 20]), true).unwrap();
            let (server, _) = upstream.accept().await.unwrap();
            stuck.push((answer, body, server));
        }
        // A request with a body, which needs the window of the connection.
        let (answer, mut body) = client.send_request(request("POST", "/last"), false).unwrap();
        body.send_data("hello".into(), true).unwrap();
        let (mut server, _) = upstream.accept().await.unwrap();
        read_until(&mut server, "5\r\nhello\r\n0\r\n\r\n").await;
        server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
        assert!(budget.used(Holder::Connections) < 3 << 20, "{}", budget.used(Holder::Connections));
    });
}

#[test]
fn what_is_idle_holds_what_it_says() {
    run(|budget| async move {
        let (service, upstream) = Forward::new(&budget, 1).await;
        let (address, _shared) = start(service, Config::default(), &budget).await;
        let mut client = connect(address).await;
        let mut waiting = Vec::new();
        for _ in 0..10 {
            let (answer, _) = client.send_request(request("GET", "/"), true).unwrap();
            let (mut server, _) = upstream.accept().await.unwrap();
            read_until(&mut server, "\r\n\r\n").await;
            waiting.push((answer, server));
        }
        // Ten streams, ten connections to upstreams of 1 KiB each, and this one.
        assert_eq!(budget.used(Holder::Connections), 10 * (20 << 10) + 10 * (1 << 10) + (10 << 10));
        for (answer, mut server) in waiting {
            server.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            answer.await.unwrap();
        }
        // What the next requests could have used goes after a second.
        while budget.used(Holder::Connections) > 10 << 10 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let answer = client.send_request(request("GET", "/"), true);
        let (mut server, _) = upstream.accept().await.unwrap();
        read_until(&mut server, "\r\n\r\n").await;
        server.write_all(b"HTTP/1.1 204 No\r\n\r\n").await.unwrap();
        assert_eq!(answer.unwrap().0.await.unwrap().status(), 204);
    });
}

#[test]
fn a_small_answer_passes_a_large_one() {
    run(|budget| async move {
        let (address, _shared) = start(large(), Config::default(), &budget).await;
        // The window of the first stream is never given back.
        let mut other = hello(address, &[(4, 1000)]).await;
        other.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, GET)).await.unwrap();
        assert_eq!(until(&mut other, |frame| frame.kind == DATA).await.unwrap().payload.len(), 1000);
        let small = [&GET[..2], &[0x44, 6], b"/small", &GET[3..]].concat();
        other.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &small)).await.unwrap();
        assert_eq!(next(&mut other).await.unwrap().kind, HEADERS);
        let word = next(&mut other).await.unwrap();
        assert_eq!(
            (&word.payload[..], word.flags),
            (&b"word"[..], END_STREAM),
            "one frame, which says that it is the last"
        );
    });
}

/// A client may open its windows by as little as it likes, as long as it takes what it asked for.
#[test]
fn a_download_in_small_windows_is_no_flood() {
    run(|budget| async move {
        let (address, _shared) = start(large(), Config::default(), &budget).await;
        let mut stream = hello(address, &[(4, 2000)]).await;
        stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, GET)).await.unwrap();
        let mut seen = 0;
        while seen < 8 << 20 {
            let data = until(&mut stream, |frame| frame.kind == DATA).await.expect("it goes on");
            seen += data.payload.len();
            let more = u32::try_from(data.payload.len()).unwrap().to_be_bytes();
            let updates = [0, 1].map(|id| frame(WINDOW_UPDATE, 0, id, &more)).concat();
            // Of what is complete there is nothing to update.
            if seen < 8 << 20 {
                stream.write_all(&updates).await.unwrap();
            }
        }
    });
}

#[test]
fn without_memory_a_stream_is_refused_and_the_connection_stays() {
    run(|budget| async move {
        let (address, shared) = start(large(), Config::default(), &budget).await;
        let mut client = connect(address).await;
        assert_eq!(ask(&mut client, request("GET", "/small"), None).await.unwrap().text(), (200, "word"));
        // What the connection keeps for its next request goes first.
        while budget.used(Holder::Connections) > 10 << 10 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut rest = budget.empty(Holder::Connections);
        for step in [1 << 20, 1 << 10] {
            while rest.try_grow(step) {}
        }
        assert_eq!(ask(&mut client, request("GET", "/small"), None).await.unwrap().text(), (503, ""));
        assert_eq!(shared.stats().no_memory.load(std::sync::atomic::Ordering::Relaxed), 1);
        drop(rest);
        assert_eq!(ask(&mut client, request("GET", "/small"), None).await.unwrap().text(), (200, "word"));
    });
}
