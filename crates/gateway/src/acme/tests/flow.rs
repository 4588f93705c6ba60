//! What is to be: certificates come, are shown, renewed and kept.

use std::time::Duration;

use serde_json::json;
use tidegate_testkit::{
    MapStore,
    pki::{Authority, base64},
};

use super::{super::rows, *};
use crate::data::tests::body;

#[test]
fn a_certificate_comes_by_http_and_is_shown_on_new_connections_while_old_ones_live() {
    let (acme, store, own) = (AcmeServer::new(), MapStore::new(), Authority::new());
    let mut gateway = gateway(&store, true, json!({"ipFilter": {"blockByDefault": true}}));
    acme.looks_at(gateway.address().port(), 0);
    let pair = own.pair(&["localhost"]);
    let tls =
        json!({"https": true, "autoCert": true, "certBase64": base64(&pair.cert), "keyBase64": base64(&pair.key)});
    gateway.set("t", "HTTPServer", server(tls));
    gateway.apply_all();
    let address = gateway.plane.address("t").unwrap();
    let mut old = client(address, &own.cert, "localhost");
    assert_eq!(ask(&mut old).unwrap(), 201);
    assert!(ask(&mut client(address, acme.root(), "a.test")).is_err(), "there is none yet");
    assert_eq!(status(&challenge(&gateway, "a.test", "token-0")), 503);

    gateway.set("m", "AutoCertManager", manager(&acme, &["a.test"], json!({"enableTLSALPN01": false})));
    gateway.apply_all();
    until("a certificate", || store.value(CERT).is_some());
    until("it is told of", || &*told(&gateway).0 > "2026");
    assert_eq!(ask(&mut client(address, acme.root(), "a.test")).unwrap(), 201);
    assert_eq!(ask(&mut client(address, acme.root(), "A.Test")).unwrap(), 201);
    assert_eq!(ask(&mut client(address, &own.cert, "localhost")).unwrap(), 201, "its own goes first");
    assert_eq!(ask(&mut old).unwrap(), 201, "it was not touched");
    assert_eq!(gateway.plane.address("t"), Some(address));
    assert_eq!(acme.contact(), json!(["mailto:a@b.test"]));
    // The text is one that the reference reads: the key first, then the chain.
    let text = store.value(CERT).unwrap();
    assert!(text.starts_with(b"-----BEGIN PRIVATE KEY-----\n"));
    assert!(rows::Certificate::read("a.test", &text).is_ok());
    // What was for the challenge goes with it.
    until("the token is removed", || status(&challenge(&gateway, "a.test", "token-0")) == 404);
    assert_eq!(store.value("autocert/http/a.test//.well-known/acme-challenge/token-0"), None);
    assert_eq!(acme.asked("/challenge/0/http-01"), 1);
    assert_eq!(acme.asked("/challenge"), 1);
}

#[test]
fn a_certificate_comes_by_tls_and_without_one_a_handshake_fails() {
    let (acme, store) = (AcmeServer::new(), MapStore::new());
    let mut gateway = gateway(&store, true, json!({"https": true, "autoCert": true}));
    let address = gateway.address();
    acme.looks_at(0, address.port());
    assert!(super::proof::tls_alpn01(address.port(), "a.test", "x").is_err());
    gateway.set("m", "AutoCertManager", manager(&acme, &["a.test"], json!({"enableHTTP01": false})));
    gateway.apply_all();
    until("a certificate", || &*told(&gateway).0 > "2026");
    assert_eq!(ask(&mut client(address, acme.root(), "a.test")).unwrap(), 201);
    let refused = ask(&mut client(address, acme.root(), "b.test")).unwrap_err().to_string();
    assert!(refused.contains("alert"), "{refused}");
    assert_eq!(acme.asked("/challenge/0/tls-alpn-01"), 1);
    until("the challenge is removed", || store.value("autocert/tlsalpn/a.test").is_none());
    until("nobody shows it", || super::proof::tls_alpn01(address.port(), "a.test", "x").is_err());
}

