//! Where an upstream is.

use std::{
    fmt,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use rustls::pki_types::ServerName;

/// A server's URL, and the addresses its name stands for.
#[derive(Debug)]
pub struct Endpoint {
    /// Host and port as the URL has them: the `Host` header where the server's is wanted.
    authority: String,
    /// Path of the URL, put before each request's path as it is; without a `/` alone.
    base: String,
    literal: bool,
    /// What the server's certificate must be for; `None`: there is no TLS.
    tls_name: Option<ServerName<'static>>,
    protocol: Protocol,
    addresses: Arc<Addresses>,
}

/// What is spoken with a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    Http1,
    /// HTTP/2, also in the clear, where the server is to know it without being told.
    Http2,
    /// What a server of https chooses; HTTP/1.1 with others.
    Auto,
}

/// A host and a port, and the addresses they stand for. Endpoints of the same name can share it.
#[derive(Debug)]
pub struct Addresses {
    /// In lower case.
    host: String,
    port: u16,
    found: RwLock<Arc<[SocketAddr]>>,
    tried: AtomicBool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("\"{0}\" is no URL of a server: write http://HOST:PORT or https://HOST:PORT")]
    Malformed(String),
}

impl Endpoint {
    /// Reads `http://HOST[:PORT][/PATH]`, or the same with `https`. Does not look the name up.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        let wrong = || EndpointError::Malformed(url.to_owned());
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        let (secure, usual_port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (false, 80),
            "https" => (true, 443),
            _ => return Err(wrong()),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        let clean = path.bytes().all(|byte| byte > 0x20 && byte < 0x7f && !b"?#".contains(&byte));
        if authority.is_empty() || !authority.bytes().all(good) || !clean {
            return Err(wrong());
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') && !port.ends_with(']') => {
                (host, port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?)
            }
            _ => (authority, usual_port),
        };
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bracketed.unwrap_or(host);
        let literal = host.parse::<IpAddr>().ok();
        let is_v6 = literal.is_some_and(|ip| ip.is_ipv6());
        if host.is_empty() || is_v6 != bracketed.is_some() || (!is_v6 && host.contains([':', '[', ']'])) {
            return Err(wrong());
        }
        let tls_name =
            secure.then(|| ServerName::try_from(host.to_ascii_lowercase()).map_err(|_| wrong())).transpose()?;
        Ok(Self {
            tls_name,
            protocol: Protocol::default(),
            authority: authority.to_owned(),
            base: if path == "/" { String::new() } else { path.to_owned() },
            literal: literal.is_some(),
            addresses: Arc::new(Addresses {
                host: host.to_ascii_lowercase(),
                port,
                found: RwLock::new(literal.map(|ip| SocketAddr::new(ip, port)).into_iter().collect()),
                tried: AtomicBool::new(literal.is_some()),
            }),
        })
    }

    pub fn authority(&self) -> &str {
        &self.authority
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// What a call is made with. A WebSocket needs a connection of its own.
    pub(crate) fn protocol_of(&self, websocket: bool) -> Protocol {
        match self.protocol {
            Protocol::Auto if websocket || !self.is_secure() => Protocol::Http1,
            protocol => protocol,
        }
    }

    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// Whether the server is asked over TLS.
    pub fn is_secure(&self) -> bool {
        self.tls_name.is_some()
    }

    pub(crate) fn tls_name(&self) -> Option<&ServerName<'static>> {
        self.tls_name.as_ref()
    }

    /// Whether the URL has an address and not a name.
    pub fn is_literal(&self) -> bool {
        self.literal
    }

    pub fn addresses(&self) -> Arc<[SocketAddr]> {
        self.addresses.get()
    }

    pub fn shared(&self) -> &Arc<Addresses> {
        &self.addresses
    }

    /// Takes the addresses of another endpoint of this name for its own.
    pub fn share(&mut self, addresses: Arc<Addresses>) {
        debug_assert_eq!(self.addresses.name(), addresses.name());
        self.addresses = addresses;
    }

    /// Looks the name up and keeps what it finds; keeps the old addresses when nothing is found. Blocks: not for an I/O
    /// thread.
    ///
    /// # Errors
    /// What the system's resolver says.
    pub fn resolve(&self) -> std::io::Result<()> {
        if self.literal { Ok(()) } else { self.addresses.resolve() }
    }
}

impl Addresses {
    /// Host in lower case, and port.
    pub fn name(&self) -> (String, u16) {
        (self.host.clone(), self.port)
    }

    pub fn get(&self) -> Arc<[SocketAddr]> {
        Arc::clone(&self.found.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether it was looked up, with success or not.
    pub fn was_tried(&self) -> bool {
        self.tried.load(Ordering::Acquire)
    }

    /// As [`Endpoint::resolve`].
    ///
    /// # Errors
    /// As there.
    pub fn resolve(&self) -> std::io::Result<()> {
        let found = (self.host.as_str(), self.port).to_socket_addrs().map(Iterator::collect::<Arc<[SocketAddr]>>);
        if let Some(found) = found.as_ref().ok().filter(|found| !found.is_empty()) {
            *self.found.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(found);
        }
        self.tried.store(true, Ordering::Release);
        found.map(drop)
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_servers_are_read() {
        let check = |url: &str, authority: &str, base: &str, address: Option<&str>| {
            let endpoint = Endpoint::parse(url).unwrap();
            assert_eq!((endpoint.authority(), endpoint.base()), (authority, base), "{url}");
            let address = address.map(|address| address.parse().unwrap());
            assert_eq!(endpoint.addresses().first().copied(), address, "{url}");
        };
        check("http://127.0.0.1:9095", "127.0.0.1:9095", "", Some("127.0.0.1:9095"));
        check("HTTP://127.0.0.1/", "127.0.0.1", "", Some("127.0.0.1:80"));
        check("http://[::1]:8080/base/", "[::1]:8080", "/base/", Some("[::1]:8080"));
        check("http://[::1]", "[::1]", "", Some("[::1]:80"));
        check("http://backend.test:81/a", "backend.test:81", "/a", None);
        check("https://[::1]/a", "[::1]", "/a", Some("[::1]:443"));
        check("HTTPS://backend.test", "backend.test", "", None);
        assert!(Endpoint::parse("https://backend.test").unwrap().is_secure());
        assert!(!Endpoint::parse("http://backend.test").unwrap().is_secure());
    }

    #[test]
    fn what_is_no_url_of_a_server_is_refused() {
        for url in [
            "127.0.0.1:8888",
            "http://",
            "http:///x",
            "http://a b",
            "http://a:0",
            "http://a:99999",
            "http://a:x",
            "ftp://a",
            "http://u@a",
            "http://::1",
            "http://a/x?y",
            "http://a\r\n",
            "http://[a]:1:2",
            "https://a..b",
        ] {
            assert!(matches!(Endpoint::parse(url), Err(EndpointError::Malformed(_))), "{url}");
        }
    }
}
