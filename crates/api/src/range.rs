//! Ranges of keys, converted once at the edge: inside, an empty end never means "all".

use bytes::Bytes;

/// Keys that a request names. Keys are compared as bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeyRange {
    One(Bytes),
    /// Every key at or behind this one.
    From(Bytes),
    /// From the first key, inclusive, to the second, exclusive. Empty when they do not ascend.
    Span(Bytes, Bytes),
}

impl KeyRange {
    /// Length of the keys that name it.
    pub fn bytes(&self) -> usize {
        match self {
            KeyRange::One(key) | KeyRange::From(key) => key.len(),
            KeyRange::Span(from, to) => from.len() + to.len(),
        }
    }

    /// Reads `key` and `range_end` of a request: no end names one key, an end of one zero byte has no bound. Both are
    /// shared, not copied.
    pub fn new(key: Bytes, range_end: Bytes) -> Self {
        match &*range_end {
            [] => KeyRange::One(key),
            [0] => KeyRange::From(key),
            _ => KeyRange::Span(key, range_end),
        }
    }

    /// Every key.
    pub const fn all() -> Self {
        KeyRange::From(Bytes::from_static(b"\0"))
    }

    /// Every key that begins with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let prefix = prefix.into();
        let Some(last) = prefix.iter().rposition(|byte| *byte != 0xff) else {
            return if prefix.is_empty() { Self::all() } else { KeyRange::From(prefix) };
        };
        let mut end = prefix[..=last].to_vec();
        end[last] += 1;
        KeyRange::Span(prefix, end.into())
    }

    /// First key that may be in the range.
    pub const fn start(&self) -> &Bytes {
        match self {
            KeyRange::One(key) | KeyRange::From(key) | KeyRange::Span(key, _) => key,
        }
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            KeyRange::One(one) => key == one,
            KeyRange::From(start) => key >= &**start,
            KeyRange::Span(start, end) => key >= &**start && key < &**end,
        }
    }

    /// Whether no key at all can be in the range.
    pub fn is_empty(&self) -> bool {
        matches!(self, KeyRange::Span(start, end) if start >= end)
    }

    /// `key` and `range_end` as a request carries them.
    pub fn into_request(self) -> (Bytes, Bytes) {
        match self {
            KeyRange::One(key) => (key, Bytes::new()),
            KeyRange::From(key) => (key, Bytes::from_static(b"\0")),
            KeyRange::Span(key, end) => (key, end),
        }
    }

    /// A range that shares no buffer with a request: for what outlives it.
    pub fn detached(&self) -> Self {
        let copy = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
        match self {
            KeyRange::One(key) => KeyRange::One(copy(key)),
            KeyRange::From(key) => KeyRange::From(copy(key)),
            KeyRange::Span(key, end) => KeyRange::Span(copy(key), copy(end)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static [u8]) -> Bytes {
        Bytes::from_static(text)
    }

    fn range(key: &'static [u8], end: &'static [u8]) -> KeyRange {
        KeyRange::new(bytes(key), bytes(end))
    }

    #[test]
    fn requests_become_ranges_and_back() {
        for (key, end, expected) in [
            (b"a".as_slice(), b"".as_slice(), KeyRange::One(bytes(b"a"))),
            (b"a", b"\0", KeyRange::From(bytes(b"a"))),
            (b"\0", b"\0", KeyRange::all()),
            (b"a", b"b", KeyRange::Span(bytes(b"a"), bytes(b"b"))),
            (b"a", b"\0\0", KeyRange::Span(bytes(b"a"), bytes(b"\0\0"))),
        ] {
            assert_eq!(range(key, end), expected);
            assert_eq!(expected.into_request(), (bytes(key), bytes(end)));
        }
    }

    #[test]
    fn a_range_holds_what_lies_between_its_ends() {
        for (range, key, inside) in [
            (range(b"a", b""), b"a".as_slice(), true),
            (range(b"a", b""), b"aa", false),
            (range(b"b", b"\0"), b"a", false),
            (range(b"b", b"\0"), b"b", true),
            (range(b"b", b"\0"), b"\xff\xff", true),
            (range(b"b", b"d"), b"a\xff", false),
            (range(b"b", b"d"), b"b", true),
            (range(b"b", b"d"), b"c\xff", true),
            (range(b"b", b"d"), b"d", false),
            (range(b"d", b"b"), b"c", false),
            (KeyRange::all(), b"\0", true),
        ] {
            assert_eq!(range.contains(key), inside, "{range:?} {key:?}");
        }
    }

    #[test]
    fn only_spans_that_do_not_ascend_are_empty() {
        assert!(range(b"b", b"b").is_empty());
        assert!(range(b"b", b"a").is_empty());
        assert!(!range(b"b", b"c").is_empty());
        assert!(!range(b"b", b"\0").is_empty());
        assert!(!range(b"b", b"").is_empty());
    }

    #[test]
    fn a_prefix_ends_where_its_last_byte_that_can_grow_has_grown() {
        for (prefix, expected) in [
            (b"a".as_slice(), range(b"a", b"b")),
            (b"a\xff\xff", range(b"a\xff\xff", b"b")),
            (b"ab", range(b"ab", b"ac")),
            (b"\xff", range(b"\xff", b"\0")),
            (b"\xff\xff", range(b"\xff\xff", b"\0")),
            (b"", KeyRange::all()),
        ] {
            assert_eq!(KeyRange::prefix(bytes(prefix)), expected, "{prefix:?}");
        }
    }
}
