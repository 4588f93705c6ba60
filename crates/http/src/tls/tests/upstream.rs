//! Servers of https, asked for a client, on the side, and by a tool.

use std::cell::Cell;

use super::*;
use crate::{
    h1::{
        Exchange,
        tests::{run, start_service, talk},
    },
    message::{Body, RequestHead, Response},
    upstream::{self, ClientError, Endpoint, Outgoing, PoolLimits, Pools, SendError, send},
};

/// Says the body's length and whether the session was resumed, under the path `/cut` half of what it should.
struct Upstream(Rc<Cell<usize>>);

impl Service for Upstream {
    async fn handle(&self, mut exchange: Exchange) -> Exchange {
        self.0.set(self.0.get() + 1);
        let certificates = exchange.tls().unwrap().client_certificates.len();
        if exchange.head().path() == b"/cut" {
            let pieces = [Ok(bytes::Bytes::from_static(b"half")), Err(crate::message::BodyError::Lost)];
            exchange.head_mut().version = crate::message::Version::Http10;
            let body = Body::chunks(futures_util::stream::iter(pieces));
            exchange.respond(Response::new(200).with_body(body)).await.ok();
            return exchange;
        }
        let length = exchange.body().await.unwrap().len();
        let text = format!("{length} {certificates}");
        exchange.respond(Response::text(200, text)).await.ok();
        exchange
    }
}

struct Forward {
    endpoint: Endpoint,
    pools: Rc<Pools>,
}

impl Service for Forward {
    async fn handle(&self, mut exchange: Exchange) -> Exchange {
        let out = Outgoing { endpoint: &self.endpoint, number: 0, host: None, deadline: None, answer_bytes_max: None };
        let answer = match send(&self.pools, &out, &mut exchange).await {
            Ok(answer) => answer,
            Err(SendError::Tls) => Response::text(502, "no TLS"),
            Err(error) => Response::text(503, error.to_string()),
        };
        exchange.respond(answer).await.ok();
        exchange
    }
}

fn pools(budget: &Budget, tls: Option<Client>) -> Rc<Pools> {
    Pools::new(1, PoolLimits::default(), budget.clone(), Holder::Connections, tls)
}

fn settings(roots: Option<Roots>, identity: Option<Identity>) -> Option<Client> {
    Some(Client::new(ClientSettings { roots, identity, sessions: 1 }).unwrap())
}

async fn upstream(server: Server, budget: &Budget) -> (String, Rc<Cell<usize>>) {
    let asked = Rc::new(Cell::new(0));
    let config = Config { body_bytes_max: 64 << 20, ..Config::default() };
    let (address, _) = start(Upstream(Rc::clone(&asked)), Handle::new(server), config, budget).await;
    (format!("https://localhost:{}", address.port()), asked)
}

