//! What a line says: text with `{{Name}}`.

use std::{
    io::Write as _,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tidegate_base::Moment;
use tidegate_http::message::{Headers, Version};
use tidegate_pipeline::GoDuration;

/// Source: the reference.
pub(crate) const DEFAULT: &str = "[{{Time}}] [{{RemoteAddr}} {{RealIP}} {{Method}} {{URI}} {{Proto}} {{StatusCode}}] \
     [{{Duration}} rx:{{ReqSize}}B tx:{{RespSize}}B] [{{Tags}}]";

/// Longest line.
const LINE_MAX: usize = 16 << 10;
/// What the two lists of headers of a request take: each is cut at the length of a line.
pub(super) const LISTS_BYTES: u64 = 2 * LINE_MAX as u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Time,
    RemoteAddr,
    RealIp,
    Method,
    Uri,
    Proto,
    StatusCode,
    Duration,
    ReqSize,
    RespSize,
    ReqHeaders,
    RespHeaders,
    Tags,
}

const NAMES: &[(&str, Name)] = &[
    ("Time", Name::Time),
    ("RemoteAddr", Name::RemoteAddr),
    ("RealIP", Name::RealIp),
    ("Method", Name::Method),
    ("URI", Name::Uri),
    ("Proto", Name::Proto),
    ("StatusCode", Name::StatusCode),
    ("Duration", Name::Duration),
    ("ReqSize", Name::ReqSize),
    ("RespSize", Name::RespSize),
    ("ReqHeaders", Name::ReqHeaders),
    ("RespHeaders", Name::RespHeaders),
    ("Tags", Name::Tags),
];

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value(Name),
}

/// A format, taken apart once.
#[derive(Debug)]
pub(crate) struct Format {
    pieces: Vec<Piece>,
    pub(super) request_headers: bool,
    pub(super) response_headers: bool,
    pub(super) tags: bool,
}

/// What is told of a request.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// Time since 1970 at which it came.
    pub(super) wall: Duration,
    pub(super) peer: Option<SocketAddr>,
    pub(super) client: Option<IpAddr>,
    pub(super) method: Vec<u8>,
    pub(super) uri: Vec<u8>,
    pub(super) version: Option<Version>,
    pub(super) status: u16,
    pub(super) duration: Duration,
    /// Bytes, heads included.
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) request_headers: Vec<u8>,
    pub(super) response_headers: Vec<u8>,
    pub(super) tags: String,
}

impl Format {
    /// An empty text is the default. Names that stand for nothing are given to `unknown`, and stay as they are.
    pub(crate) fn new(text: &str, mut unknown: impl FnMut(&str)) -> Self {
        let (mut pieces, mut plain) = (Vec::new(), String::new());
        let mut rest = if text.is_empty() { DEFAULT } else { text };
        while let Some((before, tail)) = rest.split_once("{{") {
            plain.push_str(before);
            let Some((name, behind)) = tail.split_once("}}") else {
                plain.push_str("{{");
                rest = tail;
                continue;
            };
            match NAMES.iter().find(|(known, _)| *known == name.trim()) {
                Some((_, name)) => pieces.extend([Piece::Text(std::mem::take(&mut plain)), Piece::Value(*name)]),
                None => {
                    unknown(name);
                    plain.push_str(&format!("{{{{{name}}}}}"));
                }
            }
            rest = behind;
        }
        pieces.push(Piece::Text(plain + rest));
        let has = |name| pieces.contains(&Piece::Value(name));
        let (request_headers, response_headers) = (has(Name::ReqHeaders), has(Name::RespHeaders));
        let tags = has(Name::Tags);
        Self { pieces, request_headers, response_headers, tags }
    }

    /// One line with its end. Line ends and controls within it become blanks, so that nobody forges a line.
    pub(super) fn line(&self, values: &Values) -> Vec<u8> {
        let mut line = Vec::with_capacity(256);
        for piece in &self.pieces {
            if line.len() > LINE_MAX {
                break;
            }
            match piece {
                Piece::Text(text) => line.extend_from_slice(text.as_bytes()),
                Piece::Value(name) => values.write(*name, &mut line),
            }
        }
        line.truncate(LINE_MAX);
        line.iter_mut().filter(|byte| byte.is_ascii_control()).for_each(|byte| *byte = b' ');
        line.push(b'\n');
        line
    }
}

