//! What is not to be: authorities and stores that are wrong.

use serde_json::json;

use super::{authority::Fault, *};
use crate::data::tests::upstream::{Then, upstream};

/// A gateway that has an authority with a fault.
fn faulty(fault: Fault) -> (AcmeServer, MapStore, Gateway) {
    let (acme, store) = (AcmeServer::new(), MapStore::new());
    acme.set_fault(Some(fault));
    let mut gateway = gateway(&store, true, json!({}));
    acme.looks_at(gateway.address().port(), 0);
    gateway.set("m", "AutoCertManager", manager(&acme, &["a.test"], json!({"enableTLSALPN01": false})));
    gateway.apply_all();
    (acme, store, gateway)
}

/// Waits for the reason of the first failure.
fn fails(fault: Fault, why: &str) -> (AcmeServer, MapStore, Gateway) {
    let (acme, store, gateway) = faulty(fault);
    until(why, || told(&gateway).1.is_some());
    let (expires, error) = told(&gateway);
    assert_eq!(expires, "0001-01-01T00:00:00Z");
    assert!(error.as_ref().is_some_and(|error| error.contains(why)), "{error:?} and not {why}");
    assert_eq!(gateway.status("/"), 201);
    assert_eq!(store.value(CERT), None);
    (acme, store, gateway)
}

#[test]
fn a_nonce_that_is_refused_is_replaced() {
    let (acme, store, _gateway) = faulty(Fault::BadNonce);
    until("a certificate", || store.value(CERT).is_some());
    assert_eq!(acme.asked("/account"), 2);
}

#[test]
fn an_authority_that_floods_costs_its_own_call_only() {
    let (acme, ..) = fails(Fault::Floods, "body");
    assert_eq!(acme.asked("/"), 1);
}

#[test]
fn an_authority_that_hangs_is_given_up_with_its_manager() {
    let (acme, store, mut gateway) = faulty(Fault::Hangs);
    until("it is asked", || acme.asked("/dir") == 1);
    assert_eq!(gateway.status("/"), 201);
    gateway.remove("m");
    gateway.apply_all();
    assert_eq!(gateway.status("/"), 201);
    assert_eq!(store.value(CERT), None);
}

#[test]
fn what_an_authority_says_is_not_believed() {
    fails(Fault::NoUrl, "invalid URI");
    fails(Fault::OtherKey, "does not belong");
}

#[test]
fn an_authority_that_wants_to_be_left_alone_for_ever_is_so_for_a_while() {
    fails(Fault::Waits, "timed out");
}

#[test]
fn a_challenge_that_fails_says_why() {
    let (acme, store) = (AcmeServer::new(), MapStore::new());
    let mut gateway = gateway(&store, true, json!({}));
    // Of another server, which knows nothing of it.
    let other = upstream(|_| ("HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n".to_owned(), Then::Close));
    acme.looks_at(other.port(), 0);
    gateway.set("m", "AutoCertManager", manager(&acme, &["a.test"], json!({"enableTLSALPN01": false})));
    gateway.apply_all();
    until("it fails", || told(&gateway).1.is_some_and(|error| error.contains("the answer was")));
    until("no token is left", || status(&challenge(&gateway, "a.test", "token-0")) == 404);
    assert_eq!(acme.orders(), ["a.test"], "it is not tried again at once");
}

#[test]
fn an_account_that_is_gone_is_made_anew_by_the_next_order() {
    let (acme, _store, mut gateway) = fails(Fault::NoAccount, "who are you?");
    acme.set_fault(None);
    // Other settings begin anew.
    gateway.set(
        "m",
        "AutoCertManager",
        manager(&acme, &["a.test"], json!({"enableTLSALPN01": false, "renewBefore": "1h"})),
    );
    gateway.apply_all();
    until("a certificate", || &*told(&gateway).0 > "2026");
    assert_eq!(told(&gateway).1, None);
    assert_eq!(acme.asked("/account"), 2);
}

#[test]
fn rows_that_somebody_spoilt_are_replaced() {
    let (acme, store) = (AcmeServer::new(), MapStore::new());
    store.write(CERT, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    store.write("autocert/tlsalpn/a.test", "\u{0}");
    store.write(&format!("autocert/account/{}", acme.directory()), "{\"email\": 1}");
    store.write("autocert/http/a.test//.well-known/acme-challenge/x", &"x".repeat(2000));
    store.write("autocert/else", "");
    let mut gateway = gateway(&store, true, json!({}));
    acme.looks_at(gateway.address().port(), 0);
    gateway.set("m", "AutoCertManager", manager(&acme, &["a.test"], json!({"enableTLSALPN01": false})));
    gateway.apply_all();
    until("a certificate", || &*told(&gateway).0 > "2026");
    assert_eq!(store.value("autocert/tlsalpn/a.test"), None);
}

#[test]
fn another_address_of_the_same_account_is_told() {
    let (acme, store) = (AcmeServer::new(), MapStore::new());
    let mut gateway = gateway(&store, true, json!({}));
    acme.looks_at(gateway.address().port(), 0);
    let spec =
        |domains: &[&str], email: &str| manager(&acme, domains, json!({"enableTLSALPN01": false, "email": email}));
    gateway.set("m", "AutoCertManager", spec(&["a.test"], "one@b.test"));
    gateway.apply_all();
    until("a certificate", || store.value(CERT).is_some());
    gateway.set("m", "AutoCertManager", spec(&["a.test", "b.test"], "two@b.test"));
    gateway.apply_all();
    until("another one", || store.value("autocert/cert/b.test").is_some());
    assert_eq!(acme.contact(), json!(["mailto:two@b.test"]));
    assert_eq!((acme.asked("/account/0"), acme.asked("/account")), (1, 2));
}

#[test]
fn without_a_store_there_is_no_manager() {
    let acme = AcmeServer::new();
    let mut gateway = Gateway::new();
    gateway.set("m", "AutoCertManager", manager(&acme, &["a.test"], json!({})));
    let error = gateway.apply()["m"].error.clone();
    assert_eq!(error.as_deref(), Some("this node has no store to keep certificates in"));
}
