//! Writes heads.

use std::{cell::RefCell, time::Duration};

use bytes::BytesMut;
use tidegate_base::{Moment, clock};

use super::relay::put_decimal;
use crate::message::{Headers, Known, Response, reason, text};

/// How a response's body is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Announce {
    Length(u64),
    Chunked,
    /// Nothing: there is no body, or it ends with the connection.
    Nothing,
}

impl Announce {
    pub(crate) const fn length(self) -> Option<u64> {
        match self {
            Announce::Length(bytes) => Some(bytes),
            Announce::Chunked | Announce::Nothing => None,
        }
    }
}

/// Writes the head of `response`.
pub(crate) fn response(out: &mut BytesMut, response: &Response, announce: Announce, connection: Option<&str>) {
    out.reserve(256 + response.headers.raw().len());
    out.extend_from_slice(b"HTTP/1.1 ");
    put_decimal(out, u64::from(response.status));
    out.extend_from_slice(b" ");
    out.extend_from_slice(reason(response.status).as_bytes());
    out.extend_from_slice(b"\r\n");
    let nominated = response.headers.get(Known::Connection).is_some();
    response.headers.write(out, |known, name| {
        known != Known::ContentLength
            && !known.is_hop_by_hop()
            && !(nominated && hop_by_hop(&response.headers, known, name))
    });
    if response.headers.get(Known::Date).is_none() {
        out.extend_from_slice(b"Date: ");
        put_date(out);
        out.extend_from_slice(b"\r\n");
    }
    match announce {
        Announce::Length(bytes) => {
            out.extend_from_slice(b"Content-Length: ");
            put_decimal(out, bytes);
            out.extend_from_slice(b"\r\n");
        }
        Announce::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Announce::Nothing => {}
    }
    if let Some(option) = connection {
        out.extend_from_slice(b"Connection: ");
        out.extend_from_slice(option.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the head of an answer that makes a WebSocket of the connection.
pub(crate) fn switching(out: &mut BytesMut, headers: &Headers) {
    out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n");
    let nominated = headers.get(Known::Connection).is_some();
    headers.write(out, |known, name| {
        known != Known::ContentLength && !known.is_hop_by_hop() && !(nominated && hop_by_hop(headers, known, name))
    });
    out.extend_from_slice(b"\r\n");
}

/// Whether the `Connection` header of this message names the header `name`. The names that carry the message itself stay,
/// whatever it says.
pub(crate) fn hop_by_hop(headers: &Headers, known: Known, name: &[u8]) -> bool {
    if matches!(known, Known::Host | Known::ContentLength | Known::ContentType | Known::XForwardedFor) {
        return false;
    }
    headers.all(Known::Connection).flat_map(text::members).any(|option| option.eq_ignore_ascii_case(name))
}

thread_local! {
    /// The date of this second. 29 bytes of text are made once a second, not once a response.
    static DATE: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

/// The date of now, as an HTTP date.
pub(crate) fn put_date(out: &mut BytesMut) {
    let now = clock::wall().as_secs();
    DATE.with_borrow_mut(|(second, text)| {
        if *second != now {
            (*second, *text) = (now, Moment::new(Duration::from_secs(now)).http());
        }
        out.extend_from_slice(text.as_bytes());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_the_connection_stay_behind() {
        let mut answer = Response::new(200)
            .with_header("X-Keep", "1")
            .with_header("Connection", "close, X-Drop")
            .with_header("x-drop", "1")
            .with_header("Keep-Alive", "timeout=5")
            .with_header("Content-Length", "77");
        answer.headers.append_known(Known::Date, b"now");
        let mut out = BytesMut::new();
        response(&mut out, &answer, Announce::Length(3), None);
        assert_eq!(&out[..], b"HTTP/1.1 200 OK\r\nX-Keep: 1\r\nDate: now\r\nContent-Length: 3\r\n\r\n");
    }
}
