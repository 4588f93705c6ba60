//! Listeners of https, and servers of it behind a Proxy.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use tidegate_testkit::pki::{Authority, Pair, base64};

use super::{
    Gateway, body, connect, status,
    upstream::{Then, upstream},
};
use crate::objects::Plane;

type Client = StreamOwned<ClientConnection, TcpStream>;

fn config(authority: &Authority, own: Option<&Pair>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.cert.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let chain = vec![CertificateDer::from_pem_slice(own.cert.as_bytes()).unwrap()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap()).unwrap()
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

fn client(address: SocketAddr, config: &Arc<ClientConfig>) -> Client {
    let conn = ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost").unwrap()).unwrap();
    StreamOwned::new(conn, connect(address))
}

/// Sends a GET and reads an answer of known length.
fn ask(client: &mut Client, path: &str) -> std::io::Result<String> {
    client.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes())?;
    let (mut answer, mut piece) = (String::new(), [0; 4096]);
    loop {
        if let Some((head, body)) = answer.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            if body.len() == length.map_or(0, |length| length.parse().unwrap()) {
                return Ok(answer);
            }
        }
        match client.read(&mut piece)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => answer.push_str(std::str::from_utf8(&piece[..read]).unwrap()),
        }
    }
}

/// A server of https whose pipeline says what it was sent.
fn gateway(tls: Value) -> Gateway {
    let server = upstream(|received| {
        let text = received.headers.join("|");
        (format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()), Then::Keep)
    });
    let mut gateway = Gateway::with_proxy(server, json!({}));
    set(&mut gateway, tls);
    gateway.apply_all();
    gateway
}

fn set(gateway: &mut Gateway, tls: Value) {
    let mut spec = json!({
        "port": 0, "address": "127.0.0.1", "https": true,
        "rules": [{"paths": [{"backend": "p", "setHeaders": {"X-Scheme": "$scheme"}}]}],
    });
    spec.as_object_mut().unwrap().extend(tls.as_object().unwrap().clone());
    gateway.set("s", "HTTPServer", spec);
}

fn pair(pair: &Pair) -> Value {
    json!({"certBase64": base64(&pair.cert), "keyBase64": base64(&pair.key)})
}

