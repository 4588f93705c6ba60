//! What spans say of requests and calls. Source: the semantic conventions of OpenTelemetry for HTTP, the stable ones.
//!
//! Queries are left out: tokens and passwords stand in them.

use std::net::{IpAddr, SocketAddr};

use tidegate_http::{
    message::{Known, Method, RequestHead, Version},
    upstream::Endpoint,
};

use crate::span::Value;

type Attributes = Vec<(&'static str, Value)>;

pub(crate) const STATUS: &str = "http.response.status_code";
pub(crate) const ERROR: &str = "error.type";

fn text(bytes: &[u8]) -> Value {
    Value::Text(String::from_utf8_lossy(bytes).into())
}

fn method(list: &mut Attributes, head: &RequestHead) {
    if head.method == Method::Other {
        list.push(("http.request.method", Value::Known("_OTHER")));
        list.push(("http.request.method_original", text(head.method_text())));
    } else {
        list.push(("http.request.method", Value::Known(head.method.as_str())));
    }
}

/// Of a request as it came. `client`: who sent it first, as far as that is known.
pub(crate) fn of_request(
    head: &RequestHead,
    client: Option<IpAddr>,
    peer: Option<SocketAddr>,
    secure: bool,
) -> Attributes {
    let mut list = Vec::with_capacity(12);
    method(&mut list, head);
    list.push(("url.path", text(head.path())));
    list.push(("url.scheme", Value::Known(if secure { "https" } else { "http" })));
    let (authority, host) = (head.authority(), head.host());
    if !host.is_empty() {
        list.push(("server.address", text(host)));
        let port = authority.get(host.len() + 1..).and_then(|port| std::str::from_utf8(port).ok()?.parse().ok());
        list.extend(port.map(|port: u16| ("server.port", Value::Number(port.into()))));
    }
    list.extend(client.map(|client| ("client.address", text(client.to_string().as_bytes()))));
    if let Some(peer) = peer {
        list.push(("network.peer.address", text(peer.ip().to_canonical().to_string().as_bytes())));
        list.push(("network.peer.port", Value::Number(peer.port().into())));
    }
    let version = match head.version {
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
        Version::Http2 => "2",
    };
    list.push(("network.protocol.version", Value::Known(version)));
    list.extend(head.headers.get(Known::UserAgent).map(|agent| ("user_agent.original", text(agent))));
    list
}

/// Of a call to a server.
pub(crate) fn of_call(head: &RequestHead, endpoint: &Endpoint, resend: u32) -> Attributes {
    let mut list = Vec::with_capacity(8);
    method(&mut list, head);
    let scheme = if endpoint.is_secure() { "https://" } else { "http://" };
    let url = [scheme.as_bytes(), endpoint.authority().as_bytes(), endpoint.base().as_bytes(), head.path()].concat();
    list.push(("url.full", text(&url)));
    let (host, port) = endpoint.shared().name();
    list.push(("server.address", Value::Text(host.into())));
    list.push(("server.port", Value::Number(port.into())));
    if resend > 0 {
        list.push(("http.request.resend_count", Value::Number(resend.into())));
    }
    list
}
