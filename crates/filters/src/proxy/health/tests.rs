use base64::{Engine, prelude::BASE64_STANDARD};
use tidegate_base::{ByteSize, Limits, Profile};
use tidegate_http::{message::Headers, upstream::Answer};
use tidegate_pipeline::Problems;

use super::*;

fn build(text: &str) -> Result<HealthConfig, Problems> {
    let mut config: HealthConfig = serde_yaml_ng::from_str(text).unwrap();
    let (mut problems, limits) = (Problems::default(), Limits::new(ByteSize::mib(256), Profile::Server).unwrap());
    config.check("h", &Budget::new(limits), &mut problems);
    problems.into_result().map(|()| config)
}

#[test]
fn streaks_decide() {
    let mut streak = Streak::default();
    let mut after = |good: bool| streak.after(good, 2, 3);
    assert_eq!([false, false, false].map(&mut after), [None, None, Some(false)]);
    assert_eq!([true, false, true, true].map(&mut after), [None, None, None, Some(true)]);
}

#[test]
fn answers_fit_by_status_header_and_body() {
    let check = |text: &str, status: u16, expected: bool| {
        let mut headers = Headers::new();
        headers.append("X-State", b"ready-2");
        let answer = Answer { status, headers, body: Bytes::from_static(b"all is fine") };
        assert_eq!(build(text).unwrap().matching.fits(&answer), expected, "{text} {status}");
    };
    for (status, good) in [(199, false), (200, true), (399, true), (400, false)] {
        check("{}", status, good);
    }
    check("match: {statusCodes: [[500, 500], [404, 404]]}", 404, true);
    check("match: {statusCodes: [[500, 500], [404, 404]]}", 200, false);
    check("match: {headers: [{name: x-state, value: ready}]}", 200, false);
    check("match: {headers: [{name: x-state, value: '^ready-\\d$', type: regexp}]}", 200, true);
    check("match: {body: {value: is fine}}", 200, true);
    check("match: {body: {value: ^fine, type: regexp}}", 200, false);
    check("match: {body: {value: fine$, type: regexp}}", 200, true);
}

#[test]
fn requests_go_where_the_spec_says() {
    let check = |text: &str, url: &str, authority: &str, path: &str| {
        let (head, endpoint) = build(text).unwrap().request(url).unwrap();
        assert_eq!((endpoint.authority(), &*head.path_text()), (authority, path), "{text} {url}");
        head
    };
    check("{}", "http://a:80/base", "a:80", "/base");
    check("{port: 81, path: /old}", "http://a/base", "a:81", "/old");
    check("{port: 81}", "http://[::1]", "[::1]:81", "/");
    let head = check("{port: 81, uri: '/x?y=1', username: u, password: p}", "http://[::1]:9", "[::1]:81", "/x");
    assert_eq!(head.query(), b"y=1");
    assert_eq!(head.headers.find("Authorization"), Some(&b"Basic dTpw"[..]));
    for (text, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
        assert_eq!(BASE64_STANDARD.encode(text), coded);
    }
}

#[test]
fn every_problem_is_named() {
    let problems = build(
        "{interval: 0s, fails: 0, method: get, username: u, match: {statusCodes: [[2, 1]], \
         headers: [{name: x, type: y}], body: {value: '(', type: regexp}}}",
    );
    let problems = problems.unwrap_err();
    let fields: Vec<&str> = problems.iter().filter_map(|problem| problem.field.strip_prefix("h.")).collect();
    let expected = "interval fails method password match.statusCodes[0] match.headers[0].type match.body.value";
    assert_eq!(fields.join(" "), expected);
}