#[test]
fn requests_come_over_tls_and_plain_ones_are_told_so() {
    let authority = Authority::new();
    let gateway = gateway(pair(&authority.pair(&["localhost"])));
    let mut client = client(gateway.address(), &config(&authority, None));
    for _ in 0..3 {
        let answer = ask(&mut client, "/").unwrap();
        assert!(status(&answer) == 200 && body(&answer).contains("x-scheme: https"), "{answer}");
    }
    assert_eq!(client.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    let plain = gateway.ask("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((status(&plain), body(&plain)), (400, "Client sent an HTTP request to an HTTPS server.\n"));
}

#[test]
fn http2_is_spoken_where_the_handshake_agrees_on_it() {
    let authority = Authority::new();
    let gateway = gateway(pair(&authority.pair(&["localhost"])));
    let mut config = ClientConfig::clone(&config(&authority, None));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut client = client(gateway.address(), &Arc::new(config));
    // The preface, empty settings, and a GET of / with `localhost` as its authority (RFC 9113, 3.4 and 6; RFC 7541).
    let block = [&[0x82, 0x87, 0x84, 0x41, 9][..], b"localhost"].concat();
    let head = [0, 0, u8::try_from(block.len()).unwrap(), 1, 0x5, 0, 0, 0, 1];
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    client.write_all(&[&preface[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0], &head, &block].concat()).unwrap();
    let mut body = Vec::new();
    let mut status = None;
    loop {
        let mut head = [0; 9];
        client.read_exact(&mut head).unwrap();
        let [a, b, c, kind, flags, ..] = head;
        let mut payload = vec![0; usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)];
        client.read_exact(&mut payload).unwrap();
        match kind {
            1 => status = payload.first().copied(),
            0 => body.extend_from_slice(&payload),
            _ => continue,
        }
        if flags & 1 == 1 {
            break;
        }
    }
    assert_eq!(client.conn.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(status, Some(0x88), "200, by its index");
    let body = String::from_utf8(body).unwrap();
    assert!(body.contains("x-scheme: https") && body.contains("host: localhost"), "{body}");
}

#[test]
fn certificates_are_matched_to_keys_by_name_and_chosen_by_host() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (first, named) = (other.pair(&["first.test"]), authority.pair(&["localhost"]));
    let mut tls = pair(&first);
    tls["certs"] = json!({"a": named.cert});
    tls["keys"] = json!({"a": base64(&named.key)});
    let gateway = gateway(tls);
    assert_eq!(status(&ask(&mut client(gateway.address(), &config(&authority, None)), "/").unwrap()), 200);
}

#[test]
fn clients_must_have_a_certificate_where_an_authority_is_given() {
    let authority = Authority::new();
    let mut tls = pair(&authority.pair(&["localhost"]));
    tls["caCertBase64"] = base64(&authority.cert).into();
    let gateway = gateway(tls);
    let own = authority.pair(&["me"]);
    assert_eq!(status(&ask(&mut client(gateway.address(), &config(&authority, Some(&own))), "/").unwrap()), 200);
    let wrong = Authority::new().pair(&["me"]);
    for refused in [config(&authority, None), config(&authority, Some(&wrong))] {
        assert!(ask(&mut client(gateway.address(), &refused), "/").is_err());
    }
}

/// Certificates change again and again while clients ask, some on one connection and some on a new one each time.
#[test]
fn certificates_change_under_traffic() {
    let authority = Authority::new();
    let pairs: Vec<Pair> = (0..4).map(|_| authority.pair(&["localhost"])).collect();
    let mut gateway = gateway(pair(&pairs[0]));
    let (address, config) = (gateway.address(), config(&authority, None));
    let done = Arc::new(AtomicBool::new(false));
    let asking: Vec<_> = [true, true, false, false]
        .into_iter()
        .map(|stays| {
            let (config, done) = (Arc::clone(&config), Arc::clone(&done));
            thread::spawn(move || {
                let (mut asked, mut one) = (0, client(address, &config));
                while !done.load(Ordering::Relaxed) || asked == 0 {
                    if !stays {
                        one = client(address, &config);
                    }
                    assert_eq!(status(&ask(&mut one, "/").unwrap()), 200);
                    asked += 1;
                }
                asked
            })
        })
        .collect();
    for round in 1..40 {
        set(&mut gateway, pair(&pairs[round % pairs.len()]));
        gateway.apply_all();
        assert_eq!(gateway.address(), address, "the listener stays");
        let mut fresh = client(address, &config);
        ask(&mut fresh, "/").unwrap();
        let shown = fresh.conn.peer_certificates().unwrap().first().cloned().unwrap();
        let expected = CertificateDer::from_pem_slice(pairs[round % pairs.len()].cert.as_bytes()).unwrap();
        assert!(shown == expected, "new connections get the new certificate");
    }
    done.store(true, Ordering::Relaxed);
    let asked: Vec<u64> = asking.into_iter().map(|thread| thread.join().expect("no request failed")).collect();
    let connections = gateway.plane.counters()["s"].connections;
    // What connects and asks nothing does not count.
    assert_eq!(connections, 2 + asked[2] + asked[3] + 39, "none was closed early");
}

#[test]
fn an_edit_of_something_else_keeps_sessions() {
    let authority = Authority::new();
    let tls = pair(&authority.pair(&["localhost"]));
    let mut gateway = gateway(tls.clone());
    let config = config(&authority, None);
    let kind = |gateway: &Gateway| {
        let mut client = client(gateway.address(), &config);
        ask(&mut client, "/").unwrap();
        client.conn.handshake_kind().unwrap()
    };
    assert_eq!(kind(&gateway), HandshakeKind::Full);
    let mut edited = tls.clone();
    edited["maxConnections"] = 7.into();
    set(&mut gateway, edited);
    gateway.apply_all();
    assert_eq!(kind(&gateway), HandshakeKind::Resumed);
    set(&mut gateway, pair(&authority.pair(&["localhost"])));
    gateway.apply_all();
    assert_eq!(kind(&gateway), HandshakeKind::Full);
}

#[test]
fn a_server_changes_to_https_and_back() {
    let authority = Authority::new();
    let mut gateway = gateway(pair(&authority.pair(&["localhost"])));
    let config = config(&authority, None);
    let mut old = client(gateway.address(), &config);
    assert_eq!(status(&ask(&mut old, "/").unwrap()), 200);
    set(&mut gateway, json!({"https": false}));
    gateway.apply_all();
    let plain = gateway.ask("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert!(status(&plain) == 200 && body(&plain).ends_with("x-scheme: http"), "{plain}");
    assert_eq!(old.read(&mut [0; 10]).unwrap(), 0, "an idle connection of the other kind ends, and says so");
    set(&mut gateway, pair(&authority.pair(&["localhost"])));
    gateway.apply_all();
    assert_eq!(status(&ask(&mut client(gateway.address(), &config), "/").unwrap()), 200);
}

#[test]
fn every_problem_of_certificates_is_named() {
    let authority = Authority::new();
    let (one, two) = (authority.pair(&["a.test"]), authority.pair(&["b.test"]));
    let gateway = Gateway::new();
    let check = |tls: Value, expected: &[&str]| {
        let mut spec = json!({"name": "s", "kind": "HTTPServer", "port": 80, "https": true});
        spec.as_object_mut().unwrap().extend(tls.as_object().unwrap().clone());
        let fields: Vec<String> = match gateway.plane.validate("HTTPServer", &spec) {
            Ok(warnings) => warnings.iter().map(|warning| format!("warning: {warning}")).collect(),
            Err(problems) => problems.into_iter().map(|problem| problem.field).collect(),
        };
        let starts = fields.iter().zip(expected).all(|(field, expected)| field.starts_with(expected));
        assert!(starts && fields.len() == expected.len(), "{fields:?} and not {expected:?}");
    };
    check(pair(&one), &[]);
    check(json!({}), &["https"]);
    check(json!({"certBase64": base64(&one.cert)}), &["keyBase64"]);
    check(json!({"keyBase64": base64(&one.key)}), &["certBase64"]);
    check(json!({"certBase64": base64(&one.cert), "keyBase64": base64(&two.key)}), &["keyBase64"]);
    check(json!({"certBase64": "?", "keyBase64": "AAAA"}), &["certBase64"]);
    check(json!({"certBase64": base64(&one.key), "keyBase64": base64(&one.key)}), &["certBase64"]);
    check(
        json!({"certs": {"a": one.cert, "b": two.cert, "c": ""}, "keys": {"a": two.key, "c": one.key, "d": ""}}),
        &["keys.a", "certs.b", "certs.c"],
    );
    check(json!({"certs": {"a": one.cert}, "keys": {"a": one.key, "d": ""}}), &["warning: keys.d"]);
    let mut with_ca = pair(&one);
    with_ca["caCertBase64"] = "AAAA".into();
    check(with_ca, &["caCertBase64"]);
    check(json!({"https": false, "certBase64": "?"}), &["warning: certBase64"]);
    check(json!({"https": false, "autoCert": true}), &["warning: autoCert"]);
    check(json!({"autoCert": true}), &[]);
}

/// A gateway of https behind another one.
#[test]
fn servers_of_https_are_asked_verified_or_not() {
    let (authority, other) = (Authority::new(), Authority::new());
    let mut tls = pair(&authority.pair(&["127.0.0.1"]));
    tls["caCertBase64"] = base64(&authority.cert).into();
    let behind = gateway(tls);
    let open = gateway(pair(&authority.pair(&["127.0.0.1"])));
    let own = authority.pair(&["gateway"]);
    let through = |to: &Gateway, mtls: Value| {
        let url = format!("https://{}", to.address());
        let mut proxy = json!({
            "name": "proxy", "kind": "Proxy",
            "pools": [{"servers": [{"url": url}], "healthCheck": {"interval": "10ms", "uri": "/health"}}],
        });
        proxy.as_object_mut().unwrap().extend(mtls.as_object().unwrap().clone());
        let front = Gateway::with_filter(proxy);
        let (status, seen) = (front.status("/"), || to.plane.counters()["s"].requests);
        // Its checks go the same way.
        let so_far = seen();
        while status == 200 && seen() < so_far + 3 {
            thread::yield_now();
        }
        status
    };
    assert_eq!(through(&open, json!({})), 200, "nothing is verified unless asked for");
    let trusting = |root: &Authority| json!({"mtls": {"rootCertBase64": base64(&root.cert)}});
    assert_eq!(through(&open, trusting(&authority)), 200);
    assert_eq!(through(&open, trusting(&other)), 503);
    let mut careless = trusting(&other);
    careless["mtls"]["insecureSkipVerify"] = true.into();
    assert_eq!(through(&open, careless), 200);
    assert_eq!(through(&behind, trusting(&authority)), 503, "it wants a certificate");
    let mut mutual = trusting(&authority);
    mutual["mtls"]["certBase64"] = base64(&own.cert).into();
    mutual["mtls"]["keyBase64"] = base64(&own.key).into();
    assert_eq!(through(&behind, mutual), 200);
}