#[test]
fn what_is_in_the_store_is_shown_again_and_not_ordered_again() {
    let (acme, store) = (AcmeServer::new(), MapStore::new());
    for round in 0..3 {
        let mut gateway = gateway(&store, true, json!({}));
        acme.looks_at(gateway.address().port(), 0);
        gateway.set("t", "HTTPServer", server(json!({"https": true, "autoCert": true})));
        let spec = |domains: &[&str]| manager(&acme, domains, json!({"enableTLSALPN01": false}));
        gateway.set("m", "AutoCertManager", spec(&["a.test"]));
        gateway.apply_all();
        until("a certificate", || &*told(&gateway).0 > "2026");
        let address = gateway.plane.address("t").unwrap();
        assert_eq!(ask(&mut client(address, acme.root(), "a.test")).unwrap(), 201);
        // Another name is ordered once all that is in the store is known.
        let more = format!("b{round}.test");
        gateway.set("m", "AutoCertManager", spec(&["a.test", &more]));
        gateway.apply_all();
        until("the other one", || store.value(&format!("autocert/cert/{more}")).is_some());
        assert_eq!(ask(&mut client(address, acme.root(), "a.test")).unwrap(), 201);
    }
    assert_eq!(acme.orders(), ["a.test", "b0.test", "b1.test", "b2.test"]);
    assert_eq!(acme.asked("/account"), 1, "the account is kept, too");
}

#[test]
fn with_the_manager_all_of_it_goes() {
    let (acme, store) = (AcmeServer::new(), MapStore::new());
    let mut gateway = gateway(&store, true, json!({}));
    acme.looks_at(gateway.address().port(), 0);
    gateway.set("t", "HTTPServer", server(json!({"https": true, "autoCert": true})));
    gateway.set("m", "AutoCertManager", manager(&acme, &["a.test"], json!({})));
    gateway.apply_all();
    until("a certificate", || &*told(&gateway).0 > "2026");
    assert_eq!(status(&challenge(&gateway, "a.test", "x")), 404);
    gateway.remove("m");
    gateway.apply_all();
    assert_eq!(status(&challenge(&gateway, "a.test", "x")), 503);
    assert!(ask(&mut client(gateway.plane.address("t").unwrap(), acme.root(), "a.test")).is_err());
    assert!(gateway.plane.numbers("m").is_empty());
    assert!(store.value(CERT).is_some(), "the next one finds it");
}

#[test]
fn a_second_manager_waits_for_the_first_to_go() {
    let (acme, store) = (AcmeServer::new(), MapStore::new());
    let mut gateway = gateway(&store, false, json!({}));
    gateway.set("m", "AutoCertManager", manager(&acme, &["a.test"], json!({})));
    gateway.apply_all();
    gateway.set("a", "AutoCertManager", manager(&acme, &["b.test"], json!({})));
    let statuses = gateway.apply();
    assert_eq!(statuses["a"].error.as_deref(), Some("kind: there is an AutoCertManager already, \"m\""));
    assert_eq!(statuses["m"].error, None);
    gateway.remove("m");
    gateway.apply_all();
    assert_eq!(gateway.plane.numbers("a")["domains"][0]["name"], "b.test");
}

#[test]
fn who_does_not_lead_orders_nothing_and_shows_what_the_leader_got() {
    let (acme, store) = (AcmeServer::new(), MapStore::new());
    let mut gateway = gateway(&store, false, json!({"https": true, "autoCert": true}));
    gateway.set("m", "AutoCertManager", manager(&acme, &["a.test", "c.test"], json!({})));
    gateway.apply_all();
    let leader = Authority::new();
    let write = |key: &str, pair: &tidegate_testkit::pki::Pair| store.write(key, &rows::text(&pair.key, &pair.cert));
    write(CERT, &leader.pair(&["a.test"]));
    until("it is shown", || ask(&mut client(gateway.address(), &leader.cert, "a.test")).is_ok());
    // A newer one takes its place, a row that is none does not, and names of nobody are not looked at.
    let renewed = Authority::new();
    write("autocert/cert/b.test", &renewed.pair(&["b.test"]));
    write(CERT, &renewed.pair(&["a.test"]));
    until("the newer one", || ask(&mut client(gateway.address(), &renewed.cert, "a.test")).is_ok());
    assert!(ask(&mut client(gateway.address(), &renewed.cert, "b.test")).is_err());
    store.write(CERT, "nothing");
    write("autocert/cert/c.test", &renewed.pair(&["c.test"]));
    until("all is told", || ask(&mut client(gateway.address(), &renewed.cert, "c.test")).is_ok());
    assert_eq!(ask(&mut client(gateway.address(), &renewed.cert, "a.test")).unwrap(), 201);
    assert_eq!(acme.asked("/"), 0);
}

