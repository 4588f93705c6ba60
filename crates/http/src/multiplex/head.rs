//! Heads: of `http`'s types towards `h2`, and ours behind them.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use tidegate_base::clock;

use crate::{
    h1::{Decoder, HeadError, hop_by_hop, put_date},
    message::{Known, Method, RequestHead, Response, Span, Version, text},
};

/// What a request's head says about the body behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Framing {
    pub(super) decoder: Decoder,
    pub(super) expects_continue: bool,
}

const fn malformed(what: &'static str) -> HeadError {
    HeadError::Malformed(what)
}

/// Writes `parts` into `head`. `ended`: there is no body. What `h2` has refused already: pseudo-headers that are missing,
/// repeated or behind others, upper-case names, headers of the connection (RFC 9113, 8.2.2), and lengths that contradict each
/// other or the body.
pub(super) fn request(
    parts: &Parts,
    ended: bool,
    headers_max: usize,
    head: &mut RequestHead,
) -> Result<Framing, HeadError> {
    head.clear();
    head.version = Version::Http2;
    // The crumbs of a cookie are one header.
    let crumbs = parts.headers.get_all(header::COOKIE).iter().count();
    if parts.headers.len() - crumbs.saturating_sub(1) > headers_max {
        return Err(HeadError::TooManyHeaders);
    }
    let method = parts.method.as_str().as_bytes();
    head.method = Method::of(method);
    let host = host(parts)?;
    target(parts, method, host, head)?;
    // Towards everybody who looks for it, the authority is the Host.
    head.headers.push(Known::Host, b"host", host);
    let mut framing =
        Framing { decoder: if ended { Decoder::Done } else { Decoder::UntilClose }, expects_continue: false };
    let mut crumbs = parts.headers.get_all(header::COOKIE).iter();
    let (first, rest) = (crumbs.next(), crumbs.next().is_some());
    for (name, value) in &parts.headers {
        let (known, value) = (Known::of(name.as_str().as_bytes()), text::trim(value.as_bytes()));
        match known {
            Known::Host => continue,
            Known::ContentLength => {
                let length = text::number(value).filter(|length| *length <= i64::MAX as u64);
                let length = length.ok_or(malformed("the Content-Length is no length"))?;
                if head.headers.get(Known::ContentLength).is_some() {
                    continue; // the same once more
                }
                if !ended {
                    framing.decoder = Decoder::length(length);
                }
            }
            Known::Expect if value.eq_ignore_ascii_case(b"100-continue") => framing.expects_continue = true,
            Known::Expect => return Err(HeadError::Expectation),
            Known::Cookie if rest => continue,
            _ => {}
        }
        head.headers.push(known, name.as_str().as_bytes(), value);
    }
    if rest && first.is_some() {
        // A client may cut its cookies into crumbs, so that they compress better (RFC 9113, 8.2.3).
        let crumbs: Vec<&[u8]> = parts.headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
        head.headers.push(Known::Cookie, b"cookie", &crumbs.join(&b"; "[..]));
    }
    framing.expects_continue &= !framing.decoder.is_done();
    Ok(framing)
}

/// Host and port that the request names: the pseudo-header wins (RFC 9113, 8.3.1).
fn host(parts: &Parts) -> Result<&[u8], HeadError> {
    let mut named = parts.headers.get_all(header::HOST).iter();
    let host = match (parts.uri.authority(), named.next(), named.next()) {
        (_, _, Some(_)) => return Err(malformed("there are several Hosts")),
        (Some(authority), _, None) => authority.as_str().as_bytes(),
        (None, Some(host), None) => host.as_bytes(),
        (None, None, None) => return Err(malformed("there is no authority")),
    };
    if host.is_empty() || !text::is_authority(host) {
        return Err(malformed("the authority is no host"));
    }
    Ok(host)
}

/// Writes the request line as HTTP/1.1 would have it, with an absolute target: method, scheme, authority, path and query.
fn target(parts: &Parts, method: &[u8], host: &[u8], head: &mut RequestHead) -> Result<(), HeadError> {
    let scheme = match parts.uri.scheme_str() {
        Some("http") => &b"http"[..],
        _ => b"https",
    };
    let path = match parts.uri.path_and_query() {
        Some(path) => path.as_str().as_bytes(),
        None => b"",
    };
    let good = match (head.method, path) {
        (Method::Connect, _) => true,
        (Method::Options, b"*") => true,
        (_, path) => path.first() == Some(&b'/') && text::is_target(path),
    };
    if !good {
        return Err(malformed("the path is malformed"));
    }
    let path = if head.method == Method::Connect { b"" } else { path };
    head.headers.begin(&[method, b" ", scheme, b"://", host, path, b" HTTP/2.0\r\n"]);
    head.method_at = span(0, method.len());
    let host_start = method.len() + 1 + scheme.len() + 3;
    head.authority_at = span(host_start, host.len());
    if head.method == Method::Connect {
        head.path_at = head.authority_at;
        return Ok(());
    }
    let start = host_start + host.len();
    let mark = memchr::memchr(b'?', path).unwrap_or(path.len());
    head.path_at = span(start, mark);
    if mark < path.len() {
        head.query_at = span(start + mark + 1, path.len() - mark - 1);
    }
    Ok(())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a head is bounded by the header list that h2 takes, 64 KiB at most"
)]
const fn span(start: usize, len: usize) -> Span {
    Span { start: start as u32, len: len as u32 }
}

