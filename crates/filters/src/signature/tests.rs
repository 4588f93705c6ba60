use serde_json::{Value, json};
use tidegate_http::message::{Headers, Method};
use tidegate_pipeline::Problems;

use super::*;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn config(value: Value) -> Config {
    serde_json::from_value(value).unwrap()
}

fn verifier(value: Value) -> Signer {
    let mut problems = Problems::default();
    let signer = config(value).verifier("s", &mut problems);
    assert!(problems.is_empty(), "{problems}");
    signer
}

fn request(path: &str, query: &str, headers: &[(&str, &str)]) -> RequestHead {
    let mut head = RequestHead::default();
    head.set_path(path.as_bytes());
    head.set_query(query.as_bytes());
    for (name, value) in headers {
        head.headers.append(name, value.as_bytes());
    }
    head
}

/// What is changed, and how.
type Change = (&'static str, fn(&mut RequestHead));

fn at(time: &str) -> Duration {
    wall_of(time).unwrap()
}

/// Source: "Signature Version 4 signing process" of AWS's general reference, its example of ListUsers.
#[test]
fn the_example_of_aws_is_accepted_and_made() {
    let type_ = ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8");
    let query = "Action=ListUsers&Version=2010-05-08";
    let signed = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
                  SignedHeaders=content-type;host;x-amz-date, \
                  Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";
    let (host, date) = (("Host", "iam.amazonaws.com"), ("X-Amz-Date", "20150830T123600Z"));
    let head = request("/", query, &[host, type_, date, ("Authorization", signed)]);
    let checks = verifier(json!({"apiProvider": "aws4", "ttl": "5m", "accessKeys": {"AKIDEXAMPLE": SECRET}}));
    let now = at("20150830T123600Z");
    assert_eq!(checks.verify(&head, Some(b""), now), Ok(()));
    for (body, now, refused) in [
        (Some(&b"x"[..]), now, Refused::Wrong),
        (None, now, Refused::Wrong),
        (Some(b""), now + Duration::from_secs(301), Refused::Expired),
        (Some(b""), now - Duration::from_secs(301), Refused::Expired),
    ] {
        assert_eq!(checks.verify(&head, body, now), Err(refused), "{body:?} {now:?}");
    }
    assert_eq!(checks.verify(&head, Some(b""), now + Duration::from_secs(300)), Ok(()), "as old as allowed");
    let others = verifier(json!({"apiProvider": "aws4", "accessKeys": {"OTHER": SECRET}}));
    assert_eq!(others.verify(&head, Some(b""), now), Err(Refused::UnknownKey));

    let mut fresh = request("/", query, &[host, type_, ("User-Agent", "x"), ("X-Skip", "1")]);
    let mut problems = Problems::default();
    let signs = config(json!({
        "apiProvider": "aws4", "accessKeyId": "AKIDEXAMPLE", "accessKeySecret": SECRET, "scopes": ["us-east-1", "iam"],
        "ignoredHeaders": ["x-skip"],
    }));
    signs.signer("s", &mut problems).sign(&mut fresh, Some(b""), now);
    assert_eq!(fresh.headers.find("Authorization"), Some(signed.as_bytes()));
}

/// Source: "Authenticating Requests: Using Query Parameters" of the S3 reference.
#[test]
fn a_presigned_example_is_accepted_until_it_expires() {
    let query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2F\
                 aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=\
                 aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
    let head = request("/test.txt", query, &[("Host", "examplebucket.s3.amazonaws.com")]);
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let checks =
        verifier(json!({"apiProvider": "aws4", "excludeBody": true, "accessKeys": {"AKIAIOSFODNN7EXAMPLE": secret}}));
    let now = at("20130524T000000Z");
    assert_eq!(checks.verify(&head, None, now + Duration::from_secs(86_400)), Ok(()));
    assert_eq!(checks.verify(&head, None, now + Duration::from_secs(86_401)), Err(Refused::Expired));
    let mut other = request("/other.txt", query, &[("Host", "examplebucket.s3.amazonaws.com")]);
    assert_eq!(checks.verify(&other, None, now), Err(Refused::Wrong));
    other.headers = Headers::new();
    assert_eq!(checks.verify(&other, None, now), Err(Refused::Wrong), "without its host");
}

#[test]
fn what_was_signed_is_accepted_and_nothing_else() {
    let keys = json!({"accessKeyId": "k", "accessKeySecret": "s", "accessKeys": {"k": "s"}, "scopes": ["a", "b"]});
    let signer = verifier(keys.clone());
    let now = at("20260131T235959Z");
    let make = || {
        let mut head =
            request("/a%20b/ü", "b=2&a=1&b=1&c=x+y", &[("Host", "h:8080"), ("X-A", " 1   2 "), ("X-A", "3")]);
        head.method = Method::Put;
        signer.sign(&mut head, Some(b"body"), now);
        head
    };
    let signed = make();
    assert_eq!(signed.headers.find("X-Date"), Some(&b"20260131T235959Z"[..]));
    assert_eq!(signer.verify(&signed, Some(b"body"), now + Duration::from_secs(1 << 30)), Ok(()), "without an end");
    let changes: [Change; 5] = [
        ("method", |head| head.method = Method::Post),
        ("path", |head| head.set_path(b"/a")),
        ("query", |head| head.set_query(b"a=1&b=1&b=2&c=x")),
        ("header", |head| head.headers.append("X-A", b"4")),
        ("host", |head| head.set_authority(b"h:8081")),
    ];
    for (what, change) in changes {
        let mut head = make();
        change(&mut head);
        assert_eq!(signer.verify(&head, Some(b"body"), now), Err(Refused::Wrong), "{what}");
    }
    let mut moved = make();
    moved.set_query(b"c=x%20y&b=2&b=1&a=1&X-Signature=1");
    assert_eq!(signer.verify(&moved, Some(b"body"), now), Ok(()), "the order of names does not count");
    let excluded =
        verifier(json!({"excludeBody": true, "accessKeyId": "k", "accessKeySecret": "s", "accessKeys": {"k": "s"}}));
    let mut head = request("/", "", &[("Host", "h")]);
    excluded.sign(&mut head, None, now);
    assert_eq!(head.headers.find("X-Content-Sha256"), Some(UNSIGNED.as_bytes()));
    assert_eq!(excluded.verify(&head, None, now), Ok(()));
}

#[test]
fn malformed_signatures_are_refused() {
    let signer = verifier(json!({"accessKeys": {"k": "s"}}));
    let good = "HMAC-SHA256 Credential=k/20260131/request, SignedHeaders=host, Signature=00";
    let verify = |authorization: &str, date: &str, query: &str| {
        let head = request("/", query, &[("Authorization", authorization), ("X-Date", date)]);
        signer.verify(&head, Some(b""), at("20260131T000000Z"))
    };
    assert_eq!(verify(good, "20260131T000000Z", ""), Err(Refused::Wrong));
    for (authorization, date) in [
        ("Basic eDp5", "20260131T000000Z"),
        ("HMAC-SHA256", "20260131T000000Z"),
        ("HMAC-SHA256 Credential=k/20260131/other, SignedHeaders=host, Signature=00", "20260131T000000Z"),
        ("HMAC-SHA256 Credential=k, SignedHeaders=host, Signature=00", "20260131T000000Z"),
        ("HMAC-SHA256 Credential=k/20260131/request, Signature=00, SignedHeaders=host", "20260131T000000Z"),
        ("HMAC-SHA256 Credential=k/20260131/request, SignedHeaders=host, Signature=00, X=1", "20260131T000000Z"),
        (good, "20260130T000000Z"),
        (good, "20260131T000000"),
        (good, "20260131T240000Z"),
        (good, ""),
        ("", "20260131T000000Z"),
    ] {
        assert_eq!(verify(authorization, date, ""), Err(Refused::Malformed), "{authorization} {date}");
    }
    let query = "X-Algorithm=HMAC-SHA256&X-Credential=k/20260131/request&X-Date=20260131T000000Z&X-SignedHeaders=host";
    assert_eq!(verify("", "", &format!("{query}&X-Signature=00&X-Expires=1")), Err(Refused::Wrong));
    assert_eq!(verify("", "", &format!("{query}&X-Signature=00")), Err(Refused::Malformed), "without an end");
}

#[test]
fn times_are_read_as_they_are_written() {
    for (text, seconds) in [
        ("19700101T000000Z", Some(0)),
        ("20000229T120000Z", Some(951_825_600)),
        ("20240301T000000Z", Some(1_709_251_200)),
        ("20230229T000000Z", None),
        ("20231301T000000Z", None),
        ("19691231T235959Z", None),
        ("2023010100000000", None),
    ] {
        assert_eq!(wall_of(text).map(|wall| wall.as_secs()), seconds, "{text}");
    }
}

#[test]
fn every_problem_is_named() {
    let mut problems = Problems::default();
    config(json!({"apiProvider": "x"})).verifier("v", &mut problems);
    let mut literal = serde_json::Map::new();
    for name in [
        "scopeSuffix",
        "algorithmName",
        "algorithmValue",
        "signedHeaders",
        "signature",
        "date",
        "expires",
        "credential",
        "contentSha256",
    ] {
        literal.insert(name.to_owned(), if name == "date" { json!("") } else { json!(name) });
    }
    config(json!({ "literal": literal })).signer("s", &mut problems);
    let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["v.accessKeys", "v.apiProvider", "s.accessKeyId", "s.accessKeySecret", "s.literal.date"]);
}

