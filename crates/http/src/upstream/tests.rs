//! The client for tools, against the server of this crate.

mod large;

use std::{rc::Rc, time::Duration};

use bytes::{Bytes, BytesMut};
use tidegate_base::Holder;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{Client, ClientError, Endpoint, EndpointError, Outgoing, PoolLimits, Pools, SendError, send};
use crate::{
    h1::{
        Config, Exchange, Handler, Request, Service,
        tests::{read_all, read_until, run, start, start_service},
    },
    message::{Body, BodyError, Method, Response},
};

struct Answers;

impl Handler for Answers {
    async fn handle(&self, mut request: Request<'_>) -> Response {
        let line = format!("{} {}?{}", request.method().as_str(), request.path(), request.query());
        match &*request.path() {
            "/chunks" => {
                let pieces = ["ab", "cd"].map(|piece| Ok(Bytes::from_static(piece.as_bytes())));
                Response::new(200).with_body(Body::chunks(futures_util::stream::iter(pieces)))
            }
            "/missing" => Response::json(404, "{}"),
            "/large" => Response::text(200, vec![b'x'; 2000]),
            _ => match request.body(1000).await {
                Ok(body) => {
                    let kind = request.content_type().unwrap_or("none").to_owned();
                    let mut text = BytesMut::from(format!("{line} {kind} ").as_bytes());
                    text.extend_from_slice(&body);
                    Response::text(200, text.freeze())
                }
                Err(error) => Response::text(error.status(), error.to_string()),
            },
        }
    }
}

#[test]
fn small_questions_are_answered() {
    run(|budget| async move {
        let (address, _shared) = start(Answers, Config::default(), &budget).await;
        let (client, base) = (Client { answer_bytes_max: 1000, ..Client::default() }, format!("http://{address}"));
        let text =
            |answer: Result<super::Answer, ClientError>| String::from_utf8(answer.unwrap().body.to_vec()).unwrap();
        assert_eq!(text(client.get(&base, "/a?b=c d").await), "GET /a?b=c%20d none ");
        assert_eq!(text(client.post(&base, "/p", "text/x", "hello").await), "POST /p? text/x hello");
        assert_eq!(text(client.get(&base, "/chunks").await), "abcd");
        assert_eq!(text(client.request(Method::Delete, &base, "/d", &[], "").await), "DELETE /d? none ");
        let missing = client.get(&base, "/missing").await.unwrap();
        assert_eq!((missing.status, &missing.body[..]), (404, &b"{}"[..]));
        let large = client.get(&base, "/large").await;
        assert!(matches!(large, Err(ClientError::Body(BodyError::TooLarge))), "{large:?}");
    });
}

#[test]
fn failures_have_names() {
    run(|_| async move {
        let client = Client { timeout: Duration::from_millis(50), ..Client::default() };
        let wrong = client.get("localhost:1", "/").await;
        assert!(matches!(wrong, Err(ClientError::Url(EndpointError::Malformed(_)))), "{wrong:?}");
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap();
        let late = client.get(&format!("http://{address}"), "/").await;
        assert!(matches!(late, Err(ClientError::Timeout(_))), "{late:?}");
        drop(silent);
        let refused = client.get(&format!("http://{address}"), "/").await;
        assert!(matches!(refused, Err(ClientError::Io { action: "connect", .. })), "{refused:?}");
    });
}

/// Sends to one server, as often as it says; the last outcome is the answer.
pub(crate) struct Forward {
    pub(crate) endpoint: Endpoint,
    pub(crate) pools: Rc<Pools>,
    times: usize,
}

impl Service for Forward {
    async fn handle(&self, mut exchange: Exchange) -> Exchange {
        let mut last = Response::new(500);
        for _ in 0..self.times {
            let (host, deadline, answer_bytes_max) = (None, None, None);
            let out = Outgoing { endpoint: &self.endpoint, number: 0, host, deadline, answer_bytes_max };
            last = match send(&self.pools, &out, &mut exchange).await {
                Ok(answer) => answer,
                Err(SendError::BodyGone) => Response::text(500, "gone"),
                Err(SendError::ClientGone) => Response::new(499),
                Err(_) => Response::text(503, "no answer"),
            };
        }
        exchange.respond(last).await.ok();
        exchange
    }
}

impl Forward {
    /// And the upstream that it sends to.
    pub(crate) async fn new(budget: &tidegate_base::Budget, times: usize) -> (Self, TcpListener) {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::parse(&format!("http://{}", upstream.local_addr().unwrap())).unwrap();
        let pools = Pools::new(1, PoolLimits::default(), budget.clone(), Holder::Connections, None);
        (Self { endpoint, pools, times }, upstream)
    }
}

