//! Streams beside upstream connections.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{ask, connect, read, request, start};
use crate::{
    h1::{
        Config,
        tests::{read_until, run},
    },
    upstream::tests::Forward,
};

#[test]
fn requests_and_answers_are_those_of_http1_towards_the_upstream() {
    run(|budget| async move {
        let (service, upstream) = Forward::new(&budget, 1).await;
        let (address, _shared) = start(service, Config::default(), &budget).await;
        let mut client = connect(address).await;
        let mut get = request("GET", "/p?q=1");
        get.headers_mut().append("cookie", "a=1".parse().unwrap());
        get.headers_mut().append("cookie", "b=2".parse().unwrap());
        let (answer, _) = client.send_request(get, true).unwrap();
        let (mut server, _) = upstream.accept().await.unwrap();
        let head = read_until(&mut server, "\r\n\r\n").await;
        assert_eq!(head, "GET /p?q=1 HTTP/1.1\r\nHost: h.test\r\ncookie: a=1; b=2\r\n\r\n");
        let sent = b"HTTP/1.1 200 OK\r\nX-A: 1\r\nConnection: x-b\r\nX-B: 2\r\nKeep-Alive: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
            3\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n";
        server.write_all(sent).await.unwrap();
        let answer = read(answer).await.unwrap();
        assert_eq!(answer.text(), (200, "abcde"));
        let names: Vec<_> = answer.headers.keys().map(http::HeaderName::as_str).collect();
        assert_eq!(names, ["x-a", "date"]);
        // The connection is kept, and its next answer belongs to the next request.
        let (answer, _) = client.send_request(request("HEAD", "/"), true).unwrap();
        read_until(&mut server, "\r\n\r\n").await;
        server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n").await.unwrap();
        let answer = read(answer).await.unwrap();
        assert_eq!((answer.status, answer.headers["content-length"].as_bytes()), (200, &b"7"[..]));
    });
}

#[test]
fn bodies_go_both_ways_at_once() {
    run(|budget| async move {
        let (service, upstream) = Forward::new(&budget, 1).await;
        let (address, _shared) = start(service, Config::default(), &budget).await;
        let mut client = connect(address).await;
        let (answer, mut up) = client.send_request(request("POST", "/"), false).unwrap();
        up.send_data("one".into(), false).unwrap();
        let (mut server, _) = upstream.accept().await.unwrap();
        let head = read_until(&mut server, "3\r\none\r\n").await;
        assert!(head.contains("\r\nTransfer-Encoding: chunked\r\n"), "{head}");
        server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nONE").await.unwrap();
        let mut down = answer.await.unwrap().into_body();
        assert_eq!(down.data().await.unwrap().unwrap(), "ONE");
        up.send_data("two".into(), true).unwrap();
        assert_eq!(read_until(&mut server, "\r\n0\r\n\r\n").await, "3\r\ntwo\r\n0\r\n\r\n");
        server.write_all(b"TWO").await.unwrap();
        assert_eq!(down.data().await.unwrap().unwrap(), "TWO");
        assert!(down.data().await.is_none());
    });
}

#[test]
fn large_bodies_pass_whole() {
    run(|budget| async move {
        let (service, upstream) = Forward::new(&budget, 1).await;
        let config = Config { body_bytes_max: u64::MAX, ..Config::default() };
        let (address, _shared) = start(service, config, &budget).await;
        // Sends back what it gets, after it got it.
        tokio::task::spawn_local(async move {
            while let Ok((mut server, _)) = upstream.accept().await {
                tokio::task::spawn_local(async move {
                    let (mut seen, end) = (BytesMut::new(), b"\r\n\r\n");
                    let head = loop {
                        assert!(server.read_buf(&mut seen).await.unwrap() > 0);
                        if let Some(at) = seen.windows(4).position(|some| some == end) {
                            break seen.split_to(at + 4);
                        }
                    };
                    assert!(head.windows(23).any(|some| some == b"Content-Length: 3000000"), "{head:?}");
                    while seen.len() < 3_000_000 {
                        assert!(server.read_buf(&mut seen).await.unwrap() > 0);
                    }
                    server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n").await.unwrap();
                    server.write_all(&seen).await.unwrap();
                });
            }
        });
        let client = connect(address).await;
        let body: Bytes = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
        let each = (0..4).map(|_| {
            let (mut client, body) = (client.clone(), body.clone());
            async move {
                let mut post = request("POST", "/");
                post.headers_mut().insert("content-length", 3_000_000.into());
                let answer = ask(&mut client, post, Some(body.clone())).await.unwrap();
                assert!(answer.body == body, "{} bytes", answer.body.len());
            }
        });
        futures_util::future::join_all(each).await;
    });
}

#[test]
fn an_answer_that_breaks_off_is_reset() {
    run(|budget| async move {
        let (service, upstream) = Forward::new(&budget, 1).await;
        let (address, _shared) = start(service, Config::default(), &budget).await;
        let mut client = connect(address).await;
        for (length, start) in [("Content-Length: 7", "ab"), ("Transfer-Encoding: chunked", "2\r\nab\r\n")] {
            let (answer, _) = client.send_request(request("GET", "/"), true).unwrap();
            let (mut server, _) = upstream.accept().await.unwrap();
            read_until(&mut server, "\r\n\r\n").await;
            server.write_all(format!("HTTP/1.1 200 OK\r\n{length}\r\n\r\n{start}").as_bytes()).await.unwrap();
            let mut body = answer.await.unwrap().into_body();
            assert_eq!(body.data().await.unwrap().unwrap(), "ab");
            drop(server);
            let cut = body.data().await.unwrap().unwrap_err();
            assert_eq!(cut.reason(), Some(h2::Reason::INTERNAL_ERROR), "{length}");
        }
    });
}

#[test]
fn a_client_that_cancels_is_gone() {
    run(|budget| async move {
        let (service, upstream) = Forward::new(&budget, 1).await;
        let (address, _shared) = start(service, Config::default(), &budget).await;
        let mut client = connect(address).await;
        for answered in [false, true] {
            let (answer, mut handle) = client.send_request(request("GET", "/"), true).unwrap();
            let (mut server, _) = upstream.accept().await.unwrap();
            read_until(&mut server, "\r\n\r\n").await;
            if answered {
                server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nab").await.unwrap();
                assert_eq!(answer.await.unwrap().status(), 200);
            }
            handle.send_reset(h2::Reason::CANCEL);
            // The upstream's connection is not kept: an answer that nobody waits for is on its way.
            assert_eq!(server.read(&mut [0; 10]).await.unwrap(), 0, "answered: {answered}");
        }
    });
}

#[test]
fn a_client_that_leaves_ends_its_requests() {
    run(|budget| async move {
        let (service, upstream) = Forward::new(&budget, 1).await;
        let (address, _shared) = start(service, Config::default(), &budget).await;
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::task::spawn_local(connection);
        let mut client = client.ready().await.unwrap();
        let _answers: Vec<_> = (0..3)
            .map(|_| client.send_request(request("GET", "/"), true).map(|(answer, _)| answer).unwrap())
            .collect::<Vec<_>>();
        let mut servers = Vec::new();
        for _ in 0..3 {
            let (mut server, _) = upstream.accept().await.unwrap();
            read_until(&mut server, "\r\n\r\n").await;
            servers.push(server);
        }
        let _: &mut h2::client::SendRequest<Bytes> = &mut client;
        connection.abort();
        for mut server in servers {
            assert_eq!(server.read(&mut [0; 10]).await.unwrap(), 0);
        }
    });
}
