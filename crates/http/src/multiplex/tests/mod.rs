//! The server of HTTP/2 over loopback sockets, with the client of `h2` or with frames written by hand.

mod floods;
mod raw;
mod relay;
mod requests;
mod windows;

use std::{net::SocketAddr, rc::Rc};

use bytes::{Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Request};
use tidegate_base::Budget;
use tokio::net::{TcpListener, TcpStream};

use super::serve_h2;
use crate::h1::{Config, Service, Shared};

/// Starts a server; its connections live until the test ends.
async fn start<S: Service>(service: S, config: Config, budget: &Budget) -> (SocketAddr, Rc<Shared>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shared = Shared::new(config, budget.clone());
    let (service, mine) = (Rc::new(service), Rc::clone(&shared));
    tokio::task::spawn_local(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let connection = serve_h2(stream, BytesMut::new(), Some(peer), Rc::clone(&service), Rc::clone(&mine), None);
            tokio::task::spawn_local(connection);
        }
    });
    (address, shared)
}

async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::task::spawn_local(async move {
        connection.await.ok();
    });
    client.ready().await.unwrap()
}

/// An answer, read to its end or to the reset that cut it.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
    cut: Option<h2::Reason>,
}

impl Answer {
    fn text(&self) -> (u16, &str) {
        (self.status, std::str::from_utf8(&self.body).unwrap())
    }
}

async fn read(answer: ResponseFuture) -> Result<Answer, h2::Error> {
    let (parts, mut stream) = answer.await?.into_parts();
    let (mut body, mut cut) = (Vec::new(), None);
    while let Some(piece) = stream.data().await {
        match piece {
            Ok(piece) => {
                stream.flow_control().release_capacity(piece.len()).unwrap();
                body.extend_from_slice(&piece);
            }
            Err(error) => {
                cut = error.reason();
                break;
            }
        }
    }
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body, cut })
}

fn request(method: &str, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("http://h.test{path}")).body(()).unwrap()
}

/// Sends a request with a body, or without one, and reads the answer.
async fn ask(client: &mut SendRequest<Bytes>, request: Request<()>, body: Option<Bytes>) -> Result<Answer, h2::Error> {
    let (answer, mut stream) = client.send_request(request, body.is_none())?;
    if let Some(body) = body {
        stream.send_data(body, true)?;
    }
    read(answer).await
}
