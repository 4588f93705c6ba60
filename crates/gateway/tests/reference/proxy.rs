//! The reference: a reverse proxy over hyper that does what the same spec asks of the gateway, written from the facts about
//! Easegress and from RFC 9110 and 9112 alone.

use std::{
    cell::RefCell,
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    thread,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, LengthLimitError, Limited, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Uri, Version,
    body::{Body, Incoming},
    client::conn::http1::SendRequest,
    header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::routes;

type Outgoing = UnsyncBoxBody<Bytes, hyper::Error>;

struct Proxy {
    backend: SocketAddr,
    idle: RefCell<Vec<SendRequest<Outgoing>>>,
}

/// Runs one, on a thread of its own, until the process ends.
pub(crate) fn start(backend: SocketAddr) -> SocketAddr {
    let (told, address) = std::sync::mpsc::sync_channel(1);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            told.send(listener.local_addr().unwrap()).unwrap();
            let proxy = Rc::new(Proxy { backend, idle: RefCell::default() });
            loop {
                let (stream, peer) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let proxy = Rc::clone(&proxy);
                let service = service_fn(move |request| {
                    let proxy = Rc::clone(&proxy);
                    async move { Ok::<_, Infallible>(proxy.answer(request, peer.ip()).await) }
                });
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                // How it ends is what the client sees.
                tokio::task::spawn_local(async move { drop(connection.await) });
            }
        });
    });
    address.recv().unwrap()
}

fn plain(status: StatusCode) -> Response<Outgoing> {
    let mut response = Response::new(nothing());
    *response.status_mut() = status;
    response
}

fn nothing() -> Outgoing {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

impl Proxy {
    async fn answer(&self, request: Request<Incoming>, peer: IpAddr) -> Response<Outgoing> {
        let (mut head, body) = request.into_parts();
        // Of an absolute target the host counts, else `Host` does (RFC 9112, 3.2.2).
        let host = match head.uri.authority() {
            Some(authority) => authority.as_str().to_owned(),
            None => head.headers.get(HOST).map(|host| text(host.as_bytes())).unwrap_or_default(),
        };
        let limit = match routes::find(&host, head.uri.path(), head.method.as_str()) {
            Ok(limit) => limit,
            Err(status) => return plain(StatusCode::from_u16(status).unwrap()),
        };
        forwarded_for(&mut head.headers, peer);
        strip(&mut head.headers);
        head.headers.remove(EXPECT);
        let limit = usize::try_from(limit.unwrap_or(u64::MAX)).unwrap();
        if body.size_hint().lower() > limit as u64 {
            return plain(StatusCode::PAYLOAD_TOO_LARGE);
        }
        // Whole, before any of it goes on: hyper keeps a body that nobody wants any more waiting for ever.
        let body = match Limited::new(body, limit).collect().await {
            Ok(body) => Full::new(body.to_bytes()).map_err(|never| match never {}).boxed_unsync(),
            Err(error) if error.is::<LengthLimitError>() => return plain(StatusCode::PAYLOAD_TOO_LARGE),
            Err(_) => return plain(StatusCode::BAD_REQUEST),
        };
        head.headers.remove(CONTENT_LENGTH);
        let host = if host.is_empty() { self.backend.to_string() } else { host };
        head.headers.insert(HOST, HeaderValue::from_bytes(&bytes(&host)).unwrap());
        let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        head.uri = format!("{}{query}", head.uri.path()).parse::<Uri>().unwrap();
        head.version = Version::HTTP_11;
        let is_connect = head.method == Method::CONNECT;
        let sent = if is_connect { None } else { self.send(Request::from_parts(head, body)).await };
        let Some(response) = sent else { return plain(StatusCode::SERVICE_UNAVAILABLE) };
        let (mut head, body) = response.into_parts();
        strip(&mut head.headers);
        head.version = Version::HTTP_11;
        Response::from_parts(head, body.boxed_unsync())
    }

    /// `None` where no answer came.
    async fn send(&self, request: Request<Outgoing>) -> Option<Response<Incoming>> {
        loop {
            let kept = self.idle.borrow_mut().pop();
            let Some(mut sender) = kept else { break };
            // One that the backend has closed meanwhile tells so here.
            if sender.ready().await.is_ok() {
                return self.send_on(sender, request).await;
            }
        }
        let stream = TcpStream::connect(self.backend).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::task::spawn_local(async move { drop(connection.await) });
        self.send_on(sender, request).await
    }

    async fn send_on(
        &self,
        mut sender: SendRequest<Outgoing>,
        request: Request<Outgoing>,
    ) -> Option<Response<Incoming>> {
        let response = sender.send_request(request).await.ok()?;
        self.idle.borrow_mut().push(sender);
        Some(response)
    }
}

/// Removes what speaks about one connection.
fn strip(headers: &mut HeaderMap) {
    let named = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| text(value.as_bytes()).split(',').map(own).collect::<Vec<_>>());
    let named: Vec<HeaderName> = named.filter_map(|name| name.trim().parse().ok()).collect();
    for name in named {
        if name != HOST && name != CONTENT_LENGTH {
            headers.remove(name);
        }
    }
    for name in [
        "connection",
        "proxy-connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ] {
        headers.remove(name);
    }
}

fn own(text: &str) -> String {
    text.to_owned()
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|letter| u8::try_from(letter).unwrap()).collect()
}

/// Adds the client: the first public address of the list, else `X-Real-Ip`, and the peer where there is neither.
fn forwarded_for(headers: &mut HeaderMap, peer: IpAddr) {
    let first = |name: &str| headers.get(name).map(|value| text(value.as_bytes())).filter(|text| !text.is_empty());
    let (list, real) = (first("x-forwarded-for"), first("x-real-ip"));
    let parse = |text: &str| text.trim().parse::<IpAddr>().ok();
    let client = if list.is_none() && real.is_none() {
        Some(peer)
    } else {
        let mut members = list.iter().flat_map(|list| list.split(',')).filter_map(parse);
        members.find(|address| public(*address)).or_else(|| real.as_deref().and_then(parse))
    };
    let Some(client) = client.map(|client| client.to_string()) else { return };
    let list = match list {
        Some(list) if list.split(',').any(|member| member.trim() == client) => return,
        Some(list) => format!("{list},{client}"),
        None => client,
    };
    headers.insert("x-forwarded-for", list.parse().unwrap());
}

fn public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.is_private() || v4.is_loopback() || v4.is_link_local()),
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local()),
    }
}
