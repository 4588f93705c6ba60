//! Redirects that the Proxy follows itself. Pure.
//!
//! Only to servers of the pool: an answer must not lead the gateway to whatever it can reach. Others go to the client.

use tidegate_http::{
    message::{Known, Method, RequestHead, Response},
    upstream::Endpoint,
};

/// Where an answer leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) number: usize,
    /// Below the server's own path.
    pub(super) path: Vec<u8>,
    pub(super) query: Vec<u8>,
    /// It is asked for with GET, without the body.
    pub(super) plain: bool,
}

/// `None`: nowhere that the Proxy goes. `from` is the server that answered.
pub(super) fn next<'a>(
    answer: &Response,
    from: usize,
    servers: impl Iterator<Item = &'a Endpoint> + Clone,
    head: &RequestHead,
) -> Option<Next> {
    let location = match answer.status {
        301 | 302 | 303 | 307 | 308 => answer.headers.text(Known::Location)?,
        _ => return None,
    };
    let location = location.split('#').next().unwrap_or_default();
    let (number, rest) = match location.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => {
            let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            let is = |endpoint: &Endpoint| endpoint.authority().eq_ignore_ascii_case(authority);
            // A server that is told the client's host names itself so.
            let itself = head.authority().eq_ignore_ascii_case(authority.as_bytes());
            let number = servers.clone().position(is).or(itself.then_some(from))?;
            (number, rest)
        }
        Some(_) => return None,
        None if location.starts_with('/') && !location.starts_with("//") => (from, location),
        None => return None,
    };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = path.strip_prefix(servers.clone().nth(number)?.base())?;
    let keeps = matches!(answer.status, 307 | 308) || matches!(head.method, Method::Get | Method::Head);
    Some(Next { number, path: path.as_bytes().to_vec(), query: query.as_bytes().to_vec(), plain: !keeps })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_servers_of_the_pool_are_gone_to() {
        let servers = ["http://127.0.0.1:81", "http://a.test:82/base"].map(|url| Endpoint::parse(url).unwrap());
        let check = |status: u16, location: &str, method: Method| {
            let mut head = RequestHead::default();
            head.method = method;
            head.headers.append("Host", b"client.test");
            next(&Response::new(status).with_header("Location", location), 0, servers.iter(), &head)
        };
        let to = |number: usize, path: &str, query: &str, plain: bool| {
            Some(Next { number, path: path.into(), query: query.into(), plain })
        };
        for (status, location, method, expected) in [
            (302, "/x?y=z#f", Method::Get, to(0, "/x", "y=z", false)),
            (301, "HTTP://A.test:82/base/x", Method::Head, to(1, "/x", "", false)),
            (302, "http://client.test/x", Method::Post, to(0, "/x", "", true)),
            (303, "/x", Method::Put, to(0, "/x", "", true)),
            (307, "/x", Method::Post, to(0, "/x", "", false)),
            (308, "http://127.0.0.1:81?q", Method::Get, to(0, "", "q", false)),
            (302, "http://a.test:82/other", Method::Get, None),
            (302, "http://169.254.169.254/latest", Method::Get, None),
            (302, "https://a.test:82/base/x", Method::Get, None),
            (302, "//a.test:82/base/x", Method::Get, None),
            (302, "x", Method::Get, None),
            (300, "/x", Method::Get, None),
            (304, "/x", Method::Get, None),
            (200, "/x", Method::Get, None),
        ] {
            assert_eq!(check(status, location, method), expected, "{status} {location}");
        }
        assert_eq!(next(&Response::new(302), 0, servers.iter(), &RequestHead::default()), None);
    }
}
