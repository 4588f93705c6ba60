//! What a service sees and says.

use std::{cell::RefCell, sync::atomic::Ordering};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::io::AsyncWriteExt;

use super::{
    ask, connect,
    raw::{END_HEADERS, END_STREAM, GET, GOAWAY, HEADERS, RST_STREAM, frame, hello, until},
    read, request, start,
};
use crate::{
    h1::{
        Config, Exchange, Service, Simple,
        tests::{Echo, run},
    },
    message::{Body, Known, Method, Response, Version},
};

#[test]
fn answers_are_those_of_http1() {
    run(|budget| async move {
        let (address, _shared) = start(Simple(Echo), Config::default(), &budget).await;
        let mut client = connect(address).await;
        let mut check = async |method: &str, path: &str, body: Option<&'static str>, expected: (u16, &str)| {
            let answer = ask(&mut client, request(method, path), body.map(Bytes::from)).await.unwrap();
            assert_eq!((answer.text(), answer.cut), (expected, None), "{method} {path}");
            answer
        };
        let answer = check("GET", "/a?b=c", None, (200, "GET /a []")).await;
        let length = answer.headers["content-length"].as_bytes();
        assert_eq!((length, answer.headers.contains_key("date")), (&b"9"[..], true));
        check("POST", "/a", Some("hello"), (200, "POST /a [hello]")).await;
        check("DELETE", "/a", None, (202, "DELETE /a []")).await;
        check("PURGE", "/a", None, (200, "PURGE /a []")).await;
        check("GET", "/none", None, (204, "")).await;
        check("GET", "/chunks", None, (200, "onetwo")).await;
        check("POST", "/unread", Some("hello"), (200, "unread")).await;
        let answer = check("GET", "/not-modified", None, (304, "")).await;
        assert_eq!(answer.headers.get("etag").unwrap(), "x");
        let answer = check("HEAD", "/a", None, (200, "")).await;
        assert_eq!(answer.headers.get("content-length").unwrap(), "10", "as a GET's would be");
    });
}

#[test]
fn a_connection_carries_many_requests_at_once() {
    run(|budget| async move {
        let (address, shared) = start(Simple(Echo), Config::default(), &budget).await;
        let client = connect(address).await;
        let each = (0..100).map(|number| {
            let mut client = client.clone();
            async move {
                let body = Bytes::from(format!("{number}").repeat(1000));
                let answer =
                    ask(&mut client, request("POST", &format!("/{number}")), Some(body.clone())).await.unwrap();
                assert_eq!(answer.body, [format!("POST /{number} [").as_bytes(), &body, b"]"].concat());
            }
        });
        join_all(each).await;
        assert_eq!(shared.stats().requests.load(Ordering::Relaxed), 100);
    });
}

