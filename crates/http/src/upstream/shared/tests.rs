//! Calls over HTTP/2, against `h2`'s own server.

use std::{cell::Cell, future::Future, net::SocketAddr, rc::Rc, time::Duration};

use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{Request, Response, StatusCode};
use tidegate_base::{Budget, Holder, clock};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::spawn_local,
};

use crate::{
    h1::{
        Config,
        tests::{read_all, run, start_service, talk},
    },
    message::{Method, RequestHead},
    upstream::{Outgoing, Pools, Protocol, ask, tests::Forward},
};

type Asked = (Request<RecvStream>, SendResponse<Bytes>);

/// A gateway before a server over HTTP/2 that answers with `each`. Gives its address, its pools, and the number of connections that
/// the server has seen.
async fn gateway<F>(
    budget: &Budget,
    each: impl Fn(usize, Asked) -> F + 'static,
) -> (SocketAddr, Rc<Pools>, Rc<Cell<usize>>)
where
    F: Future<Output = ()> + 'static,
{
    let (mut service, upstream) = Forward::new(budget, 1).await;
    service.endpoint.set_protocol(Protocol::Http2);
    let pools = Rc::clone(&service.pools);
    let config = Config { body_bytes_max: 64 << 20, ..Config::default() };
    let (address, _) = start_service(service, config, budget).await;
    let seen = Rc::new(Cell::new(0));
    spawn_local(serve(upstream, Rc::clone(&seen), Rc::new(each)));
    (address, pools, seen)
}

async fn serve<F>(upstream: TcpListener, seen: Rc<Cell<usize>>, each: Rc<impl Fn(usize, Asked) -> F + 'static>)
where
    F: Future<Output = ()> + 'static,
{
    loop {
        let (stream, _) = upstream.accept().await.unwrap();
        seen.set(seen.get() + 1);
        let (number, each) = (seen.get(), Rc::clone(&each));
        spawn_local(async move {
            let mut builder = h2::server::Builder::new();
            let mut connection = builder.max_concurrent_streams(1000).handshake(stream).await.unwrap();
            while let Some(Ok(asked)) = connection.accept().await {
                let goes = asked.0.uri().path() == "/goes";
                spawn_local(each(number, asked));
                if goes {
                    connection.graceful_shutdown();
                }
            }
        });
    }
}

async fn body(mut body: RecvStream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).unwrap();
        all.extend_from_slice(&data);
    }
    all
}

async fn answer(respond: &mut SendResponse<Bytes>, response: Response<()>, bytes: Vec<u8>) {
    let mut send = respond.send_response(response, false).unwrap();
    let mut rest = Bytes::from(bytes);
    while !rest.is_empty() {
        send.reserve_capacity(rest.len());
        let Some(Ok(room)) = std::future::poll_fn(|cx| send.poll_capacity(cx)).await else { return };
        send.send_data(rest.split_to(room.min(rest.len())), false).unwrap();
    }
    send.send_data(Bytes::new(), true).ok();
}

/// Says what it was asked and the body's length; `/large` with as many bytes, with trailers behind them.
async fn tell(_: usize, (request, mut respond): Asked) {
    let (parts, received) = request.into_parts();
    let mut told = format!("{} {}", parts.method, parts.uri);
    for (name, value) in &parts.headers {
        told.push_str(&format!("|{name}: {}", value.to_str().unwrap()));
    }
    let received = body(received).await;
    let response = Response::builder().header("x-told", told);
    if parts.uri.path() == "/large" {
        let response = response.header("content-length", received.len()).body(()).unwrap();
        return answer(&mut respond, response, received).await;
    }
    let mut send = respond.send_response(response.body(()).unwrap(), false).unwrap();
    send.send_data(received.len().to_string().into(), false).unwrap();
    send.send_trailers([("x-trailer".parse().unwrap(), "1".parse().unwrap())].into_iter().collect()).unwrap();
}

fn header<'a>(answer: &'a str, name: &str) -> &'a str {
    answer
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap_or_else(|| panic!("no {name} in {}", &answer[..answer.len().min(500)]))
}

const CLOSE: &str = "Connection: close\r\n";

