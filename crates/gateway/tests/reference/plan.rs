//! What the backend is to do with a request: it stands in a header of it.

use std::fmt;

use crate::random::Random;

/// How the backend frames its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame {
    Length,
    Chunked,
    /// Ends with the connection.
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The connection serves the next request.
    Keep,
    /// It says that it closes, and does.
    Close,
    /// It closes in the middle of the body.
    Cut,
    /// It closes without an answer.
    Silent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) status: u16,
    pub(crate) frame: Frame,
    pub(crate) end: End,
    pub(crate) size: usize,
    /// It answers before it reads the body.
    pub(crate) early: bool,
    /// An interim answer comes first.
    pub(crate) interim: bool,
    /// Set of [`HEADERS`].
    pub(crate) headers: usize,
}

/// Headers of answers, of which a plan takes some.
pub(crate) const HEADERS: [&str; 8] = [
    "X-Up: 1\r\nx-UP:2\r\n",
    "Set-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\nSet-Cookie: a=1; Path=/\r\n",
    "Connection: X-Gone, keep-alive\r\nX-Gone: 1\r\nKeep-Alive: timeout=9\r\n",
    "Server: plain\r\nVia: 1.0 other\r\n",
    "Trailer: X-T\r\nProxy-Authenticate: Basic\r\nProxy-Connection: keep-alive\r\n",
    "X-Empty:\r\nX-Blank: \t \r\nX-Wide:  a \t b  \r\n",
    "Content-Type: text/plain\r\nETag: \"x\"\r\nVary: *\r\n",
    "X-Bytes: \u{e9}\u{4e2d}\r\n",
];

impl Plan {
    pub(crate) fn random(random: &mut Random, has_body: bool) -> Self {
        let status = match random.below(6) {
            0 => {
                random.one(&[201, 202, 203, 205, 206, 299, 301, 304, 307, 400, 401, 404, 418, 429, 500, 502, 503, 599])
            }
            1 => random.one(&[204, 304, 200]),
            _ => 200,
        };
        let frame = match random.below(8) {
            0 => Frame::Close,
            1..4 => Frame::Chunked,
            _ => Frame::Length,
        };
        let end = match random.below(40) {
            0..4 => End::Close,
            4 => End::Cut,
            5 => End::Silent,
            _ => End::Keep,
        };
        let size = random.size();
        let early = has_body && random.once_in(12);
        Self { status, frame, end, size, early, interim: random.once_in(20), headers: random.below(256) }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let fields: Vec<usize> = text.split(' ').map(|field| field.parse().ok()).collect::<Option<_>>()?;
        let &[status, frame, end, size, early, interim, headers] = &fields[..] else { return None };
        Some(Self {
            status: u16::try_from(status).ok()?,
            frame: *[Frame::Length, Frame::Chunked, Frame::Close].get(frame)?,
            end: *[End::Keep, End::Close, End::Cut, End::Silent].get(end)?,
            size,
            early: early == 1,
            interim: interim == 1,
            headers,
        })
    }

    /// Whether an answer of this status has a body, whoever asked.
    pub(crate) const fn has_body(&self) -> bool {
        !matches!(self.status, 204 | 304)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, frame, end, size, early, interim, headers } = *self;
        let (early, interim) = (u8::from(early), u8::from(interim));
        write!(f, "{status} {} {} {size} {early} {interim} {headers}", frame as u8, end as u8)
    }
}
