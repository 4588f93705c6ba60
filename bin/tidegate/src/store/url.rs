//! URLs to listen on and to advertise, as etcd reads them.

use std::{fmt, net::IpAddr, path::PathBuf};

/// Where to listen or whom to tell about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) text: String,
    pub(crate) address: Address,
    /// Its scheme asks for TLS.
    pub(crate) secure: bool,
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// URLs with commas between, sorted, each once.
///
/// # Errors
/// What etcd says about the first that is none.
pub(crate) fn parse_list(text: &str) -> Result<Vec<Url>, String> {
    let mut list = text.split(',').map(|url| parse(url.trim())).collect::<Result<Vec<_>, _>>()?;
    list.sort_by(|a, b| a.text.cmp(&b.text));
    list.dedup_by(|a, b| a.text == b.text);
    Ok(list)
}

fn parse(text: &str) -> Result<Url, String> {
    let (scheme, rest) = text.split_once(':').unwrap_or_default();
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let url = |address, secure| Ok(Url { text: text.to_owned(), address, secure });
    match scheme {
        "http" | "https" => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            let (host, port) =
                split(authority).ok_or_else(|| format!("URL address does not have the form \"host:port\": {text}"))?;
            if path.starts_with('/') {
                return Err(format!("URL must not contain a path: {text}"));
            }
            let number = if port.is_empty() { Some(0) } else { port.parse().ok() };
            let port = number.ok_or_else(|| format!("parse \"{text}\": invalid port \":{port}\" after host"))?;
            url(Address::Tcp { host: host.to_owned(), port }, scheme == "https")
        }
        // A name instead of a path is a file in the working directory.
        "unix" | "unixs" => url(Address::Unix(PathBuf::from(rest)), scheme == "unixs"),
        _ => Err(format!("URL scheme must be http, https, unix, or unixs: {text}")),
    }
}

/// Host and port, the host without the brackets of an IPv6 address.
fn split(authority: &str) -> Option<(&str, &str)> {
    let (host, port) = authority.rsplit_once(':')?;
    match host.strip_prefix('[') {
        Some(host) => Some((host.strip_suffix(']')?, port)),
        None => (!host.contains(':')).then_some((host, port)),
    }
}

impl Url {
    /// Whether one may listen there: a name could mean another machine tomorrow.
    pub(super) fn check_bind(&self) -> Result<(), String> {
        match &self.address {
            Address::Tcp { host, .. } if host != "localhost" && host.parse::<IpAddr>().is_err() => {
                Err(format!("expected IP in URL for binding ({self})"))
            }
            Address::Tcp { .. } | Address::Unix(_) => Ok(()),
        }
    }

    /// Whether others can be told to come there.
    pub(super) fn check_host(&self) -> Result<(), String> {
        match &self.address {
            Address::Tcp { host, .. } if host.is_empty() => Err(format!("unexpected empty host ({self})")),
            Address::Tcp { .. } | Address::Unix(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_etcd_does() {
        let tcp = |host: &str, port| Address::Tcp { host: host.to_owned(), port };
        for (text, address, secure) in [
            ("http://127.0.0.1:2379", tcp("127.0.0.1", 2379), false),
            ("https://[::1]:1", tcp("::1", 1), true),
            ("http://localhost:0", tcp("localhost", 0), false),
            ("unix:///tmp/x", Address::Unix("/tmp/x".into()), false),
            ("unix:/tmp/x", Address::Unix("/tmp/x".into()), false),
            ("unix://localhost:20001", Address::Unix("localhost:20001".into()), false),
            ("unixs://name", Address::Unix("name".into()), true),
        ] {
            assert_eq!(parse(text), Ok(Url { text: text.to_owned(), address, secure }));
        }
        for (text, why) in [
            ("bogus", "URL scheme must be http, https, unix, or unixs: bogus"),
            ("", "URL scheme must be http, https, unix, or unixs: "),
            ("ftp://a:1", "URL scheme must be http, https, unix, or unixs: ftp://a:1"),
            ("http://127.0.0.1", "URL address does not have the form \"host:port\": http://127.0.0.1"),
            ("http://::1:5", "URL address does not have the form \"host:port\": http://::1:5"),
            ("http://a:1/", "URL must not contain a path: http://a:1/"),
            ("http://a:x", "parse \"http://a:x\": invalid port \":x\" after host"),
        ] {
            assert_eq!(parse(text), Err(why.to_owned()));
        }
    }

    #[test]
    fn lists_are_sorted_and_name_each_once() {
        let texts = |list: Vec<Url>| list.into_iter().map(|url| url.text).collect::<Vec<_>>();
        let list = parse_list("http://b:1, http://a:1,http://b:1").unwrap();
        assert_eq!(texts(list), ["http://a:1", "http://b:1"]);
    }

    #[test]
    fn hosts_to_listen_on_are_addresses() {
        let bind = |text| parse(text).unwrap().check_bind();
        assert_eq!(bind("http://localhost:1"), Ok(()));
        assert_eq!(bind("unix://anything"), Ok(()));
        assert_eq!(
            bind("http://example.org:1"),
            Err("expected IP in URL for binding (http://example.org:1)".to_owned())
        );
        assert_eq!(parse("http://:1").unwrap().check_host(), Err("unexpected empty host (http://:1)".to_owned()));
    }
}
