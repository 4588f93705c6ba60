//! The routes of the comparison: as a spec for the gateway, and as plain code for the reference.

use serde_json::{Value, json};

/// Most bytes of a body where a path says nothing else.
const LIMIT: u64 = 100_000;

pub(crate) fn spec() -> Value {
    json!({
        "port": 0, "address": "127.0.0.1", "xForwardedFor": true, "clientMaxBodySize": LIMIT,
        "rules": [
            {"host": "a.test", "paths": [
                {"path": "/exact", "backend": "p"},
                {"path": "/get", "methods": ["GET", "HEAD"], "backend": "p"},
                {"pathPrefix": "/a/", "backend": "p"},
            ]},
            {"host": "*.b.test", "paths": [{"pathPrefix": "/", "backend": "p"}]},
            {"paths": [
                {"path": "/any", "backend": "p"},
                {"pathPrefix": "/small/", "clientMaxBodySize": 1000, "backend": "p"},
                {"pathPrefix": "/stream/", "clientMaxBodySize": -1, "backend": "p"},
                {"pathPrefix": "/p%q/", "backend": "p"},
                {"path": "/put", "methods": ["PUT", "PATCH", "DELETE"], "backend": "p"},
            ]},
        ],
    })
}

/// The limit of the body (`None`: as large as it likes), or the status that refuses the request.
pub(crate) fn find(host: &str, path: &str, method: &str) -> Result<Option<u64>, u16> {
    let host = host.to_ascii_lowercase();
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => &host,
    };
    let path = unescape(path);
    let mut wrong_method = false;
    let mut allowed = |methods: &[&str]| {
        let good = methods.contains(&method);
        wrong_method |= !good;
        good
    };
    let limit = Some(LIMIT);
    if host == "a.test"
        && (path == b"/exact" || path == b"/get" && allowed(&["GET", "HEAD"]) || path.starts_with(b"/a/"))
    {
        return Ok(limit);
    }
    if host.ends_with(".b.test") && path.starts_with(b"/") {
        return Ok(limit);
    }
    if path == b"/any" {
        return Ok(limit);
    }
    if path.starts_with(b"/small/") {
        return Ok(Some(1000));
    }
    if path.starts_with(b"/stream/") {
        return Ok(None);
    }
    if path.starts_with(b"/p%q/") || path == b"/put" && allowed(&["PUT", "PATCH", "DELETE"]) {
        return Ok(limit);
    }
    Err(if wrong_method { 405 } else { 404 })
}

fn unescape(path: &str) -> Vec<u8> {
    let bytes = path.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let digits = path.get(at + 1..at + 3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match digits {
            Some(digits) if bytes[at] == b'%' => {
                out.push(u8::from_str_radix(digits, 16).expect("two digits"));
                at += 3;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}