#[test]
fn the_hash_that_a_client_tells_of_its_body_is_not_signed() {
    let keys = json!({"apiProvider": "aws4", "accessKeyId": "k", "accessKeySecret": "s", "accessKeys": {"k": "s"}});
    let (signer, now) = (verifier(keys), at("20260131T235959Z"));
    for (body, told) in [(Some(&b"body"[..]), None), (None, Some(UNSIGNED.as_bytes()))] {
        let mut head = request("/", "", &[("Host", "h"), ("x-amz-content-sha256", "0123")]);
        signer.sign(&mut head, body, now);
        assert_eq!(head.headers.find("X-Amz-Content-Sha256"), told);
        assert_eq!(signer.verify(&head, body, now), Ok(()), "{body:?}");
    }
}

#[test]
fn values_of_one_name_keep_their_order() {
    let keys = json!({"accessKeyId": "k", "accessKeySecret": "s", "accessKeys": {"k": "s"}});
    let (signer, now) = (verifier(keys), at("20260131T235959Z"));
    let signed = |query: &str| {
        let mut head = request("/", query, &[("Host", "h")]);
        signer.sign(&mut head, Some(b""), now);
        head.headers.find("Authorization").unwrap().to_vec()
    };
    assert_eq!(signed("b=1&a=2&a=1"), signed("a=2&a=1&b=1"), "names are sorted");
    assert_ne!(signed("a=2&a=1"), signed("a=1&a=2"), "values are not");
}
