//! HTTP/1.1 as read by the client and the backend of the comparison. Plain, lenient, and apart from the code under test.

use std::io::{BufRead, Read};

/// In order; names in lower case. A byte is a character of the same number.
pub(crate) type Headers = Vec<(String, String)>;

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    Known(usize),
    Chunked,
    UntilClose,
}

impl Length {
    pub(crate) fn of_request(headers: &Headers) -> Self {
        match (find(headers, "transfer-encoding"), find(headers, "content-length")) {
            (Some(_), _) => Length::Chunked,
            (None, Some(length)) => Length::Known(length.parse().expect("a proxy sends a number")),
            (None, None) => Length::Known(0),
        }
    }

    pub(crate) fn of_answer(headers: &Headers, status: u16, head: bool) -> Self {
        if head || matches!(status, 100..=199 | 204 | 304) {
            return Length::Known(0);
        }
        match (find(headers, "transfer-encoding"), find(headers, "content-length")) {
            (Some(_), _) => Length::Chunked,
            (None, Some(length)) => Length::Known(length.parse().expect("a proxy sends a number")),
            (None, None) => Length::UntilClose,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) complete: bool,
    pub(crate) trailers: usize,
}

pub(crate) fn find(headers: &Headers, name: &str) -> Option<String> {
    headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// A line without its end; `None` where the connection ended before it.
fn line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    match reader.read_until(b'\n', &mut line) {
        Ok(_) if line.ends_with(b"\r\n") => Some(text(&line[..line.len() - 2])),
        Ok(_) => None,
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("nothing came for too long: {line:?}"),
        Err(_) => None,
    }
}

/// The first line and the headers.
pub(crate) fn read_head(reader: &mut impl BufRead) -> Option<(String, Headers)> {
    let first = line(reader)?;
    let mut headers = Vec::new();
    loop {
        let line = line(reader)?;
        if line.is_empty() {
            return Some((first, headers));
        }
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no colon in {line:?} behind {first:?}"));
        headers.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
    }
}

pub(crate) fn read_body(reader: &mut impl BufRead, length: Length) -> Body {
    let mut body = Body::default();
    body.complete = match length {
        Length::Known(length) => {
            // What came before an end that came too soon stays in `bytes`.
            reader.take(length as u64).read_to_end(&mut body.bytes).is_ok() && body.bytes.len() == length
        }
        Length::UntilClose => reader.read_to_end(&mut body.bytes).is_ok(),
        Length::Chunked => read_chunks(reader, &mut body).is_some(),
    };
    body
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Body) -> Option<()> {
    loop {
        let size = line(reader)?;
        let digits = size.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("{size:?} is no chunk's size"));
        if size == 0 {
            break;
        }
        let before = body.bytes.len();
        reader.take(size).read_to_end(&mut body.bytes).ok()?;
        if (body.bytes.len() - before) as u64 != size {
            return None;
        }
        let end = line(reader)?;
        assert!(end.is_empty(), "{end:?} behind a chunk");
    }
    while !line(reader)?.is_empty() {
        body.trailers += 1;
    }
    Some(())
}

/// Writes a body in chunks whose sizes, spelling and extensions depend on `salt`.
pub(crate) fn put_chunks(out: &mut Vec<u8>, mut body: &[u8], salt: u64, trailers: &str) {
    let mut random = crate::random::Random::new(salt);
    while !body.is_empty() {
        let size = match random.below(3) {
            0 => 1 + random.below(8),
            1 => 1 + random.below(1_000),
            _ => body.len(),
        };
        // Not more than about a hundred chunks.
        let (chunk, rest) = body.split_at(size.max(body.len() / 100).min(body.len()));
        let extension = random.one(&["", "", "", ";a", ";a=b", " ;a=\"b c\";d"]);
        let size = match random.below(4) {
            0 => format!("{:X}", chunk.len()),
            1 => format!("{:04x}", chunk.len()),
            _ => format!("{:x}", chunk.len()),
        };
        out.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
        body = rest;
    }
    out.extend_from_slice(b"0\r\n");
    if random.once_in(3) {
        out.extend_from_slice(trailers.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}
