//! Who is let in, with what, and what the others are told.

use std::{
    future::Future,
    io::{Read, Write},
    time::Duration,
};

use rustls::{ClientConnection, StreamOwned};
use tidegate_testkit::pki::{PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256};

use super::*;
use crate::{
    h1::{Handler, Request, Simple, tests::run},
    message::Response,
    tls::PROVIDER,
};

/// Says what the handshake came to.
struct Told;

impl Service for Told {
    async fn handle(&self, mut exchange: crate::h1::Exchange) -> crate::h1::Exchange {
        let tls = exchange.tls().unwrap();
        let alpn = String::from_utf8_lossy(tls.alpn.unwrap_or(b"none"));
        let name = tls.server_name.unwrap_or("none");
        let certificates = tls.client_certificates.len();
        let text = format!("{} {name} {alpn} {certificates} {}", tls.version, tls.resumed);
        exchange.respond(Response::text(200, text)).await.ok();
        exchange
    }
}

struct Hello;

impl Handler for Hello {
    async fn handle(&self, _: Request<'_>) -> Response {
        Response::text(200, "hello")
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

fn told(answer: &str) -> &str {
    answer.rsplit_once("\r\n").unwrap().1
}

/// Runs a client of the blocking API beside the server.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || tell.send(work()).ok());
    told.await.unwrap()
}

#[test]
fn a_certificate_is_chosen_by_name_then_by_wildcard_and_else_the_first() {
    run(|budget| async move {
        let authority = Authority::new();
        let pairs = [
            authority.pair(&["first.test"]),
            authority.pair(&["*.b.test"]),
            authority.pair(&["x.b.test", "Upper.test"]),
        ];
        let handle = Handle::new(server(pairs.iter().map(identity).collect(), None));
        let (address, _) = start(Simple(Hello), handle, Config::default(), &budget).await;
        for (name, expected) in [
            ("first.test", 0),
            ("y.b.test", 1),
            ("x.b.test", 2),
            ("upper.test", 2),
            ("a.y.b.test", 0),
            ("b.test", 0),
            ("127.0.0.1", 0),
        ] {
            let client = Client::new(ClientSettings::default()).unwrap();
            let stream = connect(address, &client, name).await.unwrap();
            let shown = stream.session_certificates();
            assert_eq!(shown.first(), identity(&pairs[expected]).chain().first(), "{name}");
        }
    });
}

#[test]
fn every_kind_of_key_serves_old_and_new_clients() {
    for kind in [&PKCS_RSA_SHA256, &PKCS_ECDSA_P256_SHA256, &PKCS_ED25519] {
        run(|budget| async move {
            let authority = Authority::new();
            let handle = Handle::new(server(vec![identity(&authority.pair_of(kind, &["localhost"]))], None));
            let (address, _) = start(Told, handle, Config::default(), &budget).await;
            for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
                let roots = roots(&authority);
                let answer = beside(move || {
                    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&PROVIDER));
                    let config = config.with_protocol_versions(&[version]).unwrap();
                    let mut config = config.with_root_certificates(roots.0).with_no_client_auth();
                    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
                    let name = ServerName::try_from("localhost").unwrap();
                    let conn = ClientConnection::new(Arc::new(config), name).unwrap();
                    let mut stream = StreamOwned::new(conn, std::net::TcpStream::connect(address).unwrap());
                    stream.write_all(GET.as_bytes()).unwrap();
                    let mut answer = String::new();
                    // Fails where the end is not announced.
                    stream.read_to_string(&mut answer).unwrap();
                    answer
                });
                let expected = format!("{} localhost http/1.1 0 false", text_of(version));
                assert_eq!(told(&answer.await), expected);
            }
        });
    }
}

fn text_of(version: &rustls::SupportedProtocolVersion) -> &'static str {
    if *version == rustls::version::TLS12 { "TLSv1.2" } else { "TLSv1.3" }
}

#[test]
fn a_key_of_two_kinds_is_chosen_by_what_the_client_can_check() {
    run(|budget| async move {
        let authority = Authority::new();
        let both = [&PKCS_ED25519, &PKCS_RSA_SHA256].map(|kind| identity(&authority.pair_of(kind, &["localhost"])));
        let handle = Handle::new(server(both.to_vec(), None));
        let (address, _) = start(Simple(Hello), handle, Config::default(), &budget).await;
        let client = trusting(&authority);
        let stream = connect(address, &client, "localhost").await.unwrap();
        assert_eq!(stream.session_certificates().first(), both[0].chain().first());
    });
}

