//! Endpoints as people write them.

use crate::ConfigError;

/// `host:port` of an endpoint.
pub(crate) fn parse(endpoint: &str) -> Result<String, ConfigError> {
    let wrong = || ConfigError::Endpoint(endpoint.to_owned());
    if endpoint.starts_with("https://") || endpoint.starts_with("unixs://") {
        return Err(ConfigError::Tls(endpoint.to_owned()));
    }
    let address = endpoint.strip_prefix("http://").unwrap_or(endpoint);
    let address = address.strip_suffix('/').unwrap_or(address);
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    // The address also becomes the authority of each request.
    let authority: Result<http::uri::Authority, _> = address.parse();
    if host.is_empty() || port.parse::<u16>().is_err() || authority.is_err() {
        return Err(wrong());
    }
    Ok(address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_become_addresses() {
        for (endpoint, expected) in [
            ("http://127.0.0.1:2379", Some("127.0.0.1:2379")),
            ("http://localhost:1/", Some("localhost:1")),
            ("10.0.0.1:80", Some("10.0.0.1:80")),
            ("http://[::1]:2379", Some("[::1]:2379")),
            ("http://127.0.0.1", None),
            ("http://:2379", None),
            ("a b:1", None),
            ("host:99999", None),
            ("", None),
        ] {
            assert_eq!(parse(endpoint).ok().as_deref(), expected, "{endpoint}");
        }
        assert_eq!(parse("https://h:1"), Err(ConfigError::Tls("https://h:1".to_owned())));
    }
}
