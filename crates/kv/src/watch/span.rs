//! The keys a watch looks at, and merged sets of them for one shared read.

use std::{cmp::Ordering, fmt, sync::Arc};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    One,
    From,
    Range,
}

/// One key, every key from one on, or a half-open range. Cheap to clone: key and end share one allocation.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySpan {
    /// The key, then the end of a range.
    bytes: Arc<[u8]>,
    key_len: u32,
    kind: Kind,
}

/// A range that holds no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EmptyRange;

impl KeySpan {
    /// Reads the pair of a watch request: an empty key is the key `00`; an empty end means one key, the end `00` every
    /// key from there on.
    pub(super) fn of_request(key: &[u8], range_end: &[u8]) -> Result<Self, EmptyRange> {
        let key = if key.is_empty() { &[0][..] } else { key };
        match range_end {
            [] => Ok(Self::one(key)),
            [0] => Ok(Self::from(key)),
            end if key >= end => Err(EmptyRange),
            end => Ok(Self::range(key, end)),
        }
    }

    pub fn one(key: &[u8]) -> Self {
        Self::new(key, &[], Kind::One)
    }

    /// Every key at or behind `key`.
    pub fn from(key: &[u8]) -> Self {
        Self::new(key, &[], Kind::From)
    }

    /// Every key from `key` up to and without `end`.
    pub fn range(key: &[u8], end: &[u8]) -> Self {
        Self::new(key, end, Kind::Range)
    }

    /// Every key there is.
    pub fn all() -> Self {
        Self::from(&[])
    }

    fn new(key: &[u8], end: &[u8], kind: Kind) -> Self {
        let key_len = u32::try_from(key.len()).expect("a key is shorter than the message it came in");
        Self { bytes: [key, end].concat().into(), key_len, kind }
    }

    pub fn start(&self) -> &[u8] {
        &self.bytes[..self.key_len as usize]
    }

    /// The first key behind the span, for a range; `None` for one key and for a span without end.
    pub fn end(&self) -> Option<&[u8]> {
        (self.kind == Kind::Range).then(|| &self.bytes[self.key_len as usize..])
    }

    pub fn is_one(&self) -> bool {
        self.kind == Kind::One
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.start() && self.ends_behind(key)
    }

    /// Whether the end of the span lies behind `key`.
    pub(super) fn ends_behind(&self, key: &[u8]) -> bool {
        match self.kind {
            Kind::One => key <= self.start(),
            Kind::From => true,
            Kind::Range => key < &self.bytes[self.key_len as usize..],
        }
    }

    pub(super) fn shared_key(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    pub(super) fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Orders spans by where they end. The end of one key `k` is the key `k 00`.
    pub(super) fn cmp_end(&self, other: &Self) -> Ordering {
        fn bound(span: &KeySpan) -> Option<(&[u8], bool)> {
            match span.kind {
                Kind::One => Some((span.start(), true)),
                Kind::Range => Some((&span.bytes[span.key_len as usize..], false)),
                Kind::From => None,
            }
        }
        match (bound(self), bound(other)) {
            (None, None) => Ordering::Equal,
            (None, _) => Ordering::Greater,
            (_, None) => Ordering::Less,
            (Some((a, a_zero)), Some((b, b_zero))) => {
                let tail = |zero: bool| if zero { &[0u8][..] } else { &[] };
                let common = a.len().min(b.len());
                a[..common]
                    .cmp(&b[..common])
                    .then_with(|| a[common..].iter().chain(tail(a_zero)).cmp(b[common..].iter().chain(tail(b_zero))))
            }
        }
    }
}

impl fmt::Debug for KeySpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.start().escape_ascii();
        match (self.kind, self.end()) {
            (Kind::One, _) => write!(f, "[{start}]"),
            (_, Some(end)) => write!(f, "[{start}, {})", end.escape_ascii()),
            (_, None) => write!(f, "[{start}, ∞)"),
        }
    }
}

/// Keys of several watches, merged: sorted and disjoint, so that a read looks each key up once.
#[derive(Debug, Clone)]
pub struct Spans(Vec<Merged>);

#[derive(Debug, Clone)]
struct Merged {
    first: KeySpan,
    /// The span that ends last.
    last: KeySpan,
}

impl Spans {
    pub fn merge(mut spans: Vec<KeySpan>) -> Self {
        spans.sort_by(|a, b| a.start().cmp(b.start()));
        let mut merged: Vec<Merged> = Vec::new();
        for span in spans {
            match merged.last_mut() {
                Some(open) if open.last.ends_behind(span.start()) => {
                    if span.cmp_end(&open.last).is_gt() {
                        open.last = span;
                    }
                }
                _ => merged.push(Merged { first: span.clone(), last: span }),
            }
        }
        Self(merged)
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        let behind = self.0.partition_point(|merged| merged.first.start() <= key);
        behind > 0 && self.0[behind - 1].last.ends_behind(key)
    }

    /// First key of the first span.
    pub fn start(&self) -> &[u8] {
        self.0.first().map_or(&[], |merged| merged.first.start())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_pairs_become_spans() {
        let check = |key: &[u8], end: &[u8], inside: &[&[u8]], outside: &[&[u8]]| {
            let span = KeySpan::of_request(key, end).unwrap();
            assert!(inside.iter().all(|key| span.contains(key)), "{span:?}");
            assert!(!outside.iter().any(|key| span.contains(key)), "{span:?}");
        };
        check(b"", b"", &[b"\0"], &[b"", b"\0\0", b"a"]);
        check(b"", b"\0", &[b"\0", b"a", b"\xff\xff"], &[b""]);
        check(b"b", b"", &[b"b"], &[b"a", b"b\0", b"c"]);
        check(b"b", b"c", &[b"b", b"b\xff"], &[b"a", b"c"]);
        check(b"b", b"\0", &[b"b", b"c"], &[b"a\xff"]);
        assert_eq!(KeySpan::of_request(b"b", b"b"), Err(EmptyRange));
        assert_eq!(KeySpan::of_request(b"c", b"b"), Err(EmptyRange));
    }

    #[test]
    fn merged_spans_hold_what_their_parts_hold() {
        let parts = [
            KeySpan::one(b"a"),
            KeySpan::range(b"b", b"d"),
            KeySpan::range(b"c", b"e"),
            KeySpan::one(b"c"),
            KeySpan::one(b"e"),
            KeySpan::one(b"e\0"),
            KeySpan::range(b"x", b"x\0"),
            KeySpan::one(b"x"),
        ];
        let spans = Spans::merge(parts.to_vec());
        assert_eq!(spans.len(), 5, "{spans:?}");
        for key in [&b"a"[..], b"a\0", b"b", b"c", b"cc", b"d", b"dz", b"e", b"e\0", b"e\0\0", b"f", b"x", b"x\0", b""]
        {
            assert_eq!(spans.contains(key), parts.iter().any(|part| part.contains(key)), "{}", key.escape_ascii());
        }
        assert!(Spans::merge(vec![KeySpan::from(b"k"), KeySpan::one(b"z")]).contains(b"zz"));
    }
}