#[test]
fn clients_without_a_good_certificate_are_refused_where_one_is_required() {
    run(|budget| async move {
        let (authority, other) = (Authority::new(), Authority::new());
        let of_server = identity(&authority.pair(&["localhost"]));
        let handle = Handle::new(server(vec![of_server], Some(roots(&authority))));
        let (address, _) = start(Told, handle, Config::default(), &budget).await;
        let with = |identity: Option<Identity>| {
            Client::new(ClientSettings { roots: Some(roots(&authority)), identity, sessions: 1 }).unwrap()
        };
        let good = with(Some(identity(&authority.pair(&["client"]))));
        let mut stream = connect(address, &good, "localhost").await.unwrap();
        assert_eq!(told(&ask(&mut stream, GET).await), "TLSv1.3 localhost none 1 false");
        for bad in [None, Some(identity(&other.pair(&["client"])))] {
            // A client of TLS 1.3 hears of it when it reads.
            let mut stream = connect(address, &with(bad), "localhost").await.unwrap();
            stream.write_all(GET.as_bytes()).await.unwrap();
            let refused = stream.read(&mut [0; 10]).await.unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::InvalidData, "{refused}");
        }
    });
}

#[test]
fn servers_are_verified_unless_the_settings_say_otherwise() {
    run(|budget| async move {
        let (authority, other) = (Authority::new(), Authority::new());
        let (address, _) = start(Simple(Hello), Handle::new(local(&authority)), Config::default(), &budget).await;
        let refused = |error: TlsError| matches!(error, TlsError::Tls(rustls::Error::InvalidCertificate(_)));
        assert!(connect(address, &trusting(&authority), "localhost").await.is_ok());
        assert!(connect(address, &trusting(&authority), "127.0.0.1").await.is_ok());
        assert!(refused(connect(address, &trusting(&authority), "other.test").await.unwrap_err()));
        assert!(refused(connect(address, &trusting(&other), "localhost").await.unwrap_err()));
        let anybody = Client::new(ClientSettings::default()).unwrap();
        assert!(connect(address, &anybody, "other.test").await.is_ok());
    });
}

#[test]
fn sessions_are_resumed_until_the_certificates_change() {
    run(|budget| async move {
        let authority = Authority::new();
        let handle = Handle::new(local(&authority));
        let (address, _) = start(Told, Arc::clone(&handle), Config::default(), &budget).await;
        let client = trusting(&authority);
        let resumed = async || {
            let mut stream = connect(address, &client, "localhost").await.unwrap();
            told(&ask(&mut stream, GET).await).rsplit(' ').next().unwrap() == "true"
        };
        assert_eq!([resumed().await, resumed().await, resumed().await], [false, true, true]);
        handle.swap(local(&authority));
        assert_eq!([resumed().await, resumed().await], [false, true]);
    });
}

#[test]
fn http_on_the_port_of_https_is_told_so() {
    run(|budget| async move {
        let authority = Authority::new();
        let (address, _) = start(Simple(Hello), Handle::new(local(&authority)), Config::default(), &budget).await;
        for request in ["GET / HTTP/1.1\r\nHost: h\r\n\r\n", "POST /x HTTP/1.1\r\n\r\n", "DELETE / HTTP/1.1\r\n\r\n"] {
            let answer = crate::h1::tests::talk(address, &[request.as_bytes()]).await;
            let expected = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
            assert_eq!(answer, expected);
        }
    });
}

/// What is no handshake ends the connection, with an alert where it was a record at least.
#[test]
fn garbage_ends_a_handshake() {
    run(|budget| async move {
        let authority = Authority::new();
        let (address, _) = start(Simple(Hello), Handle::new(local(&authority)), Config::default(), &budget).await;
        // The last is a message that is too long, of which no alert tells.
        let long = [&[22, 3, 1, 0x40, 0][..], &[1; 0x4000]].concat();
        for (garbage, told) in [
            (&b"\0\0\0\0\0\0\0\0"[..], 7),
            (&[22, 3, 1, 0, 4, 1, 0, 0, 0], 7),
            (&[22, 3, 1, 255, 255], 7),
            (&[0x80; 100], 7),
            (&long, 0),
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(garbage).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer.len(), told, "an alert, of {:?}: {answer:?}", &garbage[..5]);
        }
        // Half of a handshake, and then nothing more.
        for part in [&b""[..], &[22], &[22, 3, 1, 0, 200, 1, 0]] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(part).await.unwrap();
            stream.shutdown().await.unwrap();
            assert_eq!(stream.read(&mut [0; 10]).await.unwrap(), 0);
        }
    });
}

/// Not a test of time: the clock of the runtime stands still and jumps to the next timer.
#[test]
fn a_handshake_that_does_not_end_is_cut_after_ten_seconds() {
    paused(|budget| async move {
        let authority = Authority::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        client.write_all(&[22, 3, 1, 0, 200, 1, 0]).await.unwrap();
        let since = tokio::time::Instant::now();
        let error = accept(stream, &local(&authority), &budget, Holder::Connections).await.unwrap_err();
        assert!(matches!(error, TlsError::Timeout), "{error}");
        assert!(since.elapsed() >= Duration::from_secs(9), "{:?}", since.elapsed());
        assert_eq!(client.read(&mut [0; 10]).await.unwrap_or(0), 0);
    });
}