async fn gateway(url: &str, tls: Option<Client>, budget: &Budget) -> (SocketAddr, Rc<Pools>) {
    let pools = pools(budget, tls);
    let endpoint = Endpoint::parse(url).unwrap();
    endpoint.resolve().unwrap();
    let config = Config { body_bytes_max: 64 << 20, ..Config::default() };
    let (address, _) = start_service(Forward { endpoint, pools: Rc::clone(&pools) }, config, budget).await;
    (address, pools)
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

#[test]
fn connections_to_servers_are_verified_and_kept() {
    run(|budget| async move {
        let (authority, other) = (Authority::new(), Authority::new());
        let (url, asked) = upstream(local(&authority), &budget).await;
        let (address, pools) = gateway(&url, settings(Some(roots(&authority)), None), &budget).await;
        for _ in 0..3 {
            let answer = talk(address, &[GET]).await;
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n0 0"), "{answer}");
            assert_eq!(pools.len(), 1, "one connection serves them all");
        }
        assert_eq!(asked.get(), 3);
        for (tls, status) in
            [(settings(Some(roots(&other)), None), "502"), (settings(None, None), "200"), (None, "502")]
        {
            let (address, _) = gateway(&url, tls, &budget).await;
            let answer = talk(address, &[GET]).await;
            assert_eq!(answer.get(9..12), Some(status), "{answer}");
        }
    });
}

#[test]
fn servers_that_want_a_certificate_get_it() {
    run(|budget| async move {
        let authority = Authority::new();
        let of_server = identity(&authority.pair(&["localhost"]));
        let (url, _) = upstream(server(vec![of_server], Some(roots(&authority))), &budget).await;
        let identity = identity(&authority.pair(&["gateway"]));
        let (address, _) = gateway(&url, settings(Some(roots(&authority)), Some(identity.clone())), &budget).await;
        assert!(talk(address, &[GET]).await.ends_with("\r\n\r\n0 1"));
        let (address, _) = gateway(&url, settings(Some(roots(&authority)), None), &budget).await;
        let answer = talk(address, &[GET]).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    });
}

#[test]
fn large_bodies_are_streamed_to_servers() {
    run(|budget| async move {
        let authority = Authority::new();
        let (url, _) = upstream(local(&authority), &budget).await;
        let (address, _) = gateway(&url, settings(Some(roots(&authority)), None), &budget).await;
        let head = b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 5000000\r\n\r\n";
        let answer = talk(address, &[head, &vec![b'x'; 5_000_000]]).await;
        assert!(answer.ends_with("\r\n\r\n5000000 0"), "{answer}");
    });
}

/// The body ends with the connection, and nobody has announced that end: it was cut.
#[test]
fn a_body_that_is_cut_off_is_not_taken_for_whole() {
    run(|budget| async move {
        let authority = Authority::new();
        let config = Arc::clone(&local(&authority).0);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let serving = std::thread::spawn(move || {
            use std::io::{Read, Write};
            for polite in [true, false] {
                let (stream, _) = listener.accept().unwrap();
                let conn = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = rustls::StreamOwned::new(conn, stream);
                assert!(stream.read(&mut [0; 1000]).unwrap() > 0);
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf").unwrap();
                if polite {
                    stream.conn.send_close_notify();
                }
                stream.flush().unwrap();
            }
        });
        let (address, _) = gateway(&url, settings(Some(roots(&authority)), None), &budget).await;
        let whole = talk(address, &[GET]).await;
        assert!(whole.ends_with("4\r\nhalf\r\n0\r\n\r\n"), "{whole}");
        let cut = talk(address, &[GET]).await;
        assert!(cut.ends_with("half\r\n"), "{cut}");
        serving.join().unwrap();
    });
}

#[test]
fn calls_on_the_side_and_tools_ask_over_tls() {
    run(|budget| async move {
        let authority = Authority::new();
        let (url, _) = upstream(local(&authority), &budget).await;
        let endpoint = Endpoint::parse(&url).unwrap();
        endpoint.resolve().unwrap();
        let pools = pools(&budget, settings(Some(roots(&authority)), None));
        let out = Outgoing { endpoint: &endpoint, number: 0, host: None, deadline: None, answer_bytes_max: None };
        let mut head = RequestHead::default();
        head.set_path(b"/");
        for _ in 0..2 {
            let answer = upstream::ask(&pools, &out, &head, "body".into(), 100).await.unwrap();
            assert_eq!((answer.status, &answer.body[..], pools.len()), (200, &b"4 0"[..], 1));
        }
        let good = upstream::Client { tls: settings(Some(roots(&authority)), None), ..upstream::Client::default() };
        assert_eq!(&good.get(&url, "/").await.unwrap().body[..], b"0 0");
        assert!(matches!(good.get(&url, "/cut").await, Err(ClientError::Io { .. })));
        let none = upstream::Client::default().get(&url, "/").await;
        assert!(matches!(none, Err(ClientError::NoTls)), "{none:?}");
        let other = settings(Some(roots(&Authority::new())), None);
        let refused = upstream::Client { tls: other, ..upstream::Client::default() }.get(&url, "/").await;
        assert!(matches!(refused, Err(ClientError::Tls(_))), "{refused:?}");
    });
}