#[test]
fn requests_and_answers_are_those_of_http1() {
    run(|budget| async move {
        let (address, pools, seen) = gateway(&budget, tell).await;
        let get = "GET /p<q>?a=%20b HTTP/1.1\r\nHost: h.test\r\nX-A: 1\r\nConnection: close, X-B\r\nX-B: 2\r\nTE: trailers\r\nCookie: a=1\r\n\r\n";
        let told = talk(address, &[get.as_bytes()]).await;
        assert_eq!(header(&told, "x-told: "), "GET http://h.test/p%3Cq%3E?a=%20b|x-a: 1|cookie: a=1");
        assert!(told.starts_with("HTTP/1.1 200 OK\r\n") && told.ends_with("\r\n\r\n1\r\n0\r\n0\r\n\r\n"), "{told}");
        assert!(!told.contains("x-trailer"), "{told}");
        let post = format!("POST / HTTP/1.1\r\nHost: h\r\n{CLOSE}Content-Length: 3\r\n\r\nabc");
        let told = talk(address, &[post.as_bytes()]).await;
        assert_eq!(header(&told, "x-told: "), "POST http://h/|content-length: 3");
        let chunked = format!(
            "POST / HTTP/1.1\r\nHost: h\r\n{CLOSE}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        );
        let told = talk(address, &[chunked.as_bytes()]).await;
        assert_eq!(
            (header(&told, "x-told: "), told.ends_with("\r\n1\r\n5\r\n0\r\n\r\n")),
            ("POST http://h/", true),
            "{told}"
        );
        let head = format!("HEAD / HTTP/1.1\r\nHost: h\r\n{CLOSE}\r\n");
        assert!(talk(address, &[head.as_bytes()]).await.ends_with("\r\n\r\n"));
        assert_eq!((seen.get(), pools.len()), (1, 0), "one connection serves them all");
        // As a check of a server's health is asked.
        let mut endpoint = crate::upstream::Endpoint::parse("http://127.0.0.1:1").unwrap();
        endpoint.set_protocol(Protocol::Http2);
        let out = Outgoing { endpoint: &endpoint, number: 0, host: None, deadline: None, answer_bytes_max: None };
        let mut head = RequestHead::default();
        (head.method, head.version) = (Method::Post, crate::message::Version::Http11);
        head.set_path(b"/large");
        let told = ask(&pools, &out, &head, Bytes::from_static(b"0123456789"), 4).await.unwrap();
        assert_eq!((told.status, &told.body[..]), (200, &b"0123"[..]), "by the same connection");
        assert_eq!(seen.get(), 1);
    });
}

#[test]
fn large_bodies_go_both_ways_within_the_windows() {
    run(|budget| async move {
        let (address, _, _) = gateway(&budget, tell).await;
        let bytes: String = (0..100_000).map(|number| format!("{number:010}")).collect();
        for head in [
            format!("POST /large HTTP/1.1\r\nHost: h\r\n{CLOSE}Content-Length: {}\r\n\r\n{bytes}", bytes.len()),
            format!(
                "POST /large HTTP/1.1\r\nHost: h\r\n{CLOSE}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{bytes}\r\n0\r\n\r\n",
                bytes.len()
            ),
        ] {
            let answer = talk(address, &[head.as_bytes()]).await;
            assert_eq!(header(&answer, "Content-Length: "), bytes.len().to_string());
            assert!(answer.ends_with(&bytes), "the body is another");
        }
    });
}

#[test]
fn many_calls_share_few_connections() {
    run(|budget| async move {
        let (count, all) = (Rc::new(Cell::new(0)), Rc::new(Notify::new()));
        let each = move |_, (_, mut respond): Asked| {
            let (count, all) = (Rc::clone(&count), Rc::clone(&all));
            async move {
                count.set(count.get() + 1);
                if count.get() < 250 {
                    all.notified().await;
                }
                all.notify_waiters();
                answer(&mut respond, Response::new(()), b"here".to_vec()).await;
            }
        };
        let (address, pools, seen) = gateway(&budget, each).await;
        let calls: Vec<_> = (0..250)
            .map(|_| {
                spawn_local(async move {
                    talk(address, &[format!("GET / HTTP/1.1\r\nHost: h\r\n{CLOSE}\r\n").as_bytes()]).await
                })
            })
            .collect();
        for call in calls {
            assert!(call.await.unwrap().starts_with("HTTP/1.1 200 "));
        }
        assert_eq!(seen.get(), 3, "a hundred calls each");
        let held = budget.used(Holder::Connections);
        pools.sweep(clock::now() + Duration::from_secs(91));
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert!(budget.used(Holder::Connections) + 3 * (10 << 10) <= held, "idle connections are closed");
    });
}

#[test]
fn what_a_server_has_not_begun_is_asked_again() {
    run(|budget| async move {
        let refusals = Rc::new(Cell::new(0));
        let refused = Rc::clone(&refusals);
        let each = move |number: usize, (request, mut respond): Asked| {
            let refused = Rc::clone(&refused);
            async move {
                match request.uri().path() {
                    "/refused" if refused.get() < 2 => {
                        refused.set(refused.get() + 1);
                        respond.send_reset(Reason::REFUSED_STREAM);
                    }
                    "/broken" => respond.send_reset(Reason::INTERNAL_ERROR),
                    _ => answer(&mut respond, Response::new(()), number.to_string().into_bytes()).await,
                }
            }
        };
        let (address, _, seen) = gateway(&budget, each).await;
        let post = |path: &str| format!("POST {path} HTTP/1.1\r\nHost: h\r\n{CLOSE}Content-Length: 0\r\n\r\n");
        let ask = async |path: &str| talk(address, &[post(path).as_bytes()]).await;
        assert!(ask("/refused").await.contains("\r\n\r\n1\r\n1\r\n"), "although it is a POST");
        assert_eq!(refusals.get(), 2);
        assert!(ask("/broken").await.starts_with("HTTP/1.1 503 "), "it may have been begun");
        // The server says that it takes no more, and answers what it has.
        assert!(ask("/goes").await.contains("\r\n\r\n1\r\n1\r\n"));
        assert!(ask("/").await.contains("\r\n\r\n1\r\n2\r\n"), "a new connection");
        assert_eq!(seen.get(), 2);
    });
}

#[test]
fn a_client_that_leaves_cancels_its_call_and_no_other() {
    run(|budget| async move {
        let (reset, told) = (Rc::new(Cell::new(None)), Rc::new(Notify::new()));
        let (cancelled, tell) = (Rc::clone(&reset), Rc::clone(&told));
        let each = move |_, (request, mut respond): Asked| {
            let (cancelled, tell) = (Rc::clone(&cancelled), Rc::clone(&tell));
            async move {
                if request.uri().path() == "/waits" {
                    tell.notify_one();
                    let reason = std::future::poll_fn(|cx| respond.poll_reset(cx)).await.unwrap();
                    cancelled.set(Some(reason));
                    return tell.notify_one();
                }
                answer(&mut respond, Response::new(()), b"still here".to_vec()).await;
            }
        };
        let (address, _, seen) = gateway(&budget, each).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET /waits HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        told.notified().await;
        client.set_zero_linger().unwrap();
        drop(client);
        told.notified().await;
        assert_eq!(reset.get(), Some(Reason::CANCEL));
        let get = format!("GET / HTTP/1.1\r\nHost: h\r\n{CLOSE}\r\n");
        assert!(talk(address, &[get.as_bytes()]).await.contains("still here"));
        assert_eq!(seen.get(), 1);
    });
}

#[test]
fn an_answer_that_is_not_what_it_says_is_cut() {
    run(|budget| async move {
        let each = |_, (request, mut respond): Asked| async move {
            let long = Response::builder().header("content-length", "10").body(()).unwrap();
            match request.uri().path() {
                "/short" => answer(&mut respond, long, b"1234".to_vec()).await,
                "/reset" => {
                    let mut send = respond.send_response(long, false).unwrap();
                    send.send_data(Bytes::from_static(b"1234"), false).unwrap();
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    send.send_reset(Reason::INTERNAL_ERROR);
                }
                _ => {
                    for _ in 0..40 {
                        let mut interim = Response::new(());
                        *interim.status_mut() = StatusCode::EARLY_HINTS;
                        if respond.send_informational(interim).is_err() {
                            return;
                        }
                        tokio::task::yield_now().await;
                    }
                    answer(&mut respond, Response::new(()), b"late".to_vec()).await;
                }
            }
        };
        let (address, _, _) = gateway(&budget, each).await;
        for path in ["/short", "/reset"] {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).await.unwrap();
            let mut seen = Vec::new();
            // The end is a reset, or comes before all is there.
            client.read_to_end(&mut seen).await.ok();
            let seen = String::from_utf8(seen).unwrap();
            assert!(!seen.contains("1234567890") && !seen.ends_with("\r\n0\r\n\r\n"), "{path}: {seen}");
        }
        let get = format!("GET /interim HTTP/1.1\r\nHost: h\r\n{CLOSE}\r\n");
        assert!(talk(address, &[get.as_bytes()]).await.starts_with("HTTP/1.1 503 "), "interim answers without end");
    });
}

/// Whatever a server sends, calls end and nothing panics.
#[test]
fn servers_that_speak_something_else_cost_their_connection() {
    run(|budget| async move {
        for noise in [
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            b"",
            &[0xff; 500],
            b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0",
            b"\0\0\0\x04\0\0\0\0\0\x7f\xff\xff\x01\x05\0\0\0\x01",
        ] {
            let (mut service, upstream) = Forward::new(&budget, 1).await;
            service.endpoint.set_protocol(Protocol::Http2);
            let (address, _) = start_service(service, Config::default(), &budget).await;
            spawn_local(async move {
                loop {
                    let (mut server, _) = upstream.accept().await.unwrap();
                    server.write_all(noise).await.ok();
                    server.shutdown().await.ok();
                    spawn_local(async move {
                        let mut rest = Vec::new();
                        server.read_to_end(&mut rest).await.ok();
                    });
                }
            });
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(format!("GET / HTTP/1.1\r\nHost: h\r\n{CLOSE}\r\n").as_bytes()).await.unwrap();
            let answer = read_all(&mut client).await;
            assert!(answer.starts_with("HTTP/1.1 503 "), "{noise:?}: {answer}");
        }
    });
}
