//! An authority: as much of RFC 8555 as an order needs. It believes every signature, and looks at every challenge.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tidegate_base::clock;
use tidegate_testkit::pki::Authority;

use super::proof::{http01, thumbprint, tls_alpn01};
use crate::data::tests::upstream::{Received, Then, upstream};

/// What it does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Refuses the first signed request of each account for its nonce, as authorities do now and then.
    BadNonce,
    /// Never answers.
    Hangs,
    /// Announces a gigabyte, and sends it as long as it is read.
    Floods,
    /// Leads to a URL that is none.
    NoUrl,
    /// Is never done, and wants to be left alone for longer than clocks go.
    Waits,
    /// Knows no account.
    NoAccount,
    /// Signs another key than that of the request.
    OtherKey,
}

pub(super) struct AcmeServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    pki: Authority,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Paths that were asked for, in order.
    asked: Vec<String>,
    /// Where it looks for answers to challenges: HTTP, and TLS.
    ports: (u16, u16),
    fault: Option<Fault>,
    life: Duration,
    thumbprint: String,
    contact: Value,
    refused: usize,
    orders: Vec<Order>,
}

struct Order {
    domain: String,
    status: &'static str,
    /// Why a challenge failed.
    why: String,
    chain: String,
}

impl AcmeServer {
    pub(super) fn new() -> Self {
        let life = Duration::from_secs(90 * 24 * 3600);
        let state = Mutex::new(State { life, ..State::default() });
        let shared = Arc::new(Shared { pki: Authority::new(), state });
        let serving = Arc::clone(&shared);
        let address = upstream(move |received| serving.answer(&received));
        Self { address, shared }
    }

    pub(super) fn directory(&self) -> String {
        format!("http://{}/dir", self.address)
    }

    /// Its own certificate.
    pub(super) fn root(&self) -> &str {
        &self.shared.pki.cert
    }

    pub(super) fn looks_at(&self, http: u16, tls: u16) {
        self.shared.state().ports = (http, tls);
    }

    pub(super) fn set_fault(&self, fault: Option<Fault>) {
        self.shared.state().fault = fault;
    }

    pub(super) fn set_life(&self, life: Duration) {
        self.shared.state().life = life;
    }

    /// How often what begins so was asked for.
    pub(super) fn asked(&self, path: &str) -> usize {
        self.shared.state().asked.iter().filter(|asked| asked.starts_with(path)).count()
    }

    pub(super) fn contact(&self) -> Value {
        self.shared.state().contact.clone()
    }

