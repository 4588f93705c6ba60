//! Who may come in, and what is looked up of him.

use std::{fs, time::Instant};

use serde_json::{Value, json};
use tidegate_base::clock;
use tidegate_testkit::MapStore;

use super::{
    Gateway, WAIT, body, status,
    upstream::{Then, upstream},
};

/// An upstream that answers the values of the headers that the gateway tells it.
fn teller() -> Value {
    let address = upstream(|received| {
        let told = received.headers.iter().filter(|line| line.starts_with("x-")).cloned().collect::<Vec<_>>().join("|");
        (format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{told}", told.len()), Then::Keep)
    });
    json!({"name": "proxy", "kind": "Proxy", "pools": [{"servers": [{"url": format!("http://{address}")}]}]})
}

fn ask(gateway: &Gateway, headers: &[&str]) -> (u16, String) {
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let answer = gateway.ask(&format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{headers}\r\n"));
    (status(&answer), body(&answer).to_owned())
}

/// Asks until the answer is this, for what the gateway learns by itself.
fn until(gateway: &Gateway, headers: &[&str], wanted: (u16, &str)) {
    let begun: Instant = clock::now();
    loop {
        let (status, body) = ask(gateway, headers);
        if (status, body.as_str()) == wanted {
            return;
        }
        assert!(begun.elapsed() < WAIT, "{headers:?}: {status} {body:?}");
    }
}

// ann:secret, bob:other, in base64.
const ANN: &str = "Authorization: Basic YW5uOnNlY3JldA==";
const BOB: &str = "Authorization: Basic Ym9iOm90aGVy";
/// Of "secret", in the MD5 of `htpasswd`.
const SECRET: &str = "$apr1$12345678$0lqb/6VUFP8JY/s/jTrIk0";

#[test]
fn users_of_a_file_come_in_and_the_file_may_change() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("users");
    fs::write(&path, format!("# users\n\nann:{SECRET}\n")).unwrap();
    let mut gateway = Gateway::new();
    let basic = json!({"mode": "FILE", "userFile": path.to_str().unwrap()});
    gateway.serve(json!([{"name": "v", "kind": "Validator", "basicAuth": basic}, teller()]), json!([]));
    for _ in 0..2 {
        assert_eq!(ask(&gateway, &[ANN, "X-AUTH-USER: root"]), (200, "x-auth-user: ann".to_owned()));
    }
    for wrong in [&[][..], &[BOB], &["Authorization: Basic YW5uOnNlY3JldHM="], &["Authorization: Basic !"]] {
        assert_eq!(ask(&gateway, wrong), (401, String::new()), "{wrong:?}");
    }
    // Renamed over it, as editors and tools do.
    fs::write(directory.path().join("new"), "bob:other\n").unwrap();
    fs::rename(directory.path().join("new"), &path).unwrap();
    until(&gateway, &[BOB], (200, "x-auth-user: bob"));
    assert_eq!(ask(&gateway, &[ANN]).0, 401, "a password that was good is not remembered beyond its hash");
}

#[test]
fn users_of_the_store_come_in_as_long_as_they_are_there() {
    let store = MapStore::new();
    store.write("/custom-data/credentials/1", &format!("{{\"key\": \"ann\", \"password\": \"{SECRET}\"}}"));
    let mut gateway = Gateway::with_store(&store);
    let basic = json!({"mode": "ETCD"});
    gateway.serve(json!([{"name": "v", "kind": "Validator", "basicAuth": basic}, teller()]), json!([]));
    until(&gateway, &[ANN], (200, "x-auth-user: ann"));
    store.write("/custom-data/credentials/2", "key: 2\nusername: bob\npassword: other\n");
    until(&gateway, &[BOB], (200, "x-auth-user: bob"));
    store.remove("/custom-data/credentials/1");
    until(&gateway, &[ANN], (401, ""));
    store.write("/custom-data/credentials/2", "no record");
    until(&gateway, &[BOB], (401, ""));
}

#[test]
fn checks_come_in_their_order_and_a_flow_may_go_on() {
    let validator = json!({
        "name": "v", "kind": "Validator", "headers": {"X-A": {"values": ["1"]}},
        "signature": {"accessKeys": {"k": "s"}}, "jwt": {"algorithm": "HS256", "secret": "00"},
    });
    let mut gateway = Gateway::new();
    gateway.serve(json!([validator, teller()]), json!([]));
    assert_eq!(ask(&gateway, &[]).0, 400);
    assert_eq!(ask(&gateway, &["X-A: 1"]).0, 401);
    let flow = json!([{"filter": "v", "jumpIf": {"invalid": "proxy"}}, {"filter": "proxy"}]);
    gateway.serve(json!([validator, teller()]), flow);
    assert_eq!(ask(&gateway, &["X-A: 2"]), (200, "x-a: 2".to_owned()));
}

#[test]
fn what_one_filter_signs_another_accepts_with_its_body() {
    let sign = |secret: &str| {
        let sign = json!({"accessKeyId": "k", "accessKeySecret": secret, "scopes": ["here"]});
        json!({"name": "sign", "kind": "RequestAdaptor", "header": {"set": {"X-A": "1"}}, "sign": sign})
    };
    let checks = json!({"name": "v", "kind": "Validator", "signature": {"accessKeys": {"k": "s"}, "ttl": "1h"}});
    for (secret, wanted) in [("s", 200), ("t", 401)] {
        let mut gateway = Gateway::new();
        gateway.serve(json!([sign(secret), checks, teller()]), json!([]));
        let request = "POST /a%20b?x=1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(status(&gateway.ask(request)), wanted, "{secret}");
        let request = request.replace("Content-Length: 5", "Transfer-Encoding: chunked");
        assert_eq!(status(&gateway.ask(&request.replace("hello", "5\r\nhello\r\n0\r\n\r\n"))), wanted, "{secret}");
    }
    let changes = json!({"name": "change", "kind": "RequestAdaptor", "body": "other"});
    let mut gateway = Gateway::new();
    let flow = json!([{"filter": "sign"}, {"filter": "change"}, {"filter": "v"}, {"filter": "proxy"}]);
    gateway.serve(json!([sign("s"), changes, checks, teller()]), flow);
    assert_eq!(ask(&gateway, &[]).0, 401, "another body");
}

#[test]
fn records_set_headers_until_they_change() {
    let store = MapStore::new();
    store.write("/custom-data/users/ann-v1", "{\"tenant\": \"t1\", \"plan\": 3}");
    let mut gateway = Gateway::with_store(&store);
    let lookup = json!({
        "name": "lookup", "kind": "HeaderLookup", "etcdPrefix": "users/", "headerKey": "X-User", "pathRegExp": "^/(\\w+)",
        "headerSetters": [{"etcdKey": "tenant", "headerKey": "X-Tenant"}, {"etcdKey": "plan", "headerKey": "X-Plan"}],
    });
    gateway.serve(json!([lookup, teller()]), json!([]));
    let asked = |wanted: &str| {
        let begun = clock::now();
        loop {
            let request = "GET /v1/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-User: ann\r\nX-Plan: mine\r\n\r\n";
            let answer = gateway.ask(request);
            if body(&answer) == wanted {
                return;
            }
            assert!(begun.elapsed() < WAIT, "{answer}");
        }
    };
    asked("x-user: ann|x-tenant: t1|x-plan: 3");
    store.write("/custom-data/users/ann-v1", "{\"tenant\": \"t2\"}");
    // What the client says of itself in such a header goes on in no case.
    asked("x-user: ann|x-tenant: t2");
    store.remove("/custom-data/users/ann-v1");
    asked("x-user: ann");
}
