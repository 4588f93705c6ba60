//! Variables that have one name.

use tidegate_base::Moment;
use tidegate_http::{
    message::{Known, Length, RequestHead, Version},
    tls::base64,
};

use super::Source;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plain {
    Method,
    RequestUri,
    Uri,
    Request,
    Scheme,
    Query,
    Host,
    HttpHost,
    RemoteAddr,
    RemoteUser,
    ForwardedFor,
    Iso8601,
    Local,
    Msec,
    ContentType,
    ContentLength,
    Protocol,
    RequestTime,
    RequestLength,
}

pub(super) const PLAIN: &[(&str, Plain)] = &[
    ("args", Plain::Query),
    ("content_length", Plain::ContentLength),
    ("content_type", Plain::ContentType),
    ("host", Plain::Host),
    ("hostname", Plain::Host),
    ("http_host", Plain::HttpHost),
    ("msec", Plain::Msec),
    ("proxy_add_x_forwarded_for", Plain::ForwardedFor),
    ("query_string", Plain::Query),
    ("remote_addr", Plain::RemoteAddr),
    ("remote_user", Plain::RemoteUser),
    ("request", Plain::Request),
    ("request_length", Plain::RequestLength),
    ("request_method", Plain::Method),
    ("request_time", Plain::RequestTime),
    ("request_uri", Plain::RequestUri),
    ("scheme", Plain::Scheme),
    ("server_name", Plain::Host),
    ("server_protocol", Plain::Protocol),
    ("time_iso8601", Plain::Iso8601),
    ("time_local", Plain::Local),
    ("uri", Plain::Uri),
];

impl Plain {
    pub(super) fn fill(self, source: &Source<'_>, out: &mut Vec<u8>) {
        let head = source.exchange.head();
        let protocol = match head.version {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
            Version::Http2 => "HTTP/2.0",
        };
        let mut text = |text: &str| out.extend_from_slice(text.as_bytes());
        let client = || source.client.map(|address| address.to_string()).unwrap_or_default();
        match self {
            Self::Protocol => text(protocol),
            Self::Scheme => text(source.exchange.scheme()),
            Self::RemoteAddr => text(&client()),
            Self::Iso8601 => text(&(Moment::new(source.wall).date_time() + "+00:00")),
            Self::Local => text(&Moment::new(source.wall).local()),
            Self::Msec => text(&format!("{}.{:03}", source.wall.as_secs(), source.wall.subsec_millis())),
            // The headers are set when the request comes.
            Self::RequestTime => text("0.000"),
            Self::RequestLength => {
                let body = match source.exchange.body_length() {
                    Length::Known(bytes) => bytes,
                    Length::Unknown => 0,
                };
                text(&(source.exchange.received_bytes() + body).to_string());
            }
            Self::ForwardedFor => {
                let list = head.headers.get(Known::XForwardedFor).unwrap_or_default();
                let client = client();
                let comma: &[u8] = if list.is_empty() || client.is_empty() { b"" } else { b", " };
                out.extend_from_slice(&[list, comma, client.as_bytes()].concat());
            }
            Self::Method => out.extend_from_slice(head.method_text()),
            Self::RequestUri => out.extend_from_slice(&uri(head)),
            Self::Uri => out.extend_from_slice(source.path),
            Self::Request => {
                out.extend_from_slice(&[head.method_text(), b" ", &uri(head), b" ", protocol.as_bytes()].concat());
            }
            Self::Query => out.extend_from_slice(head.query()),
            Self::Host => out.extend_from_slice(head.host()),
            Self::HttpHost => out.extend_from_slice(head.authority()),
            Self::RemoteUser => out.extend_from_slice(&user(head).unwrap_or_default()),
            Self::ContentType => out.extend_from_slice(head.headers.get(Known::ContentType).unwrap_or_default()),
            Self::ContentLength => out.extend_from_slice(head.headers.get(Known::ContentLength).unwrap_or_default()),
        }
    }
}

/// Path and query as they came.
pub(crate) fn uri(head: &RequestHead) -> Vec<u8> {
    let mark: &[u8] = if head.query().is_empty() { b"" } else { b"?" };
    [head.path(), mark, head.query()].concat()
}

/// User of basic authentication (RFC 7617).
fn user(head: &RequestHead) -> Option<Vec<u8>> {
    let (scheme, text) = head.headers.text(Known::Authorization)?.split_once(' ')?;
    let decoded = scheme.eq_ignore_ascii_case("basic").then(|| base64(text.trim()))??;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some(decoded[..colon].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_sorted_and_unique() {
        assert!(PLAIN.is_sorted_by(|a, b| a.0 < b.0));
    }
}