    /// Names of the orders so far.
    pub(super) fn orders(&self) -> Vec<String> {
        self.shared.state().orders.iter().map(|order| order.domain.clone()).collect()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn answer(&self, received: &Received) -> (String, Then) {
        let mut line = received.line.split(' ');
        let (method, path) = (line.next().unwrap(), line.next().unwrap());
        let host = received.headers.iter().find_map(|header| header.strip_prefix("host: ")).unwrap().to_owned();
        let url = |path: &str| format!("http://{host}{path}");
        let fault = {
            let mut state = self.state();
            state.asked.push(path.to_owned());
            state.fault
        };
        if fault == Some(Fault::Hangs) {
            std::thread::park_timeout(crate::data::tests::WAIT);
            return (String::new(), Then::Close);
        }
        if fault == Some(Fault::Floods) {
            return (
                format!("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n{}", "x".repeat(1 << 20)),
                Then::Close,
            );
        }
        if method == "GET" {
            assert_eq!(path, "/dir");
            let nonce = if fault == Some(Fault::NoUrl) { "not a url" } else { &url("/nonce") };
            return reply(
                200,
                "",
                &json!({"newNonce": nonce, "newAccount": url("/account"), "newOrder": url("/order"),
                "revokeCert": url("/revoke"), "keyChange": url("/key")})
                .to_string(),
            );
        }
        if method == "HEAD" {
            return reply(200, "", "");
        }
        let body: Value = serde_json::from_str(&received.body).unwrap();
        let part = |key: &str| BASE64_URL_SAFE_NO_PAD.decode(body[key].as_str().unwrap()).unwrap();
        let protected: Value = serde_json::from_slice(&part("protected")).unwrap();
        assert_eq!((&protected["url"], &protected["alg"]), (&json!(url(path)), &json!("ES256")));
        assert!(
            protected["nonce"].as_str().is_some_and(|nonce| nonce.starts_with("nonce"))
                && body["signature"].is_string()
        );
        let payload: Value = serde_json::from_slice(&part("payload")).unwrap_or_default();
        self.signed(path, &protected, &payload, url)
    }

    fn signed(&self, path: &str, protected: &Value, payload: &Value, url: impl Fn(&str) -> String) -> (String, Then) {
        let mut state = self.state();
        if state.fault == Some(Fault::BadNonce) && state.refused == 0 {
            state.refused += 1;
            return reply(400, "", r#"{"type": "urn:ietf:params:acme:error:badNonce", "status": 400}"#);
        }
        let mut parts = path.split('/').skip(1);
        let what = parts.next().unwrap();
        let number = parts.next().and_then(|number| number.parse::<usize>().ok());
        if let ("account", None) = (what, number) {
            state.thumbprint = thumbprint(&protected["jwk"]);
            state.contact = payload["contact"].clone();
            assert_eq!(payload["termsOfServiceAgreed"], true);
            return reply(201, &format!("Location: {}\r\n", url("/account/0")), r#"{"status": "valid"}"#);
        }
        assert_eq!(protected["kid"], url("/account/0"));
        if state.fault == Some(Fault::NoAccount) {
            let gone = r#"{"type": "urn:ietf:params:acme:error:accountDoesNotExist", "detail": "who are you?"}"#;
            return reply(400, "", gone);
        }
        if what == "account" {
            state.contact = payload["contact"].clone();
            return reply(200, "", r#"{"status": "valid"}"#);
        }
        let number = number.unwrap_or_else(|| {
            let domain = payload["identifiers"][0]["value"].as_str().unwrap().to_owned();
            state.orders.push(Order { domain, status: "pending", why: String::new(), chain: String::new() });
            state.orders.len() - 1
        });
        let token = format!("token-{number}");
        match what {
            "challenge" => {
                let (kind, proof) = (parts.next().unwrap(), format!("{token}.{}", state.thumbprint));
                let (domain, ports) = (state.orders[number].domain.clone(), state.ports);
                // The gateway may ask for something else meanwhile.
                drop(state);
                let looked = match kind {
                    "http-01" => http01(ports.0, &domain, &token, &proof),
                    kind => {
                        assert_eq!(kind, "tls-alpn-01");
                        tls_alpn01(ports.1, &domain, &proof)
                    }
                };
                state = self.state();
                let order = &mut state.orders[number];
                (order.status, order.why) = looked.map_or_else(|why| ("invalid", why), |()| ("ready", String::new()));
                let told = json!({"type": kind, "url": url(path), "token": token, "status": "processing"});
                return reply(200, "", &told.to_string());
            }
            "finalize" => {
                let request = BASE64_URL_SAFE_NO_PAD.decode(payload["csr"].as_str().unwrap()).unwrap();
                let from = clock::wall() - Duration::from_secs(3600);
                let chain = match state.fault {
                    Some(Fault::OtherKey) => self.pki.pair(&["other.test"]).cert,
                    _ => self.pki.sign(&request, from, from + state.life).expect("it is a request"),
                };
                let order = &mut state.orders[number];
                assert_eq!(order.status, "ready");
                (order.status, order.chain) = ("valid", chain);
            }
            "cert" => return reply(200, "", &state.orders[number].chain),
            _ => {}
        }
        let head = match (what, state.fault) {
            ("order", Some(Fault::Waits)) => format!("Location: {}\r\nRetry-After: {}\r\n", url("/order/0"), u64::MAX),
            ("order", _) => format!("Location: {}\r\n", url(&format!("/order/{number}"))),
            _ => String::new(),
        };
        let Order { domain, status, why, .. } = &state.orders[number];
        let identifier = json!({"type": "dns", "value": domain});
        let told = if what == "authz" {
            let challenge = |kind: &str| json!({"type": kind, "url": url(&format!("/challenge/{number}/{kind}")), "token": token, "status": "pending"});
            let challenges = ["dns-01", "tls-alpn-01", "http-01"].map(challenge);
            json!({"status": "pending", "identifier": identifier, "challenges": challenges})
        } else {
            let place = |what: &str| url(&format!("/{what}/{number}"));
            let status = if state.fault == Some(Fault::Waits) { &"processing" } else { status };
            let mut order = json!({"status": status, "identifiers": [identifier], "authorizations": [place("authz")],
                "finalize": place("finalize"), "certificate": place("cert")});
            if *status == "invalid" {
                let problem = "urn:ietf:params:acme:error:unauthorized";
                order["error"] = json!({"type": problem, "detail": why, "status": 403});
            }
            order
        };
        let code = if what == "order" && path == "/order" { 201 } else { 200 };
        reply(code, &head, &told.to_string())
    }
}

fn reply(status: u16, head: &str, body: &str) -> (String, Then) {
    let head = format!("Replay-Nonce: nonce\r\nContent-Type: application/json\r\n{head}");
    (format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{head}\r\n{body}", body.len()), Then::Keep)
}