#[test]
fn a_panic_and_a_broken_body_are_of_one_stream() {
    run(|budget| async move {
        let (address, shared) = start(Simple(Echo), Config::default(), &budget).await;
        let mut client = connect(address).await;
        let panicked = ask(&mut client, request("GET", "/panic"), None).await.unwrap();
        assert_eq!(panicked.status, 500);
        let cut = ask(&mut client, request("GET", "/cut"), None).await.unwrap_err();
        assert_eq!(cut.reason(), Some(h2::Reason::INTERNAL_ERROR));
        let after = ask(&mut client, request("GET", "/a"), None).await.unwrap();
        assert_eq!(after.text(), (200, "GET /a []"));
        assert_eq!(shared.stats().panics.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn bodies_over_the_limit_are_refused_announced_or_not() {
    run(|budget| async move {
        let (address, _shared) = start(Simple(Echo), Config::default(), &budget).await;
        let mut client = connect(address).await;
        let mut announced = request("POST", "/a");
        announced.headers_mut().insert("content-length", 20_000.into());
        let (answer, _body) = client.send_request(announced, false).unwrap();
        assert_eq!(read(answer).await.unwrap().status, 413, "before a byte of it came");
        let sent = ask(&mut client, request("POST", "/a"), Some(Bytes::from(vec![b'x'; 20_000]))).await.unwrap();
        assert_eq!(sent.status, 413);
        let after = ask(&mut client, request("GET", "/a"), None).await.unwrap();
        assert_eq!(after.status, 200);
    });
}

#[test]
fn malformed_requests_are_reset_and_bad_heads_answered() {
    run(|budget| async move {
        let (address, _shared) = start(Simple(Echo), Config::default(), &budget).await;
        let mut client = connect(address).await;
        for length in [4, 6] {
            let mut wrong = request("POST", "/a");
            wrong.headers_mut().insert("content-length", length.into());
            let (answer, mut body) = client.send_request(wrong, false).unwrap();
            body.send_data("hello".into(), true).unwrap();
            let error = read(answer).await.unwrap_err();
            assert_eq!(error.reason(), Some(h2::Reason::PROTOCOL_ERROR), "{length}");
        }
        let mut many = request("GET", "/");
        for number in 0..101 {
            many.headers_mut().insert(http::HeaderName::try_from(format!("x-{number}")).unwrap(), 1.into());
        }
        assert_eq!(ask(&mut client, many, None).await.unwrap().status, 431);
        let mut strange = request("GET", "/");
        strange.headers_mut().insert("expect", "more".parse().unwrap());
        assert_eq!(ask(&mut client, strange, None).await.unwrap().status, 417);
        assert_eq!(ask(&mut client, request("GET", "/a"), None).await.unwrap().status, 200, "the connection lives on");
    });
}

/// Looks at everything that an exchange says, and leaves its stream without an answer where it is asked to.
struct Look(RefCell<Vec<String>>);

impl Service for Look {
    async fn handle(&self, mut exchange: Exchange) -> Exchange {
        let head = exchange.head();
        assert_eq!((head.version, head.method), (Version::Http2, Method::Post));
        assert_eq!((head.authority(), head.scheme()), (&b"h.test"[..], None));
        assert_eq!(head.headers.get(Known::Host), Some(&b"h.test"[..]));
        assert_eq!(exchange.peer_text(), "127.0.0.1");
        let silent = exchange.head().path() == b"/silent";
        exchange.limit_body(Some(100)).unwrap();
        assert!(!exchange.has_whole_body() && exchange.whole_body().is_none());
        let body = exchange.body().await.unwrap();
        assert_eq!((&body[..], exchange.whole_body().as_deref()), (&b"hello"[..], Some(&b"hello"[..])));
        exchange.set_body("more than that").await.unwrap();
        assert!(exchange.pause(tidegate_base::clock::now()).await, "the client is there");
        if !silent {
            let heads = exchange.received_bytes() - 5;
            exchange.respond(Response::new(200).with_body(Body::Full("answer".into()))).await.unwrap();
            assert!(heads > 20 && exchange.sent_bytes() > 6, "{heads} {}", exchange.sent_bytes());
        }
        self.0.borrow_mut().push(String::from_utf8(exchange.whole_body().unwrap().to_vec()).unwrap());
        exchange
    }
}

#[test]
fn an_exchange_is_the_same_as_over_http1() {
    run(|budget| async move {
        let (address, _shared) = start(Look(RefCell::default()), Config::default(), &budget).await;
        let mut client = connect(address).await;
        let mut length = request("POST", "/");
        length.headers_mut().insert("content-length", 5.into());
        for (request, expected) in [
            (request("POST", "/"), (200, "answer")),
            (length, (200, "answer")),
            (request("POST", "/silent"), (500, "Internal Server Error")),
        ] {
            let answer = ask(&mut client, request, Some("hello".into())).await.unwrap();
            assert_eq!(answer.text(), expected);
        }
    });
}

#[test]
fn a_client_that_waits_for_leave_gets_it() {
    run(|budget| async move {
        let (address, _shared) = start(Simple(Echo), Config::default(), &budget).await;
        let mut client = connect(address).await;
        let mut waiting = request("POST", "/a");
        waiting.headers_mut().insert("expect", "100-continue".parse().unwrap());
        let (mut answer, mut body) = client.send_request(waiting, false).unwrap();
        let interim = std::future::poll_fn(|cx| answer.poll_informational(cx)).await.unwrap().unwrap();
        assert_eq!(interim.status(), 100);
        body.send_data("hello".into(), true).unwrap();
        assert_eq!(read(answer).await.unwrap().text(), (200, "POST /a [hello]"));
    });
}

#[test]
fn a_drain_lets_requests_end_and_takes_no_more() {
    run(|budget| async move {
        let (address, shared) = start(Simple(Echo), Config::default(), &budget).await;
        let mut client = connect(address).await;
        let (answer, mut body) = client.send_request(request("POST", "/a"), false).unwrap();
        assert_eq!(ask(&mut client, request("GET", "/b"), None).await.unwrap().status, 200);
        shared.drain();
        // Until the client has heard of it.
        while client.clone().ready().await.is_ok() && ask(&mut client, request("GET", "/c"), None).await.is_ok() {}
        body.send_data("hello".into(), true).unwrap();
        assert_eq!(read(answer).await.unwrap().text(), (200, "POST /a [hello]"));
    });
}

#[test]
fn an_idle_connection_is_told_and_closed() {
    run(|budget| async move {
        let idle_timeout = std::time::Duration::from_millis(20);
        let (address, _shared) = start(Simple(Echo), Config { idle_timeout, ..Config::default() }, &budget).await;
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (_client, connection) = h2::client::handshake::<_>(stream).await.unwrap();
        connection.await.expect("an orderly end");
    });
}

/// RFC 9113, 8.2.1 and 8.2.2: what a client of `h2` does not send.
#[test]
fn headers_of_a_connection_and_names_in_capitals_are_refused() {
    run(|budget| async move {
        let (address, shared) = start(Simple(Echo), Config::default(), &budget).await;
        let mut stream = hello(address, &[]).await;
        let cases = [
            ("connection", "close"),
            ("proxy-connection", "close"),
            ("keep-alive", "1"),
            ("upgrade", "websocket"),
            ("transfer-encoding", "chunked"),
            ("te", "gzip"),
        ];
        for (id, (name, value)) in (1..).step_by(2).zip(cases) {
            let literal = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
            let head = [GET, &[0], &literal(name), &literal(value)].concat();
            stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, id, &head)).await.unwrap();
            let refused = until(&mut stream, |frame| frame.stream == id || frame.kind == GOAWAY).await.unwrap();
            assert_eq!((refused.kind, refused.code()), (RST_STREAM, Some(1)), "{name}");
        }
        for (name, value) in [("X-Capital", "1"), ("x-line", "1\r\nx: 2")] {
            let mut stream = hello(address, &[]).await;
            let literal = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
            let head = [GET, &[0], &literal(name), &literal(value)].concat();
            stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &head)).await.unwrap();
            let refused = until(&mut stream, |frame| frame.stream == 1 || frame.kind == GOAWAY).await.unwrap();
            assert!(refused.code().is_some(), "{name}: {refused:?}");
        }
        assert_eq!(shared.stats().requests.load(Ordering::Relaxed), 0);
    });
}
