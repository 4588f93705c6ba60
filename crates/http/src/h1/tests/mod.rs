//! The server over loopback sockets.

mod bodies;
mod heads;
mod keep_alive;
mod websocket;

use std::{future::Future, net::SocketAddr, rc::Rc, time::Duration};

use bytes::{Bytes, BytesMut};
use tidegate_base::{Budget, ByteSize, Holder, Limits, Profile};
use tidegate_uring::{RING_BYTES, install};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::LocalSet,
};

use super::{Config, Handler, Request, Service, Shared, Simple, serve};
use crate::message::{Body, Method, Response};

pub(crate) fn budget() -> Budget {
    Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap())
}

/// Runs on one thread with local tasks, and checks at the end that every lease came back. The thread has a ring where the kernel
/// allows it, unless TIDEGATE_TEST_EPOLL is set.
pub(crate) fn run<F: Future<Output = ()>>(test: impl FnOnce(Budget) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let budget = budget();
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let lease = budget.try_lease(Holder::Gateway, RING_BYTES).unwrap();
        let ring = std::env::var_os("TIDEGATE_TEST_EPOLL").is_none().then(|| install(lease));
        let work = test(budget.clone());
        tokio::time::timeout(Duration::from_secs(30), work).await.expect("the test does not hang");
        drop(ring);
    });
    let _context = runtime.enter();
    drop(local);
    assert_eq!(budget.used(Holder::Connections), 0, "every lease came back");
    assert_eq!(budget.pool_used(), 0);
}

/// Says what it was asked, and the body.
pub(crate) struct Echo;

impl Handler for Echo {
    async fn handle(&self, mut request: Request<'_>) -> Response {
        let path = request.path().into_owned();
        match path.as_str() {
            "/none" => return Response::new(204),
            "/not-modified" => return Response::new(304).with_header("ETag", "x"),
            "/unread" => return Response::text(200, "unread"),
            "/chunks" => {
                let pieces = ["one", "", "two"].map(|piece| Ok(Bytes::from_static(piece.as_bytes())));
                return Response::new(200).with_body(Body::chunks(futures_util::stream::iter(pieces)));
            }
            "/cut" => {
                let pieces = [Ok(Bytes::from_static(b"some")), Err(crate::message::BodyError::Lost)];
                return Response::new(200).with_body(Body::chunks(futures_util::stream::iter(pieces)));
            }
            "/panic" => panic!("a handler's bug"),
            _ => {}
        }
        let method = request.head().method_text().to_vec();
        match request.body(10_000).await {
            Ok(body) => {
                let text = [&method[..], b" ", path.as_bytes(), b" [", &body[..], b"]"].concat();
                Response::text(if request.method() == Method::Delete { 202 } else { 200 }, text)
            }
            Err(error) => Response::text(error.status(), error.to_string()),
        }
    }
}

/// Starts a server; its connections live until the test ends.
pub(crate) async fn start<H: Handler>(handler: H, config: Config, budget: &Budget) -> (SocketAddr, Rc<Shared>) {
    start_service(Simple(handler), config, budget).await
}

/// As [`start`], of any service.
pub(crate) async fn start_service<S: Service>(service: S, config: Config, budget: &Budget) -> (SocketAddr, Rc<Shared>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shared = Shared::new(config, budget.clone());
    let (service, mine) = (Rc::new(service), Rc::clone(&shared));
    tokio::task::spawn_local(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let connection = serve(stream, BytesMut::new(), Some(peer), Rc::clone(&service), Rc::clone(&mine));
            tokio::task::spawn_local(connection);
        }
    });
    (address, shared)
}

/// Sends each part, with a turn for the server between, and reads until the server closes.
pub(crate) async fn talk(address: SocketAddr, parts: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for part in parts {
        // A server that has refused already closes: what it said is what counts.
        if stream.write_all(part).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    read_all(&mut stream).await
}

pub(crate) async fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads until the text so far ends with `end`.
pub(crate) async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(end.as_bytes()) {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
    }
    String::from_utf8(answer).unwrap()
}

/// An answer without its date.
pub(crate) fn undated(answer: &str) -> String {
    let lines: Vec<&str> = answer.split_inclusive("\r\n").filter(|line| !line.starts_with("Date: ")).collect();
    lines.concat()
}
