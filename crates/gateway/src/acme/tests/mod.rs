//! Certificates from an authority on this machine, over sockets.

mod authority;
mod book;
mod faults;
mod flow;
mod proof;

use std::{net::SocketAddr, sync::Arc, thread};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use tidegate_base::clock;
use tidegate_testkit::MapStore;

use self::authority::AcmeServer;
use crate::{
    data::tests::{Gateway, WAIT, connect, status, talk},
    objects::Plane,
};

const CERT: &str = "autocert/cert/a.test";

/// Waits for what happens on other threads.
fn until(what: &str, good: impl Fn() -> bool) {
    let deadline = clock::now() + WAIT;
    while !good() {
        assert!(clock::now() < deadline, "{what}");
        thread::yield_now();
    }
}

/// A manager of these names with `acme`, and `more`.
fn manager(acme: &AcmeServer, domains: &[&str], more: Value) -> Value {
    let domains: Vec<Value> = domains.iter().map(|name| json!({ "name": name })).collect();
    let mut spec = json!({"directoryURL": acme.directory(), "email": "a@b.test", "domains": domains});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

/// A server whose only way ends in 201.
fn server(more: Value) -> Value {
    let mut spec = json!({
        "port": 0, "address": "127.0.0.1",
        "rules": [{"paths": [{"backend": "p"}]}],
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

/// A gateway with an HTTPServer `s` in front of a Mock.
fn gateway(store: &MapStore, leads: bool, more: Value) -> Gateway {
    let mut gateway = Gateway::with_certificates(store, move || leads);
    gateway.set(
        "p",
        "Pipeline",
        json!({"filters": [{"name": "m", "kind": "Mock", "rules": [{"match": {}, "code": 201}]}]}),
    );
    gateway.set("s", "HTTPServer", server(more));
    gateway.apply_all();
    gateway
}

/// What a status tells of the first name: until when it is good, and why there was no certificate.
fn told(gateway: &Gateway) -> (String, Option<String>) {
    let numbers = gateway.plane.numbers("m");
    let first = &numbers["domains"][0];
    assert_eq!(first["name"], "a.test");
    (first["expireTime"].as_str().unwrap().to_owned(), first["error"].as_str().map(str::to_owned))
}

type TlsClient = StreamOwned<ClientConnection, std::net::TcpStream>;

/// A client that believes the authority with this certificate, and asks for `name`.
fn client(address: SocketAddr, root: &str, name: &str) -> TlsClient {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(name.to_owned()).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), connect(address))
}

/// Status of a GET on a connection that is kept.
fn ask(client: &mut TlsClient) -> std::io::Result<u16> {
    use std::io::{Read, Write};
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")?;
    let (mut answer, mut piece) = (String::new(), [0; 1024]);
    while !answer.contains("\r\n\r\n") {
        match client.read(&mut piece)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => answer.push_str(std::str::from_utf8(&piece[..read]).unwrap()),
        }
    }
    Ok(status(&answer))
}

/// The answer to a challenge's path.
fn challenge(gateway: &Gateway, host: &str, token: &str) -> String {
    let path = format!("{}{token}", super::CHALLENGE_PATH);
    talk(gateway.address(), &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
}
