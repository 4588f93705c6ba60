use serde_json::{Value, json};
use tidegate_base::{Budget, ByteSize, Limits, Profile};

use super::*;

fn deps() -> Deps {
    Deps::new(Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap()), 1)
}

fn build(rules: Value) -> Result<Mock, Problems> {
    Mock::new(serde_json::from_value(json!({ "rules": rules })).unwrap(), &deps())
}

fn request(path: &str, headers: &[(&str, &str)]) -> RequestHead {
    let mut request = RequestHead::default();
    request.set_path(path.as_bytes());
    for (name, value) in headers {
        request.headers.append(name, value.as_bytes());
    }
    request
}

#[test]
fn rules_fit_by_path_and_headers() {
    let mock = build(json!([
        {"match": {"path": "/a", "pathPrefix": "/b/"}, "code": 201},
        {"match": {"headers": {"X-A": {"exact": "1"}, "X-B": {"empty": true}}, "matchAllHeaders": true}, "code": 202},
        {"match": {"headers": {"X-A": {"prefix": "2"}, "X-B": {"exact": "2"}}}, "code": 203},
        {"match": {"pathPrefix": "/rest"}, "code": 204},
    ]))
    .unwrap();
    let code = |path: &str, headers: &[(&str, &str)]| {
        let request = request(path, headers);
        mock.rules.iter().find(|prepared| fits(&prepared.rule, &request)).map(|prepared| prepared.rule.code)
    };
    for (path, headers, expected) in [
        ("/a", &[][..], Some(201)),
        ("/b/c", &[][..], Some(201)),
        ("/b", &[][..], None),
        ("/x", &[("x-a", "1")][..], Some(202)),
        ("/x", &[("x-a", "1"), ("x-b", "")][..], None),
        ("/x", &[("x-a", "23")][..], Some(203)),
        ("/x", &[("x-b", "2")][..], Some(203)),
        ("/rest", &[][..], Some(204)),
        ("/", &[][..], None),
    ] {
        assert_eq!(code(path, headers), expected, "{path} {headers:?}");
    }
}

#[test]
fn every_problem_is_named() {
    let problems = build(json!([
        {"match": {"path": "a"}, "code": 100},
        {"match": {"headers": {"X": {}, "Y": {"regex": "("}}}, "code": 200},
    ]));
    let problems = problems.err().unwrap();
    let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(
        fields,
        ["rules[0].code", "rules[0].match.path", "rules[1].match.headers.X", "rules[1].match.headers.Y.regex"]
    );
}

#[test]
fn bodies_have_a_type() {
    assert_eq!(content_type("{}"), "text/plain; charset=utf-8");
    assert_eq!(content_type(" <!DOCTYPE html>\n<p>"), "text/html; charset=utf-8");
}