impl Values {
    fn write(&self, name: Name, line: &mut Vec<u8>) {
        let written = match name {
            Name::Time => {
                let moment = Moment::new(self.wall);
                write!(line, "{}.{:03}Z", moment.date_time(), moment.milli)
            }
            Name::RemoteAddr => self
                .peer
                .map_or(Ok(()), |peer| write!(line, "{}", SocketAddr::new(peer.ip().to_canonical(), peer.port()))),
            Name::RealIp => self.client.map_or(Ok(()), |client| write!(line, "{client}")),
            Name::Method => line.write_all(&self.method),
            Name::Uri => line.write_all(&self.uri),
            Name::Proto => match self.version {
                Some(Version::Http10) => line.write_all(b"HTTP/1.0"),
                Some(Version::Http11) => line.write_all(b"HTTP/1.1"),
                Some(Version::Http2) => line.write_all(b"HTTP/2.0"),
                None => Ok(()),
            },
            Name::StatusCode => write!(line, "{}", self.status),
            Name::Duration => write!(line, "{}", GoDuration(self.duration)),
            Name::ReqSize => write!(line, "{}", self.received),
            Name::RespSize => write!(line, "{}", self.sent),
            Name::ReqHeaders => line.write_all(&self.request_headers),
            Name::RespHeaders => line.write_all(&self.response_headers),
            Name::Tags => line.write_all(self.tags.as_bytes()),
        };
        written.expect("a vector takes all");
    }
}

/// `Name: value; Name: value`, as much of it as a line takes.
pub(super) fn headers(headers: &Headers) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in headers.iter() {
        let separator: &[u8] = if out.is_empty() { b"" } else { b"; " };
        for part in [separator, name, b": ", value] {
            let room = LINE_MAX - out.len();
            out.extend_from_slice(&part[..part.len().min(room)]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: &str, values: &Values) -> String {
        String::from_utf8(Format::new(format, |_| ()).line(values)).unwrap()
    }

    #[test]
    fn a_line_is_what_the_format_says() {
        let values = Values {
            wall: Duration::from_millis(951_782_400_007),
            peer: Some("9.9.9.9:80".parse().unwrap()),
            client: Some("1.2.3.4".parse().unwrap()),
            method: b"GET".to_vec(),
            uri: b"/a?b".to_vec(),
            version: Some(Version::Http11),
            status: 200,
            duration: Duration::from_micros(1500),
            received: 10,
            sent: 20,
            request_headers: b"A: b".to_vec(),
            response_headers: b"C: d".to_vec(),
            tags: "pipeline(p)".to_owned(),
        };
        for (format, expected) in [
            (
                "",
                "[2000-02-29T00:00:00.007Z] [9.9.9.9:80 1.2.3.4 GET /a?b HTTP/1.1 200] [1.5ms rx:10B tx:20B] [pipeline(p)]\n",
            ),
            ("{{ Method }} {{ReqHeaders}} {{RespHeaders}}", "GET A: b C: d\n"),
            ("x {{Nothing}} {{Method", "x {{Nothing}} {{Method\n"),
            ("plain", "plain\n"),
        ] {
            assert_eq!(line(format, &values), expected, "{format}");
        }
        let empty = line(DEFAULT, &Values::default());
        assert_eq!(empty, "[1970-01-01T00:00:00.000Z] [     0] [0s rx:0B tx:0B] []\n");
    }

    #[test]
    fn no_request_forges_a_line_or_fills_the_log() {
        let values = Values { uri: b"/a\nb\r\x1b".to_vec(), ..Values::default() };
        assert_eq!(line("{{URI}}", &values), "/a b  \n");
        let values = Values { request_headers: vec![b'x'; 100_000], ..Values::default() };
        assert_eq!(line("{{ReqHeaders}}{{ReqHeaders}}", &values).len(), LINE_MAX + 1);
    }

    #[test]
    fn unknown_names_are_told() {
        let mut unknown = Vec::new();
        let format = Format::new("{{Time}}{{No}}{{ReqHeaders}}{{ Nor }}", |name| unknown.push(name.to_owned()));
        assert_eq!(unknown, ["No", " Nor "]);
        assert!(format.request_headers && !format.response_headers);
    }
}
