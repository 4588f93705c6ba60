//! Redirects that the proxy follows itself.

use serde_json::json;

use super::{
    Gateway, body, status,
    upstream::{Then, upstream},
};

/// Answers `/STATUS/REST` with that status and the location `/REST`, anything else with what it received.
fn gateway(redirects: u32) -> Gateway {
    let address = upstream(|received| {
        let path = received.line.split(' ').nth(1).unwrap();
        let mut parts = path.splitn(3, '/').skip(1);
        let text = match (parts.next(), parts.next()) {
            (Some(status), Some(rest)) if status.starts_with('3') => {
                format!("HTTP/1.1 {status} Go\r\nLocation: /{rest}\r\nContent-Length: 2\r\n\r\ngo")
            }
            (Some("loop"), _) => "HTTP/1.1 302 Go\r\nLocation: /loop\r\nContent-Length: 2\r\n\r\ngo".to_owned(),
            (Some("away"), _) => {
                "HTTP/1.1 302 Go\r\nLocation: http://127.0.0.1:1/x\r\nContent-Length: 2\r\n\r\ngo".to_owned()
            }
            _ => {
                let kind = received.headers.iter().any(|line| line.starts_with("content-type"));
                let text = format!("{} [{}] {kind}", received.line, received.body);
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())
            }
        };
        (text, Then::Keep)
    });
    let pools = json!([{"servers": [{"url": format!("http://{address}")}]}]);
    Gateway::with_filter(json!({"name": "proxy", "kind": "Proxy", "pools": pools, "maxRedirection": redirects}))
}

fn post(gateway: &Gateway, path: &str) -> String {
    let head = "Host: h\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";
    gateway.ask(&format!("POST {path} HTTP/1.1\r\n{head}"))
}

#[test]
fn redirects_are_followed_as_far_as_the_spec_says() {
    let two = gateway(2);
    assert_eq!(body(&post(&two, "/302/x")), "GET /x HTTP/1.1 [] false");
    assert_eq!(body(&post(&two, "/307/x")), "POST /x HTTP/1.1 [hello] true");
    assert_eq!(body(&post(&two, "/308/303/x?a=1")), "GET /x?a=1 HTTP/1.1 [] false");
    let third = post(&two, "/302/302/302/x");
    assert!(status(&third) == 302 && third.contains("\r\nLocation: /x\r\n") && body(&third) == "go", "{third}");
    assert_eq!(status(&post(&two, "/loop/")), 302, "a circle ends");
    assert_eq!(status(&post(&two, "/away/")), 302, "other servers are for the client to go to");
    assert_eq!(status(&post(&gateway(0), "/302/x")), 302);
}