fn paused<F: Future<Output = ()>>(test: impl FnOnce(Budget) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let budget = crate::h1::tests::budget();
    runtime.block_on(test(budget.clone()));
    assert_eq!(budget.used(Holder::Connections), 0);
}

#[test]
fn a_handshake_without_memory_for_it_is_not_begun() {
    run(|budget| async move {
        let authority = Authority::new();
        let all = budget.room(Holder::Connections) - 1000;
        let _taken = budget.try_lease(Holder::Connections, all).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let error = accept(stream, &local(&authority), &budget, Holder::Connections).await.unwrap_err();
        assert!(matches!(error, TlsError::NoMemory), "{error}");
    });
}

#[test]
fn certificates_are_found_behind_the_servers_own_and_challenges_beside_them() {
    run(|budget| async move {
        let (own, found, challenged) = (Authority::new(), Authority::new(), Authority::new());
        let lookup = |authority: &Authority| {
            let known = identity(&authority.pair(&["a.test", "b.test"]));
            Lookup::new(move |name| (name == "b.test").then(|| known.clone()))
        };
        let settings = ServerSettings {
            identities: vec![identity(&own.pair(&["a.test"]))],
            found: Some(lookup(&found)),
            challenges: Some(lookup(&challenged)),
            client_roots: None,
            alpn: vec![b"http/1.1".to_vec()],
        };
        let alone = Server::new(ServerSettings { identities: Vec::new(), ..settings.clone() }).unwrap();
        let server = Server::new(settings).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let check = async |server: &Server, name: &str, alpn: &[&[u8]], by: Option<&Authority>| {
            let client = trusting(by.unwrap_or(&found)).offering(alpn);
            let accepting = async {
                let (stream, _) = listener.accept().await.unwrap();
                if let Ok(stream) = accept(stream, server, &budget, Holder::Connections).await {
                    dismiss(stream).await;
                }
            };
            let connecting = async {
                let mut stream = connect(address, &client, name).await?;
                assert_eq!(stream.info().alpn, alpn.first().copied());
                // Whatever it is, it was dismissed.
                stream.flush().await?;
                assert_eq!(stream.read(&mut [0; 8]).await?, 0);
                Ok::<_, TlsError>(())
            };
            let ((), connected) = tokio::join!(accepting, connecting);
            assert_eq!(connected.is_ok(), by.is_some(), "{name} {alpn:?}: {connected:?}");
        };
        let (http, acme): (&[&[u8]], &[&[u8]]) = (&[b"http/1.1"], &[ACME_TLS]);
        check(&server, "a.test", http, Some(&own)).await;
        check(&server, "b.test", http, Some(&found)).await;
        check(&server, "c.test", http, None).await; // it gets that of a.test
        check(&alone, "b.test", http, Some(&found)).await;
        check(&alone, "a.test", http, None).await;
        check(&server, "b.test", acme, Some(&challenged)).await;
        check(&server, "a.test", acme, None).await;
        // A client that takes something else, too, looks for no challenge.
        check(&server, "b.test", &[b"http/1.1", ACME_TLS], Some(&found)).await;
    });
}

#[test]
fn certificates_and_keys_that_cannot_be_used_are_refused() {
    use super::super::{PemError, text};
    let authority = Authority::new();
    let (one, two) = (authority.pair(&["a.test"]), authority.pair(&["a.test"]));
    let read = |cert: &str, key: &str| Identity::from_pem(cert.as_bytes(), key.as_bytes()).map(drop);
    assert_eq!(read(&one.cert, &one.key), Ok(()));
    assert_eq!(read(&one.cert, &two.key), Err(PemError::Mismatch));
    assert!(matches!(read("", &one.key), Err(PemError::Certificate(_))));
    assert!(matches!(read(&one.key, &one.key), Err(PemError::Certificate(_))));
    assert!(matches!(read(&one.cert, &one.cert), Err(PemError::Key(_))));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(read(broken, &one.key), Err(PemError::Certificate(_))));
    assert!(matches!(Roots::from_pem(b"").map(drop), Err(PemError::Certificate(_))));
    assert!(Server::new(ServerSettings::default()).is_err());
    assert_eq!(text("LS0t\nLS1C RUdJ\r\nTg==").as_deref(), Ok(&b"-----BEGIN"[..]));
    assert_eq!(text(&one.cert).as_deref(), Ok(one.cert.as_bytes()));
    for wrong in ["", "no", "LS0", "!!!!"] {
        assert_eq!(text(wrong), Err(PemError::NoText), "{wrong}");
    }
}
