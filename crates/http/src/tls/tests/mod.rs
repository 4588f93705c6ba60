//! Handshakes and traffic over loopback sockets, against our own client and against the other API of `rustls`.

mod handshakes;
mod listener;
mod traffic;
mod upstream;

use std::{net::SocketAddr, rc::Rc, sync::Arc};

use bytes::BytesMut;
use rustls::pki_types::ServerName;
use tidegate_base::{Budget, Holder};
use tidegate_testkit::pki::{Authority, Pair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{
    ACME_TLS, Client, ClientSettings, Handle, Identity, Lookup, Roots, Server, ServerSettings, TlsError, TlsStream,
    accept, dismiss,
};
use crate::h1::{Config, Service, Shared, serve};

pub(crate) fn identity(pair: &Pair) -> Identity {
    Identity::from_pem(pair.cert.as_bytes(), pair.key.as_bytes()).unwrap()
}

pub(crate) fn roots(authority: &Authority) -> Roots {
    Roots::from_pem(authority.cert.as_bytes()).unwrap()
}

pub(crate) fn server(identities: Vec<Identity>, client_roots: Option<Roots>) -> Server {
    Server::new(ServerSettings {
        identities,
        client_roots,
        alpn: vec![b"http/1.1".to_vec()],
        ..ServerSettings::default()
    })
    .unwrap()
}

/// Of `authority`, for `localhost` and the address of it.
pub(crate) fn local(authority: &Authority) -> Server {
    server(vec![identity(&authority.pair(&["localhost", "127.0.0.1"]))], None)
}

/// Serves as a listener does; connections live until the test ends.
pub(crate) async fn start<S: Service>(
    service: S,
    handle: Arc<Handle>,
    config: Config,
    budget: &Budget,
) -> (SocketAddr, Rc<Shared>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shared = Shared::new(config, budget.clone());
    let (service, mine, budget) = (Rc::new(service), Rc::clone(&shared), budget.clone());
    tokio::task::spawn_local(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let (server, budget) = (handle.current(), budget.clone());
            let (service, shared) = (Rc::clone(&service), Rc::clone(&mine));
            tokio::task::spawn_local(async move {
                if let Ok(stream) = accept(stream, &server, &budget, Holder::Connections).await {
                    serve(stream, BytesMut::new(), Some(peer), service, shared).await;
                }
            });
        }
    });
    (address, shared)
}

/// Shakes hands as a client without a budget.
pub(crate) async fn connect(address: SocketAddr, client: &Client, name: &str) -> Result<Box<TlsStream>, TlsError> {
    let stream = TcpStream::connect(address).await.unwrap();
    let mut stream = TlsStream::client(stream, client, ServerName::try_from(name.to_owned()).unwrap(), None)?;
    std::future::poll_fn(|cx| stream.poll_handshake(cx)).await?;
    Ok(stream)
}

pub(crate) fn trusting(authority: &Authority) -> Client {
    Client::new(ClientSettings { roots: Some(roots(authority)), identity: None, sessions: 1 }).unwrap()
}

/// Asks, and reads to the end that the server announces.
pub(crate) async fn ask(stream: &mut TlsStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// A pair of ends whose handshake is done.
pub(crate) async fn ends(budget: &Budget) -> (Box<TlsStream>, Box<TlsStream>) {
    let authority = Authority::new();
    let (server, client) = (local(&authority), trusting(&authority));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepting = async {
        let (stream, _) = listener.accept().await.unwrap();
        accept(stream, &server, budget, Holder::Connections).await.unwrap()
    };
    // The last word of the client's handshake leaves with its first write.
    let connecting = async {
        let mut stream = connect(address, &client, "localhost").await.unwrap();
        stream.flush().await.unwrap();
        stream
    };
    tokio::join!(accepting, connecting)
}
