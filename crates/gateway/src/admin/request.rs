//! A request, as the connection hands it over.

use std::net::IpAddr;

use bytes::Bytes;

/// Largest body: a spec is one value in the store, whose requests end at 1.5 MiB.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// What the API looks at. Headers that are absent are empty. It has no `Debug`: it holds secrets.
#[derive(Clone, Default)]
pub struct AdminRequest {
    pub method: String,
    /// As it stands in the request line, without the query.
    pub path: String,
    pub query: String,
    pub content_type: String,
    pub accept: String,
    pub origin: String,
    pub host: String,
    /// A secret.
    pub authorization: String,
    /// Whether the connection has a client certificate that was verified.
    pub certificate: bool,
    /// At most [`BODY_BYTES_MAX`]; whoever reads it holds a lease for it.
    pub body: Bytes,
    /// Address of the client, for the audit log.
    pub peer: String,
}

impl AdminRequest {
    /// Value of a parameter of the query; empty for one without a value.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        self.query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key, true)? == name).then(|| decode(value, true)).flatten()
        })
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.parameter(name).is_some_and(|value| value == "true")
    }

    pub(super) fn says_json(&self) -> bool {
        self.content_type.to_ascii_lowercase().contains("json")
    }

    pub(super) fn wants_yaml(&self) -> bool {
        self.accept.to_ascii_lowercase().contains("yaml")
    }

    /// Whether a page of another site sent it.
    pub(super) fn is_foreign(&self) -> bool {
        let host = self.origin.split_once("://").map_or("", |(_, host)| host);
        !self.origin.is_empty() && !host.eq_ignore_ascii_case(&self.host)
    }

    /// Whether its host is an address or `localhost`, or it is too old to name one.
    pub(super) fn is_for_this_machine(&self) -> bool {
        let host = match self.host.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => &self.host,
        };
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bracketed.unwrap_or(host);
        host.is_empty() || host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
    }
}

/// Undoes percent encoding, and in a query the plus; `None` for what is no UTF-8 or cut.
pub(super) fn decode(text: &str, query: bool) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                digit()? << 4 | digit()?
            }
            b'+' if query => b' ',
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_this_machine_are_addresses_and_localhost() {
        let check =
            |host: &str| AdminRequest { host: host.to_owned(), ..AdminRequest::default() }.is_for_this_machine();
        for host in
            ["", "localhost", "LocalHost:2381", "127.0.0.1", "127.0.0.1:2381", "[::1]", "[::1]:2381", "10.0.0.1:1"]
        {
            assert!(check(host), "{host}");
        }
        for host in ["evil.test", "evil.test:2381", "localhost.evil.test", "127.0.0.1.evil.test:1", ":x", "[evil]:1"] {
            assert!(!check(host), "{host}");
        }
    }
}
