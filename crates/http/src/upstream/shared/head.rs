//! Heads: ours as `h2` wants them, and those of servers as ours.

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method as HttpMethod, Uri, header,
    uri::{Authority, PathAndQuery, Scheme},
};

use crate::{
    h1::{Decoder, HeadError, ResponseHead, hop_by_hop},
    message::{Headers, Known, Length, Method, RequestHead, text},
    upstream::send::{HEAD, Outgoing, SendError, wants_length},
};

/// The head that goes to the server, by the rules of HTTP/1.1's.
pub(crate) fn request(head: &RequestHead, out: &Outgoing<'_>, length: Length) -> Result<http::Request<()>, SendError> {
    let mut request = http::Request::new(());
    *request.method_mut() = HttpMethod::from_bytes(head.method_text()).map_err(|_| SendError::Unsayable("method"))?;
    *request.uri_mut() = uri(head, out)?;
    let list = &head.headers;
    let mut headers = HeaderMap::with_capacity(list.len() + 1);
    let nominated = list.get(Known::Connection).is_some();
    // One copy that all values share.
    let raw = Bytes::copy_from_slice(list.raw());
    for (known, name, value, at) in list.entries() {
        let ours = matches!(known, Known::Host | Known::ContentLength | Known::Expect) || known.is_hop_by_hop();
        if ours || (nominated && hop_by_hop(list, known, name)) {
            continue;
        }
        let name = HeaderName::from_bytes(name).map_err(|_| SendError::Unsayable("header"))?;
        let value = HeaderValue::from_maybe_shared(raw.slice(at..at + value.len()));
        headers.append(name, value.map_err(|_| SendError::Unsayable("header"))?);
    }
    match length {
        Length::Known(0) if list.get(Known::ContentLength).is_none() && !wants_length(head.method) => {}
        Length::Known(bytes) => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
        }
        Length::Unknown => {}
    }
    *request.headers_mut() = headers;
    Ok(request)
}

fn uri(head: &RequestHead, out: &Outgoing<'_>) -> Result<Uri, SendError> {
    let authority = match out.host {
        Some(host) => host.as_bytes(),
        None if head.authority().is_empty() => out.endpoint.authority().as_bytes(),
        None => head.authority(),
    };
    let mut target = BytesMut::new();
    // `*` asks about the server as a whole and has no place below a path.
    if head.path() != b"*" {
        target.extend_from_slice(out.endpoint.base().as_bytes());
    }
    put(&mut target, head.path());
    if !head.query().is_empty() {
        target.extend_from_slice(b"?");
        put(&mut target, head.query());
    }
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(if out.endpoint.is_secure() { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(Authority::try_from(authority).map_err(|_| SendError::Unsayable("authority"))?);
    let target = PathAndQuery::from_maybe_shared(target.freeze());
    parts.path_and_query = Some(target.map_err(|_| SendError::Unsayable("target"))?);
    Uri::from_parts(parts).map_err(|_| SendError::Unsayable("target"))
}

/// Adds a part of a target. What `http` takes for no part of one, and clients send all the same, is escaped.
fn put(target: &mut BytesMut, part: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in part {
        match byte {
            b'<' | b'>' | b'`' | b'#' | 0..=b' ' | 0x7f.. => {
                target.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => target.extend_from_slice(&[*byte]),
        }
    }
}

/// Writes a server's head into `headers`. `ended`: there is no body. That its length is told once, and is that of the body, is seen to
/// by `h2`.
pub(super) fn response(
    parts: &http::response::Parts,
    ended: bool,
    method: Method,
    headers: &mut Headers,
) -> Result<ResponseHead, HeadError> {
    headers.begin(&[b"HTTP/2.0 ", parts.status.as_str().as_bytes(), b"\r\n"]);
    if parts.headers.len() > HEAD.headers_max {
        return Err(HeadError::TooManyHeaders);
    }
    let status = parts.status.as_u16();
    let mut length = None;
    for (name, value) in &parts.headers {
        let (known, value) = (Known::of(name.as_str().as_bytes()), text::trim(value.as_bytes()));
        if !text::is_value(value) {
            return Err(HeadError::Malformed("a header's value is malformed"));
        }
        if known == Known::ContentLength {
            let number = text::number(value).filter(|length| *length <= i64::MAX as u64);
            let number = number.ok_or(HeadError::Malformed("the Content-Length is no length"))?;
            if length.replace(number).is_some() {
                return Err(HeadError::Malformed("there are several Content-Lengths"));
            }
        }
        headers.push(known, name.as_str().as_bytes(), value);
    }
    let none = method == Method::Head || matches!(status, 204 | 304);
    let decoder = match (none || ended, length) {
        (true, _) => Decoder::Done,
        (false, Some(length)) => Decoder::length(length),
        (false, None) => Decoder::UntilClose,
    };
    Ok(ResponseHead { status, decoder, length, keep_alive: true })
}
