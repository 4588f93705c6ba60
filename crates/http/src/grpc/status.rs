use std::{borrow::Cow, fmt};

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header::CONTENT_TYPE};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
pub(super) const GRPC_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// Most bytes of a status text on the wire: the rest of a longer one is cut. Header lists of clients are limited.
const MESSAGE_MAX: usize = 4 << 10;

/// Status codes of gRPC. Source: gRPC, "Status codes and their use".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Code {
    Ok,
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

impl Code {
    pub const COUNT: usize = 17;
    pub const ALL: [Code; Self::COUNT] = [
        Code::Ok,
        Code::Cancelled,
        Code::Unknown,
        Code::InvalidArgument,
        Code::DeadlineExceeded,
        Code::NotFound,
        Code::AlreadyExists,
        Code::PermissionDenied,
        Code::ResourceExhausted,
        Code::FailedPrecondition,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unimplemented,
        Code::Internal,
        Code::Unavailable,
        Code::DataLoss,
        Code::Unauthenticated,
    ];

    /// The code of a number; [`Code::Unknown`] for one that gRPC does not define.
    pub fn from_number(number: u32) -> Self {
        usize::try_from(number).ok().and_then(|i| Self::ALL.get(i).copied()).unwrap_or(Code::Unknown)
    }

    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Its name in metrics, as gRPC libraries spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Code::Ok => "OK",
            Code::Cancelled => "Canceled",
            Code::Unknown => "Unknown",
            Code::InvalidArgument => "InvalidArgument",
            Code::DeadlineExceeded => "DeadlineExceeded",
            Code::NotFound => "NotFound",
            Code::AlreadyExists => "AlreadyExists",
            Code::PermissionDenied => "PermissionDenied",
            Code::ResourceExhausted => "ResourceExhausted",
            Code::FailedPrecondition => "FailedPrecondition",
            Code::Aborted => "Aborted",
            Code::OutOfRange => "OutOfRange",
            Code::Unimplemented => "Unimplemented",
            Code::Internal => "Internal",
            Code::Unavailable => "Unavailable",
            Code::DataLoss => "DataLoss",
            Code::Unauthenticated => "Unauthenticated",
        }
    }

    fn header(self) -> HeaderValue {
        match self {
            Code::Ok => HeaderValue::from_static("0"),
            other => HeaderValue::from(u16::from(other.number())),
        }
    }
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub code: Code,
    pub message: Cow<'static, str>,
}

impl Status {
    pub const OK: Status = Status::fixed(Code::Ok, "");
    pub const TOO_MANY_REQUESTS: Status = Status::fixed(Code::ResourceExhausted, "etcdserver: too many requests");
    pub const DEADLINE_EXCEEDED: Status = Status::fixed(Code::DeadlineExceeded, "context deadline exceeded");
    pub const CANCELLED: Status = Status::fixed(Code::Cancelled, "context canceled");
    pub(crate) const CUT_SHORT: Status = Status::fixed(Code::Internal, "unexpected EOF");
    pub(crate) const COMPRESSED: Status =
        Status::fixed(Code::Unimplemented, "grpc: Decompressor is not installed for this grpc-encoding");
    pub(crate) const PANICKED: Status = Status::fixed(Code::Internal, "internal error");
    pub(crate) const UNANSWERED: Status = Status::fixed(Code::Internal, "the call ended without an answer");

    const fn fixed(code: Code, message: &'static str) -> Self {
        Self { code, message: Cow::Borrowed(message) }
    }

    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.message)
    }
}

impl std::error::Error for Status {}

/// Everything outside of printable ASCII, and `%`, as `%XX` of its UTF-8 bytes.
fn percent_encode(message: &str) -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = BytesMut::with_capacity(message.len().min(MESSAGE_MAX));
    for character in message.chars() {
        let mut utf8 = [0; 4];
        // Cut between characters, so that what is left decodes.
        if out.len() + 3 * character.len_utf8() > MESSAGE_MAX {
            break;
        }
        for &byte in character.encode_utf8(&mut utf8).as_bytes() {
            if (0x20..=0x7e).contains(&byte) && byte != b'%' {
                out.put_u8(byte);
            } else {
                out.put_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
    }
    HeaderValue::from_maybe_shared(out.freeze()).expect("only printable ASCII is left")
}

fn insert(headers: &mut HeaderMap, status: &Status) {
    headers.insert(GRPC_STATUS, status.code.header());
    if !status.message.is_empty() {
        headers.insert(GRPC_MESSAGE, percent_encode(&status.message));
    }
}

/// What follows an answer.
pub(crate) fn trailers(status: &Status) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(1);
    insert(&mut headers, status);
    headers
}

/// A status instead of an answer: one block of headers that ends the stream.
pub(crate) fn refusal(status: &Status) -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert(CONTENT_TYPE, GRPC_TYPE);
    insert(response.headers_mut(), status);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_percent_encoded_outside_of_printable_ascii() {
        let check = |text: &str, expected: &str| assert_eq!(percent_encode(text), expected, "{text:?}");
        check("", "");
        check("etcdserver: key is not provided", "etcdserver: key is not provided");
        check("100% \u{fc}ber\n~\u{7f}", "100%25 %C3%BCber%0A~%7F");
        check("\u{0}\u{1f600}", "%00%F0%9F%98%80");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let encoded = percent_encode(&"\u{fc}".repeat(4000));
        assert!(encoded.len() <= MESSAGE_MAX && encoded.len() > MESSAGE_MAX - 6);
        assert!(encoded.as_bytes().ends_with(b"%C3%BC"));
    }

    #[test]
    fn codes_have_the_numbers_of_the_protocol() {
        for (number, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(code.number()), number);
            assert_eq!(Code::from_number(u32::from(code.number())), code);
        }
        assert_eq!(Code::Unauthenticated.number(), 16);
        assert_eq!(Code::from_number(17), Code::Unknown);
        assert_eq!(Code::from_number(u32::MAX), Code::Unknown);
    }
}
