//! How a call ended: gRPC's status out of headers and trailers, and errors of HTTP/2 in its terms.

use http::{HeaderMap, StatusCode};
use tidegate_api::{Code, Error};

/// The status that trailers carry, with the code as it came, which need not be that of the error's row; `None` when they
/// carry none.
pub(crate) fn from_trailers(trailers: &HeaderMap) -> Option<Result<(), (Code, Error)>> {
    let number = trailers.get("grpc-status")?;
    let number: Option<u8> = number.to_str().ok().and_then(|text| text.parse().ok());
    if number == Some(0) {
        return Some(Ok(()));
    }
    let text = trailers.get("grpc-message").map(|text| percent_decoded(text.as_bytes())).unwrap_or_default();
    let code = number.and_then(Code::from_number).unwrap_or(Code::Unknown);
    Some(Err((code, Error::from_wire(code, &text))))
}

/// An answer that is not gRPC's.
pub(crate) fn from_http(status: StatusCode) -> Error {
    let code = match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502..=504 => Code::Unavailable,
        _ => Code::Unknown,
    };
    Error::other(code, format!("unexpected HTTP status {status}"))
}

pub(crate) fn from_h2(error: &h2::Error) -> Error {
    let code = match error.reason() {
        _ if error.is_io() || error.is_go_away() => Code::Unavailable,
        Some(h2::Reason::REFUSED_STREAM) => Code::Unavailable,
        Some(h2::Reason::CANCEL) => Code::Canceled,
        Some(h2::Reason::ENHANCE_YOUR_CALM) => Code::ResourceExhausted,
        Some(h2::Reason::INADEQUATE_SECURITY) => Code::PermissionDenied,
        Some(_) => Code::Internal,
        None => Code::Unavailable,
    };
    Error::other(code, format!("connection: {error}"))
}

/// Whether a failed attempt certainly never reached the service, so that even a write may be repeated.
pub(crate) fn refused(error: &h2::Error) -> bool {
    error.reason() == Some(h2::Reason::REFUSED_STREAM) && error.is_reset()
}

fn percent_decoded(raw: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((first, behind)) = rest.split_first() {
        let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        rest = match (first, behind) {
            (b'%', [high, low, behind @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                bytes.push(hex(*high).unwrap_or_default() << 4 | hex(*low).unwrap_or_default());
                behind
            }
            _ => {
                bytes.push(*first);
                behind
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_percent_decoded() {
        for (raw, text) in [
            ("plain", "plain"),
            ("100%25 %C3%BCber%0A", "100% über\n"),
            ("cut %2", "cut %2"),
            ("no hex %zz", "no hex %zz"),
            ("%", "%"),
        ] {
            assert_eq!(percent_decoded(raw.as_bytes()), text);
        }
    }

    #[test]
    fn trailers_become_rows_of_the_catalogue() {
        let trailers = |status: &str, message: &str| {
            let mut map = HeaderMap::new();
            map.insert("grpc-status", status.parse().unwrap());
            map.insert("grpc-message", message.parse().unwrap());
            map
        };
        assert_eq!(from_trailers(&HeaderMap::new()), None);
        assert_eq!(from_trailers(&trailers("0", "")), Some(Ok(())));
        let compacted = "etcdserver: mvcc: required revision has been compacted";
        assert_eq!(from_trailers(&trailers("11", compacted)), Some(Err((Code::OutOfRange, Error::Compacted))));
        assert_eq!(from_trailers(&trailers("2", compacted)), Some(Err((Code::Unknown, Error::Compacted))));
        assert_eq!(from_trailers(&trailers("x", "y")), Some(Err((Code::Unknown, Error::other(Code::Unknown, "y")))));
        assert_eq!(from_trailers(&trailers("77", "y")), Some(Err((Code::Unknown, Error::other(Code::Unknown, "y")))));
    }
}
