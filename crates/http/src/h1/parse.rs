//! Reads complete heads. Strict where leniency lets two readers see two messages (request smuggling).

use memchr::memchr;
use tidegate_base::planted::{Fault, is_planted};

use super::{framing::Decoder, head::HeadError};
use crate::message::{Headers, Known, Method, RequestHead, Version, text};

/// What a request's head says about the connection and the body behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestFraming {
    pub(crate) decoder: Decoder,
    pub(crate) keep_alive: bool,
    pub(crate) expects_continue: bool,
}

/// What a response's head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    pub(crate) decoder: Decoder,
    /// Length of the body as announced, also where none follows (HEAD, 304).
    pub(crate) length: Option<u64>,
    pub(crate) keep_alive: bool,
}

const fn malformed(what: &'static str) -> HeadError {
    HeadError::Malformed(what)
}

/// Reads `head`, which ends with its empty line, into `request`.
pub(crate) fn request(head: &[u8], request: &mut RequestHead) -> Result<RequestFraming, HeadError> {
    request.clear();
    request.headers.receive(head);
    let line_end = first_line(head)?;
    request_line(&head[..line_end], request)?;
    let seen = headers(head, line_end, &mut request.headers)?;
    let old = request.version == Version::Http10;
    match seen.hosts {
        0 if !old && request.authority_at.len == 0 => return Err(malformed("there is no Host")),
        0 | 1 => {}
        _ => return Err(malformed("there are several Hosts")),
    }
    if !text::is_authority(request.headers.get(Known::Host).unwrap_or_default()) {
        return Err(malformed("the Host is no host"));
    }
    if seen.unmet_expectation {
        return Err(HeadError::Expectation);
    }
    let decoder = match (seen.coded, seen.length) {
        (true, _) if old => return Err(malformed("HTTP/1.0 has no transfer codings")),
        (true, None) => Decoder::chunked(),
        (false, length) => Decoder::length(length.unwrap_or(0)),
        (true, Some(length)) if is_planted(Fault::LengthBesideChunksAccepted) => Decoder::length(length),
        (true, Some(_)) => return Err(malformed("Content-Length beside Transfer-Encoding")),
    };
    let keep_alive = !seen.close && (!old || seen.keep_alive);
    Ok(RequestFraming { decoder, keep_alive, expects_continue: seen.expects_continue && !old && !decoder.is_done() })
}

/// Length of the first line without its end. A carriage return inside is refused with the part it stands in.
fn first_line(head: &[u8]) -> Result<usize, HeadError> {
    memchr(b'\n', head).and_then(|end| end.checked_sub(1)).ok_or(malformed("the first line has no end"))
}

fn request_line(line: &[u8], request: &mut RequestHead) -> Result<(), HeadError> {
    let bad = malformed("the request line is malformed");
    let first = memchr(b' ', line).ok_or(bad)?;
    let last = line.iter().rposition(|byte| *byte == b' ').filter(|last| *last > first).ok_or(bad)?;
    let (method, target, version) = (&line[..first], &line[first + 1..last], &line[last + 1..]);
    request.version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            return Err(HeadError::Version);
        }
        _ => return Err(bad),
    };
    if !text::is_token(method) {
        return Err(malformed("the method is malformed"));
    }
    request.method = Method::of(method);
    request.method_at = span(0, method.len());
    if !text::is_target(target) {
        return Err(malformed("the request target is malformed"));
    }
    let mut path_start = first + 1;
    match (request.method, target) {
        (Method::Connect, _) => {
            if !text::is_authority(target) {
                return Err(malformed("the request target is malformed"));
            }
            request.authority_at = span(path_start, target.len());
            request.path_at = request.authority_at;
            return Ok(());
        }
        (_, [b'/', ..]) | (Method::Options, b"*") => {}
        _ => {
            let scheme = scheme(target).ok_or(malformed("the request target is malformed"))?;
            let rest = &target[scheme..];
            let len = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
            if len == 0 || !text::is_authority(&rest[..len]) {
                return Err(malformed("the request target is malformed"));
            }
            request.authority_at = span(path_start + scheme, len);
            path_start += scheme + len;
        }
    }
    let target = &line[path_start..last];
    let mark = memchr(b'?', target).unwrap_or(target.len());
    request.path_at = span(path_start, mark);
    if mark == 0 {
        request.set_path(b"/");
    }
    if mark < target.len() {
        request.query_at = span(path_start + mark + 1, target.len() - mark - 1);
    }
    Ok(())
}

