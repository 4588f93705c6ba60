//! What stands around a message: the head of a request, and the five bytes before each message.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Method, Response, StatusCode, header::CONTENT_TYPE, request};

use super::{
    metadata::PATH_MAX,
    status::{Code, GRPC_TYPE, Status},
};

/// Bytes before each message: a flag (compressed), and the length as four bytes, big end first.
pub const PREFIX_LEN: usize = 5;
/// Most bytes of an answer in one piece. What is produced beyond what the socket takes is this much a stream.
pub const CHUNK_MAX: usize = 32 << 10;

/// The prefix of a message of `len` bytes.
///
/// # Panics
/// Above 2³²−1 bytes, which no gRPC message can have.
pub fn prefix(len: usize) -> [u8; PREFIX_LEN] {
    let [a, b, c, d] = u32::try_from(len).expect("a message is shorter than 4 GiB").to_be_bytes();
    [0, a, b, c, d]
}

/// A message with its prefix in one buffer, encoded in place: `encode` must append exactly `len` bytes.
///
/// # Panics
/// When it appends another number of bytes.
pub fn framed(len: usize, encode: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::with_capacity(PREFIX_LEN + len);
    out.put_slice(&prefix(len));
    encode(&mut out);
    assert_eq!(out.len(), PREFIX_LEN + len, "the encoder announced another length");
    out.freeze()
}

/// Length of the message behind `prefix`.
pub(super) fn parse_prefix(prefix: [u8; PREFIX_LEN], message_max: usize) -> Result<usize, Status> {
    let [flag, a, b, c, d] = prefix;
    match flag {
        0 => {}
        1 => return Err(Status::COMPRESSED),
        _ => return Err(Status::new(Code::Internal, "grpc: malformed message prefix")),
    }
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    if len > message_max {
        let text = format!("grpc: received message larger than max ({len} vs. {message_max})");
        return Err(Status::new(Code::ResourceExhausted, text));
    }
    Ok(len)
}