#[test]
fn tokens_of_the_store_are_shown_to_their_host() {
    let (acme, store) = (AcmeServer::new(), MapStore::new());
    let mut gateway = gateway(&store, false, json!({}));
    gateway.set("m", "AutoCertManager", manager(&acme, &["a.test", "b.test"], json!({})));
    gateway.apply_all();
    store.write("autocert/http/a.test//.well-known/acme-challenge/t", "t.x");
    until("it is shown", || status(&challenge(&gateway, "A.test:8080", "t")) == 200);
    let answer = challenge(&gateway, "a.test", "t");
    assert!(body(&answer) == "t.x" && answer.contains("text/plain"), "{answer}");
    assert_eq!(status(&challenge(&gateway, "b.test", "t")), 404);
    assert_eq!(status(&challenge(&gateway, "a.test", "u")), 404);
    assert_eq!(status(&challenge(&gateway, "a.test", "")), 404);
    assert_eq!(gateway.status("/.well-known/acme"), 201, "the rest of the path is anybody's");
    gateway.set("m", "AutoCertManager", manager(&acme, &["a.test"], json!({"enableHTTP01": false})));
    gateway.apply_all();
    assert_eq!(status(&challenge(&gateway, "a.test", "t")), 404);
}

#[test]
fn a_certificate_is_renewed_when_it_is_time() {
    let (acme, store) = (AcmeServer::new(), MapStore::new());
    // In the second half of its life when it comes, which began an hour ago.
    acme.set_life(Duration::from_secs(3600 + 600));
    let mut gateway = gateway(&store, true, json!({"https": true, "autoCert": true}));
    acme.looks_at(0, gateway.address().port());
    let spec =
        |domains: &[&str], before: &str| manager(&acme, domains, json!({"enableHTTP01": false, "renewBefore": before}));
    gateway.set("m", "AutoCertManager", spec(&["a.test", "b.test"], "1m"));
    gateway.apply_all();
    until("both", || store.value(CERT).is_some() && store.value("autocert/cert/b.test").is_some());
    assert_eq!(acme.orders(), ["a.test", "b.test"]);
    let (first, expires) = (store.value(CERT).unwrap(), told(&gateway).0);
    // From now on certificates live for long, and these two are due.
    acme.set_life(Duration::from_secs(90 * 24 * 3600));
    gateway.set("m", "AutoCertManager", spec(&["a.test"], "720h"));
    gateway.apply_all();
    until("a new one", || store.value(CERT).is_some_and(|now| now != first));
    until("it is told of", || told(&gateway).0 > expires);
    assert_eq!(ask(&mut client(gateway.address(), acme.root(), "a.test")).unwrap(), 201);
    assert_eq!(acme.orders(), ["a.test", "b.test", "a.test"]);
    // Who removes a certificate from the store gets another one.
    store.remove(CERT);
    until("another one", || store.value(CERT).is_some());
    assert_eq!(acme.orders().len(), 4);
}

#[test]
fn a_certificate_of_a_short_life_is_not_ordered_for_ever() {
    let (acme, store) = (AcmeServer::new(), MapStore::new());
    acme.set_life(Duration::from_secs(24 * 3600));
    let mut gateway = gateway(&store, true, json!({}));
    acme.looks_at(gateway.address().port(), 0);
    let spec = |domains: &[&str]| manager(&acme, domains, json!({"enableTLSALPN01": false}));
    gateway.set("m", "AutoCertManager", spec(&["a.test"]));
    gateway.apply_all();
    until("a certificate", || &*told(&gateway).0 > "2026");
    // One that has expired is ordered again, and shown until the new one is there.
    acme.set_life(Duration::from_secs(1));
    gateway.set("m", "AutoCertManager", spec(&["a.test", "b.test"]));
    gateway.apply_all();
    until("one that has expired", || acme.orders() == ["a.test", "b.test"]);
    until("it is not taken", || {
        let domains = gateway.plane.numbers("m")["domains"].clone();
        domains[1]["error"] == "the certificate that came has expired"
    });
    assert_eq!(acme.orders(), ["a.test", "b.test"]);
}
