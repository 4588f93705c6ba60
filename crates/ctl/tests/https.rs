//! A node that speaks https: the request is repeated with it, certificates are looked at, and the client shows its own.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::{fs, net::SocketAddr, rc::Rc, thread};

use bytes::BytesMut;
use clap::Parser;
use tidegate_base::{Budget, Holder, Limits, Profile};
use tidegate_ctl::{Ctl, Streams, run};
use tidegate_http::{
    h1::{Config, Handler, Request, Shared, Simple, serve},
    message::Response,
    tls,
};
use tidegate_testkit::pki::{Authority, base64};
use tokio::sync::oneshot;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    ctl: Ctl,
}

struct Fine;

impl Handler for Fine {
    async fn handle(&self, request: Request<'_>) -> Response {
        let known = request.header("Authorization") == Some("Basic YWRtaW46c2VjcmV0");
        let told = if known { "known" } else { "unknown" };
        match &*request.path() {
            "/apis/v2/metrics" => Response::text(200, format!("{told}\n")),
            "/apis/v2/logs" => Response::text(200, "one\ntwo\n"),
            _ => Response::json(404, "{}"),
        }
    }
}

/// Listens until the sender goes.
fn node(server: tls::Server) -> (SocketAddr, oneshot::Sender<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (end, ended) = oneshot::channel::<()>();
    thread::spawn(move || {
        let budget = Budget::new(Limits::new(Limits::DEFAULT, Profile::Server).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let (service, shared) = (Rc::new(Simple(Fine)), Shared::new(Config::default(), budget.clone()));
            let accept = async {
                loop {
                    let (stream, peer) = listener.accept().await.unwrap();
                    let (server, budget) = (server.clone(), budget.clone());
                    let (service, shared) = (Rc::clone(&service), Rc::clone(&shared));
                    tokio::task::spawn_local(async move {
                        if let Ok(stream) = tls::accept(stream, &server, &budget, Holder::Connections).await {
                            serve(stream, BytesMut::new(), Some(peer), service, shared).await;
                        }
                    });
                }
            };
            tokio::select! {
                () = accept => {}
                _ = ended => {}
            }
        });
    });
    (address, end)
}

fn ctl(words: &str) -> (bool, String, String) {
    let Cli { ctl } = Cli::try_parse_from(["ctl"].into_iter().chain(words.split(' '))).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let done = run(&ctl, Streams { input: &mut &b""[..], out: &mut out, err: &mut err });
    (done, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[test]
fn a_server_of_https_is_asked_with_it() {
    let authority = Authority::new();
    let pair = authority.pair(&["localhost", "127.0.0.1"]);
    let identity = tls::Identity::from_pem(pair.cert.as_bytes(), pair.key.as_bytes()).unwrap();
    let roots = tls::Roots::from_pem(authority.cert.as_bytes()).unwrap();
    let server = |client_roots| {
        let identities = vec![identity.clone()];
        let settings = tls::ServerSettings { identities, client_roots, ..tls::ServerSettings::default() };
        node(tls::Server::new(settings).unwrap())
    };
    let (address, _end) = server(None);
    let (asks_back, _end) = server(Some(roots));

    // Spoken to in plain HTTP it says so, and is asked again; the system does not know its authority.
    let (done, _, err) = ctl(&format!("metrics --server {address}"));
    assert!(!done && err.starts_with(&format!("Error: http://{address}: TLS: ")), "{err}");
    let fine = (true, "unknown\n".to_owned(), String::new());
    assert_eq!(ctl(&format!("metrics --server {address} --insecure-skip-verify")), fine);
    assert_eq!(ctl(&format!("metrics --server {address} --insecure-skip-verify --force-tls")), fine);
    assert_eq!(ctl(&format!("metrics --server https://{address} --insecure-skip-verify")), fine);
    assert_eq!(ctl(&format!("logs -f --server {address} --insecure-skip-verify")).1, "one\ntwo\n");

    let dir = tempfile::tempdir().unwrap();
    let own = authority.pair(&["admin"]);
    let path = |name: &str, text: &str| {
        fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name).display().to_string()
    };
    let (ca, cert) = (path("ca.pem", &authority.cert), path("cert.pem", &own.cert));
    let rc = path(
        "rc",
        &format!(
            "current-context: a\ncontexts: [{{name: a, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: '{asks_back}', certificate-authority: '{ca}'}}}}]\n\
             users: [{{name: u, user: {{username: admin, password: secret, client-certificate: '{cert}', client-key-data: {}}}}}]\n",
            base64(&own.key)
        ),
    );
    assert_eq!(ctl(&format!("metrics --config {rc}")), (true, "known\n".to_owned(), String::new()));
    let half = path("half", &fs::read_to_string(&rc).unwrap().replace("client-key-data", "nothing"));
    let (done, _, err) = ctl(&format!("metrics --config {half}"));
    assert!(!done && err == "Error: client-certificate and client-key need each other\n", "{err}");
}