/// Length of `http://` or `https://`.
fn scheme(target: &[u8]) -> Option<usize> {
    ["http://", "https://"].into_iter().map(str::len).find(|len| {
        target
            .get(..*len)
            .is_some_and(|start| start.eq_ignore_ascii_case(b"http://") || start.eq_ignore_ascii_case(b"https://"))
    })
}

#[expect(clippy::cast_possible_truncation, reason = "a head is at most 64 KiB")]
const fn span(start: usize, len: usize) -> crate::message::Span {
    crate::message::Span { start: start as u32, len: len as u32 }
}

/// Reads `head`, which ends with its empty line, into `out`. `method` is that of the request it answers.
pub(crate) fn response(head: &[u8], method: Method, out: &mut Headers) -> Result<ResponseHead, HeadError> {
    out.receive(head);
    let line_end = first_line(head)?;
    let line = &head[..line_end];
    let (old, rest) = match line.split_at_checked(9) {
        Some((b"HTTP/1.1 ", rest)) => (false, rest),
        Some((b"HTTP/1.0 ", rest)) => (true, rest),
        _ => return Err(malformed("the status line is malformed")),
    };
    let status = match rest {
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9']
        | [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b' ', ..] => {
            u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')
        }
        _ => return Err(malformed("the status line is malformed")),
    };
    if !text::is_value(rest) {
        return Err(malformed("the status line is malformed"));
    }
    let seen = headers(head, line_end, out)?;
    if seen.coded && (seen.length.is_some() || old) {
        return Err(malformed("Content-Length beside Transfer-Encoding"));
    }
    let none = method == Method::Head || matches!(status, 100..=199 | 204 | 304);
    let decoder = match (none, seen.coded, seen.length) {
        (true, ..) => Decoder::Done,
        (false, true, _) => Decoder::chunked(),
        (false, false, Some(length)) => Decoder::length(length),
        (false, false, None) => Decoder::UntilClose,
    };
    let keep_alive = !seen.close && (!old || seen.keep_alive) && decoder != Decoder::UntilClose;
    Ok(ResponseHead { status, decoder, length: seen.length, keep_alive })
}

#[derive(Default)]
struct Seen {
    hosts: usize,
    length: Option<u64>,
    coded: bool,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    unmet_expectation: bool,
}

fn headers(head: &[u8], first_line_end: usize, out: &mut Headers) -> Result<Seen, HeadError> {
    let mut seen = Seen::default();
    let mut at = first_line_end + 2;
    loop {
        let rest = head.get(at..).unwrap_or_default();
        // The scanner let each line feed stand behind a carriage return only; any other one is refused below.
        let Some(len) = memchr(b'\n', rest).and_then(|end| end.checked_sub(1)) else {
            return Err(malformed("a header has no end"));
        };
        if len == 0 {
            return Ok(seen);
        }
        let line = &rest[..len];
        let colon = memchr(b':', line).ok_or(malformed("a header has no colon"))?;
        let name = &line[..colon];
        if !text::is_token(name) {
            return Err(malformed("a header's name is malformed"));
        }
        let value = text::trim(&line[colon + 1..]);
        if !text::is_value(value) {
            return Err(malformed("a header's value is malformed"));
        }
        let known = Known::of(name);
        // Where the trimmed value begins: behind the colon and the blanks in front of it.
        let lead = line[colon + 1..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let start = if value.is_empty() { at + len } else { at + colon + 1 + lead };
        out.push_place((at, colon), (start, value.len()), known, start + value.len() == at + len);
        note(known, value, &mut seen)?;
        at += len + 2;
    }
}

fn note(known: Known, value: &[u8], seen: &mut Seen) -> Result<(), HeadError> {
    match known {
        Known::Host => seen.hosts += 1,
        Known::ContentLength => {
            let length = text::number(value).filter(|length| *length <= i64::MAX as u64);
            let length = length.ok_or(malformed("the Content-Length is no length"))?;
            if seen.length.replace(length).is_some() {
                return Err(malformed("there are several Content-Lengths"));
            }
        }
        Known::TransferEncoding => {
            if seen.coded {
                return Err(malformed("there are several Transfer-Encodings"));
            }
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(HeadError::TransferCoding);
            }
            seen.coded = true;
        }
        Known::Connection => {
            for option in text::members(value) {
                seen.close |= option.eq_ignore_ascii_case(b"close");
                seen.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        }
        Known::Expect => {
            let good = value.eq_ignore_ascii_case(b"100-continue");
            seen.expects_continue |= good;
            seen.unmet_expectation |= !good;
        }
        _ => {}
    }
    Ok(())
}
