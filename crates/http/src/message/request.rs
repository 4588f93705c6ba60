//! The head of a request.

use std::borrow::Cow;

use super::{Headers, Known, Method, Version};

/// Start and length in the head's bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) len: u32,
}

/// Method, target, version and headers of a request.
#[derive(Debug, Clone)]
pub struct RequestHead {
    pub method: Method,
    pub version: Version,
    pub headers: Headers,
    pub(crate) method_at: Span,
    pub(crate) path_at: Span,
    pub(crate) query_at: Span,
    /// Host and port of an absolute target, which win over the header.
    pub(crate) authority_at: Span,
    /// A path that took the place of the received one.
    path_set: Option<Box<[u8]>>,
    query_set: Option<Box<[u8]>>,
}

impl Default for RequestHead {
    fn default() -> Self {
        Self {
            method: Method::Get,
            version: Version::Http11,
            headers: Headers::new(),
            method_at: Span::default(),
            path_at: Span::default(),
            query_at: Span::default(),
            authority_at: Span::default(),
            path_set: None,
            query_set: None,
        }
    }
}

impl RequestHead {
    /// The method as it came.
    pub fn method_text(&self) -> &[u8] {
        if self.method == Method::Other { self.at(self.method_at) } else { self.method.as_str().as_bytes() }
    }

    /// The path as it came, percent-encoding included; `*` for a whole-server OPTIONS.
    pub fn path(&self) -> &[u8] {
        self.path_set.as_deref().unwrap_or_else(|| self.at(self.path_at))
    }

    /// The path as text; bytes that are no UTF-8 are replaced.
    pub fn path_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.path())
    }

    /// What follows the first `?`, without it; empty when there is none.
    pub fn query(&self) -> &[u8] {
        self.query_set.as_deref().unwrap_or_else(|| self.at(self.query_at))
    }

    /// Host and port that the request names; empty when it names none (HTTP/1.0).
    pub fn authority(&self) -> &[u8] {
        if self.authority_at.len > 0 {
            return self.at(self.authority_at);
        }
        self.headers.get(Known::Host).unwrap_or_default()
    }

    /// The host without its port.
    pub fn host(&self) -> &[u8] {
        without_port(self.authority())
    }

    /// Replaces host and port that the request names.
    pub fn set_authority(&mut self, authority: &[u8]) {
        self.authority_at = Span::default();
        self.headers.set_known(Known::Host, authority);
    }

    /// Scheme of an absolute target: `http` or `https`. Every request of HTTP/2 names one, which tells nothing.
    pub fn scheme(&self) -> Option<&'static str> {
        if self.authority_at.len == 0 || self.version == Version::Http2 {
            return None;
        }
        let before = self.headers.raw().get(..self.authority_at.start as usize)?;
        let ends =
            |end: &[u8]| before.len() >= end.len() && before[before.len() - end.len()..].eq_ignore_ascii_case(end);
        [("http", &b" http://"[..]), ("https", b" https://")]
            .into_iter()
            .find(|(_, end)| ends(end))
            .map(|(name, _)| name)
    }

    /// Replaces the path; blanks and controls in it become percent-encoded.
    pub fn set_path(&mut self, path: &[u8]) {
        let slash: &[u8] = if path.first() == Some(&b'/') { b"" } else { b"/" };
        self.path_set = Some(clean(&[slash, path].concat(), b"#?"));
    }

    /// Replaces the query; blanks and controls in it become percent-encoded.
    pub fn set_query(&mut self, query: &[u8]) {
        self.query_set = Some(clean(query, b"#"));
    }

    pub fn clear(&mut self) {
        let mut headers = std::mem::take(&mut self.headers);
        headers.clear();
        *self = Self { headers, ..Self::default() };
    }

    fn at(&self, span: Span) -> &[u8] {
        let start = span.start as usize;
        self.headers.raw().get(start..start + span.len as usize).unwrap_or_default()
    }
}

/// Percent-encodes what would end a target or its part.
fn clean(text: &[u8], reserved: &[u8]) -> Box<[u8]> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        if *byte <= 0x20 || *byte == 0x7f || reserved.contains(byte) {
            out.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        } else {
            out.push(*byte);
        }
    }
    out.into_boxed_slice()
}

/// Cuts `:port` off, also behind a bracketed IPv6 address.
pub(crate) fn without_port(authority: &[u8]) -> &[u8] {
    if let Some(end) = authority.iter().rposition(|byte| *byte == b']') {
        return &authority[..=end];
    }
    match authority.iter().position(|byte| *byte == b':') {
        Some(colon) => &authority[..colon],
        None => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_cut_off() {
        for (authority, host) in
            [("a.b:80", "a.b"), ("a.b", "a.b"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("", ""), (":80", "")]
        {
            assert_eq!(without_port(authority.as_bytes()), host.as_bytes(), "{authority}");
        }
    }

    #[test]
    fn a_new_path_cannot_break_the_request_line() {
        let mut head = RequestHead::default();
        head.set_path(b"a b\r\n?c#");
        assert_eq!(head.path(), b"/a%20b%0D%0A%3Fc%23");
    }
}