async fn forward(budget: &tidegate_base::Budget, times: usize) -> (TcpStream, TcpListener) {
    let (service, upstream) = Forward::new(budget, times).await;
    let (address, _) = start_service(service, Config::default(), budget).await;
    let client = TcpStream::connect(address).await.unwrap();
    client.set_nodelay(true).unwrap();
    (client, upstream)
}

/// The rest of a body that its upstream does not take looks like a request: it must not become one. Both ends act within
/// one turn of the thread, so the server loads the rest and finds the upstream gone when it writes it.
#[test]
fn a_body_that_an_upstream_did_not_take_is_no_request() {
    let hidden = format!("GET /hidden HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(4000));
    let head = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\nabcd", hidden.len() + 4);
    for answer in [&b""[..], b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno"] {
        let (head, hidden) = (&head, &hidden);
        run(|budget| async move {
            let (mut client, upstream) = forward(&budget, 1).await;
            client.write_all(head.as_bytes()).await.unwrap();
            let (mut server, _) = upstream.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"abcd") {
                assert!(server.read_buf(&mut seen).await.unwrap() > 0);
            }
            if !answer.is_empty() {
                assert_eq!(server.try_write(answer).unwrap(), answer.len());
            }
            server.set_zero_linger().unwrap();
            drop(server);
            assert_eq!(client.try_write(hidden.as_bytes()).unwrap(), hidden.len());
            // Where the whole body was taken in before the upstream was seen to be gone, the connection would be kept.
            client.shutdown().await.unwrap();
            let answers = read_all(&mut client).await;
            assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
            assert!(answers.starts_with("HTTP/1.1 503 ") || answers.starts_with("HTTP/1.1 401 "), "{answers}");
        });
    }
}

#[test]
fn a_body_that_was_streamed_is_not_sent_again() {
    run(|budget| async move {
        let (mut client, upstream) = forward(&budget, 2).await;
        client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nabcd").await.unwrap();
        let (mut server, _) = upstream.accept().await.unwrap();
        read_until(&mut server, "abcd").await;
        server.write_all(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        // The body went whole, so the connection is good for another request.
        assert!(read_until(&mut client, "gone").await.starts_with("HTTP/1.1 500 "));
        client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        let (mut server, _) = upstream.accept().await.unwrap();
        assert!(read_until(&mut server, "\r\n\r\n").await.starts_with("GET / "));
    });
}

#[test]
fn a_lease_does_not_grow_with_calls_whose_connection_is_not_kept() {
    run(|budget| async move {
        let (mut client, upstream) = forward(&budget, 1).await;
        tokio::task::spawn_local(async move {
            let answer =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 60000\r\n\r\n{}", "x".repeat(60_000));
            loop {
                let (mut server, _) = upstream.accept().await.unwrap();
                read_until(&mut server, "\r\n\r\n").await;
                server.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let mut used = Vec::new();
        for _ in 0..20 {
            client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(client.read_u8().await.unwrap());
            }
            let mut left = 60_000;
            while left > 0 {
                let mut some = vec![0; left];
                left -= client.read(&mut some).await.unwrap();
            }
            used.push(budget.used(Holder::Connections));
        }
        assert!(used[19] <= used[1], "{used:?}");
    });
}

#[test]
fn an_answer_that_breaks_off_does_not_look_whole_to_an_old_client() {
    run(|budget| async move {
        let (mut client, upstream) = forward(&budget, 1).await;
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let (mut server, _) = upstream.accept().await.unwrap();
        read_until(&mut server, "\r\n\r\n").await;
        server.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n").await.unwrap();
        read_until(&mut client, "ab").await;
        drop(server);
        let end = client.read(&mut [0; 10]).await;
        assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn tunnels_are_not_made() {
    run(|budget| async move {
        let (mut client, _upstream) = forward(&budget, 1).await;
        client.write_all(b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\nConnection: close\r\n\r\n").await.unwrap();
        assert!(read_all(&mut client).await.ends_with("no answer"));
    });
}

#[test]
fn an_answer_that_came_before_the_request_was_sent_counts() {
    run(|_| async move {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", server.local_addr().unwrap());
        tokio::task::spawn_local(async move {
            let (mut stream, _) = server.accept().await.unwrap();
            read_until(&mut stream, "xx").await;
            stream.write_all(b"HTTP/1.1 413 Large\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
            stream.shutdown().await.unwrap();
            // It reads on until the client sees that: a reset might outrun the answer.
            let mut some = vec![0; 64 << 10];
            while stream.read(&mut some).await.is_ok_and(|read| read > 0) {}
        });
        let answer = Client::default().post(&base, "/", "text/x", vec![b'x'; 100_000]).await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (413, &b"no"[..]));
    });
}