/// `grpc-timeout`: at most eight digits and a unit.
fn timeout(value: &[u8]) -> Option<Duration> {
    let (&unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0u64, |n, digit| n * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// What the head of a request says about how to go on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Head {
    Call { timeout: Option<Duration> },
    Refused(Status),
    NotGrpc(StatusCode),
}

pub(crate) fn check_head(parts: &request::Parts) -> Head {
    if !is_grpc(&parts.headers) {
        return Head::NotGrpc(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    if parts.method != Method::POST {
        return Head::NotGrpc(StatusCode::METHOD_NOT_ALLOWED);
    }
    let encoding = parts.headers.get("grpc-encoding");
    if let Some(name) = encoding.filter(|name| name.as_bytes() != b"identity") {
        let name = String::from_utf8_lossy(name.as_bytes());
        let text = format!("grpc: Decompressor is not installed for grpc-encoding \"{name}\"");
        return Head::Refused(Status::new(Code::Unimplemented, text));
    }
    let path = parts.uri.path();
    if path.len() > PATH_MAX {
        return Head::Refused(Status::new(Code::Unimplemented, "malformed method name"));
    }
    let names = path.strip_prefix('/').and_then(|names| names.rsplit_once('/'));
    if names.is_none_or(|(service, method)| service.is_empty() || method.is_empty()) {
        return Head::Refused(Status::new(Code::Unimplemented, format!("malformed method name: \"{path}\"")));
    }
    match parts.headers.get("grpc-timeout") {
        None => Head::Call { timeout: None },
        Some(value) => match timeout(value.as_bytes()) {
            Some(timeout) => Head::Call { timeout: Some(timeout) },
            None => Head::Refused(Status::new(Code::Internal, "malformed grpc-timeout")),
        },
    }
}

/// `application/grpc`, alone or with a subtype or parameters.
fn is_grpc(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).map_or(&[][..], |value| value.as_bytes());
    let base = GRPC_TYPE;
    match value.split_at_checked(base.len()) {
        Some((start, rest)) => {
            start.eq_ignore_ascii_case(base.as_bytes()) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
        }
        None => false,
    }
}

/// The head before an answer.
pub(crate) fn answer_head() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert(CONTENT_TYPE, GRPC_TYPE);
    response
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn prefix_is_flag_and_big_endian_length() {
        assert_eq!(prefix(0x0102_0304), [0, 1, 2, 3, 4]);
        assert_eq!(parse_prefix([0, 0, 0, 1, 0], 256), Ok(256));
        let too_long = parse_prefix([0, 0, 0, 1, 1], 256).unwrap_err();
        assert_eq!(too_long.code, Code::ResourceExhausted);
        assert_eq!(too_long.message, "grpc: received message larger than max (257 vs. 256)");
        assert_eq!(parse_prefix([1, 0, 0, 0, 0], 256).unwrap_err().code, Code::Unimplemented);
        assert_eq!(parse_prefix([0x50, 0, 0, 0, 0], 256).unwrap_err().code, Code::Internal);
        assert_eq!(framed(2, |out| out.put_slice(b"ab")), &[0, 0, 0, 0, 2, b'a', b'b'][..]);
    }

    #[test]
    fn timeout_is_digits_and_a_unit() {
        let check = |text: &str, expected: Option<Duration>| assert_eq!(timeout(text.as_bytes()), expected, "{text}");
        check("1S", Some(Duration::from_secs(1)));
        check("99999999H", Some(Duration::from_secs(99_999_999 * 3600)));
        check("15M", Some(Duration::from_secs(900)));
        check("250m", Some(Duration::from_millis(250)));
        check("7u", Some(Duration::from_micros(7)));
        check("0n", Some(Duration::ZERO));
        for wrong in ["", "S", "1", "1s", "-1S", "+1S", "1.5S", "100000000S", "1 S", "\u{fc}S"] {
            check(wrong, None);
        }
    }

    #[test]
    fn heads_are_routed_by_type_method_encoding_and_path() {
        let call = |timeout| Head::Call { timeout };
        let check = |build: &[(&str, &str)], method: &str, path: &str, expected: Head| {
            let mut request = Request::builder().method(method).uri(path);
            for (name, value) in build {
                request = request.header(*name, *value);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(check_head(&parts), expected, "{build:?} {method} {path}");
        };
        let grpc = ("content-type", "application/grpc");
        let malformed =
            |path| Head::Refused(Status::new(Code::Unimplemented, format!("malformed method name: \"{path}\"")));
        check(&[grpc], "POST", "/a.B/C", call(None));
        check(&[("content-type", "Application/gRPC+proto")], "POST", "/a.B/C", call(None));
        check(&[("content-type", "application/grpc;x=1")], "POST", "/a.B/C", call(None));
        check(&[grpc, ("grpc-encoding", "identity")], "POST", "/a.B/C", call(None));
        check(&[grpc, ("grpc-timeout", "2S")], "POST", "/a.B/C", call(Some(Duration::from_secs(2))));
        check(&[], "POST", "/a.B/C", Head::NotGrpc(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        for other in ["application/grpc-web", "application/json", "application/grp"] {
            check(&[("content-type", other)], "POST", "/a.B/C", Head::NotGrpc(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        check(&[grpc], "GET", "/a.B/C", Head::NotGrpc(StatusCode::METHOD_NOT_ALLOWED));
        let gzip = "grpc: Decompressor is not installed for grpc-encoding \"gzip\"";
        let gzip = Head::Refused(Status::new(Code::Unimplemented, gzip));
        check(&[grpc, ("grpc-encoding", "gzip")], "POST", "/a.B/C", gzip);
        for path in ["/", "/a.B", "/a.B/", "//C", "*"] {
            check(&[grpc], "POST", path, malformed(path));
        }
        let timeout = Head::Refused(Status::new(Code::Internal, "malformed grpc-timeout"));
        check(&[grpc, ("grpc-timeout", "soon")], "POST", "/a.B/C", timeout);
    }
}