/// The head of `response`, and its bytes before compression. `announced`: the length that its headers tell.
pub(super) fn response(response: &Response, announced: Option<u64>) -> (http::Response<()>, u64) {
    let mut out = http::Response::new(());
    *out.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let list = &response.headers;
    let mut headers = HeaderMap::with_capacity(list.len() + 2);
    let nominated = list.get(Known::Connection).is_some();
    // One copy that all values share.
    let raw = Bytes::copy_from_slice(list.raw());
    let (mut bytes, mut dated) = (16, false);
    for (known, name, value, at) in list.entries() {
        let ours = known == Known::ContentLength || known.is_hop_by_hop();
        if ours || (nominated && hop_by_hop(list, known, name)) {
            continue;
        }
        // Both were checked when they were received or set; what no header can be is left out.
        let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_maybe_shared(raw.slice(at..at + value.len())))
        else {
            continue;
        };
        dated |= known == Known::Date;
        bytes += name.as_str().len() + value.len() + 4;
        headers.append(name, value);
    }
    if !dated {
        headers.append(header::DATE, date());
        bytes += 35;
    }
    if let Some(length) = announced {
        headers.append(header::CONTENT_LENGTH, HeaderValue::from(length));
        bytes += 24;
    }
    *out.headers_mut() = headers;
    (out, bytes as u64)
}

thread_local! {
    /// The date of this second, made once a second.
    static DATE: RefCell<(u64, HeaderValue)> = const { RefCell::new((u64::MAX, HeaderValue::from_static(""))) };
}

fn date() -> HeaderValue {
    let now = clock::wall().as_secs();
    DATE.with_borrow_mut(|(second, value)| {
        if *second != now {
            let mut text = BytesMut::new();
            put_date(&mut text);
            if let Ok(made) = HeaderValue::from_maybe_shared(text.freeze()) {
                (*second, *value) = (now, made);
            }
        }
        value.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(build: http::request::Builder, ended: bool) -> Result<(RequestHead, Framing), HeadError> {
        let (parts, ()) = build.body(()).unwrap().into_parts();
        let mut head = RequestHead::default();
        request(&parts, ended, 5, &mut head).map(|framing| (head, framing))
    }

    fn get(uri: &str) -> http::request::Builder {
        http::Request::builder().uri(uri)
    }

    #[test]
    fn a_request_is_what_it_would_be_in_http1() {
        let build =
            get("https://a.test:1/p/q?x=1&y").header("cookie", "a=1").header("x-a", " 1 ").header("cookie", "b=2");
        let (mut head, framing) = read(build.header("host", "other"), true).unwrap();
        assert_eq!((head.method, head.version, framing.decoder), (Method::Get, Version::Http2, Decoder::Done));
        assert_eq!((head.path(), head.query(), head.scheme()), (&b"/p/q"[..], &b"x=1&y"[..], None));
        assert_eq!((head.authority(), head.host()), (&b"a.test:1"[..], &b"a.test"[..]));
        assert_eq!(head.headers.matching("host").collect::<Vec<_>>(), [b"a.test:1"]);
        assert_eq!(head.headers.matching("cookie").collect::<Vec<_>>(), [b"a=1; b=2"]);
        assert_eq!(head.headers.find("X-A"), Some(&b"1"[..]));
        head.set_authority(b"b.test");
        assert_eq!(head.authority(), b"b.test");
    }

    #[test]
    fn crumbs_of_a_cookie_are_one_header() {
        let crumbs = (0..300).fold(get("http://a/"), |build, _| build.header("cookie", "a=1"));
        assert!(read(crumbs, true).is_ok());
        let names = (0..300).fold(get("http://a/"), |build, number| build.header(format!("x-{number}"), "1"));
        assert_eq!(read(names, true).err(), Some(HeadError::TooManyHeaders));
    }

    #[test]
    fn a_body_is_framed_by_its_length_or_its_end() {
        let decoder = |build, ended| read(build, ended).map(|(_, framing)| framing.decoder);
        assert_eq!(decoder(get("http://a/"), false), Ok(Decoder::UntilClose));
        assert_eq!(decoder(get("http://a/").header("content-length", "7"), false), Ok(Decoder::Length(7)));
        assert_eq!(decoder(get("http://a/").header("content-length", "0"), true), Ok(Decoder::Done));
        let twice = get("http://a/").header("content-length", "7").header("content-length", "7");
        let (head, _) = read(twice, false).unwrap();
        assert_eq!(head.headers.matching("content-length").count(), 1);
        assert!(read(get("http://a/").header("expect", "100-continue"), false).unwrap().1.expects_continue);
    }

    #[test]
    fn what_cannot_be_a_request_is_refused() {
        let status = |build| read(build, true).map(|_| ()).unwrap_err().status();
        assert_eq!(status(get("/")), 400, "no authority");
        assert_eq!(status(get("/").header("host", "a").header("host", "b")), 400);
        assert_eq!(status(get("/").header("host", "a/b")), 400);
        assert_eq!(status(get("*").header("host", "a")), 400, "only OPTIONS asks about the server");
        assert_eq!(status(get("http://a/").header("expect", "more")), 417);
        assert_eq!(status(get("http://a/").header("content-length", "+1")), 400);
        let many = (0..6).fold(get("http://a/"), |build, number| build.header(format!("x-{number}"), "1"));
        assert_eq!(status(many), 431);
        assert!(read(get("*").method("OPTIONS").header("host", "a"), true).is_ok());
    }

    #[test]
    fn headers_of_the_connection_stay_behind() {
        let mut answer = Response::new(200)
            .with_header("X-Keep", "1")
            .with_header("Connection", "close, X-Drop")
            .with_header("x-drop", "1")
            .with_header("Transfer-Encoding", "chunked")
            .with_header("Content-Length", "77");
        answer.headers.append_known(Known::Date, b"now");
        let (head, _) = response(&answer, Some(3));
        let list: Vec<_> =
            head.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(list, [("x-keep", "1"), ("date", "now"), ("content-length", "3")]);
    }
}
