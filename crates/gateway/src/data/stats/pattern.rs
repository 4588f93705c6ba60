//! Paths with what varies in them left out: `/users/17/orders` becomes `/users/*/orders`.

use std::hash::{BuildHasher as _, Hasher as _};

/// Places of the table: one for each prefix that is remembered.
const PREFIXES: usize = 64;
/// A part of a path with more different texts than this behind one prefix is a variable.
const DIFFERENT_MAX: u32 = 20;
/// Longest pattern, in bytes.
pub(super) const PATTERN_MAX: usize = 120;

/// What is known of the parts that follow one prefix.
#[derive(Debug, Clone, Copy, Default)]
struct Following {
    prefix: u64,
    /// A bit for each text, by its hash.
    seen: u64,
}

/// Learns from the paths it is shown which of their parts are variable. 1 KiB, and a few steps for each part of a path.
#[derive(Debug)]
pub(super) struct Learner(Box<[Following; PREFIXES]>);

impl Default for Learner {
    fn default() -> Self {
        Self(Box::new([Following::default(); PREFIXES]))
    }
}

impl Learner {
    pub(super) const BYTES: u64 = (size_of::<Following>() * PREFIXES) as u64;

    /// The pattern of `path`, whose query is cut off already.
    pub(super) fn pattern<'a>(&mut self, path: &[u8], out: &'a mut [u8; PATTERN_MAX]) -> &'a [u8] {
        let (mut len, mut prefix) = (0, 1u64);
        let parts = path.strip_prefix(b"/").unwrap_or(path).split(|byte| *byte == b'/');
        for part in parts {
            let text: &[u8] = if is_number(part) || self.is_variable(prefix, part) { b"*" } else { part };
            if len + 1 + text.len() > PATTERN_MAX {
                break;
            }
            out[len] = b'/';
            out[len + 1..len + 1 + text.len()].copy_from_slice(text);
            len += 1 + text.len();
            prefix = hash(prefix, text);
        }
        &out[..len]
    }

    /// Remembers that `part` came behind `prefix`. Whether too many others did.
    fn is_variable(&mut self, prefix: u64, part: &[u8]) -> bool {
        let start = usize::from(prefix.to_be_bytes()[0]);
        for step in 0..4 {
            let place = &mut self.0[(start + step) % PREFIXES];
            if place.prefix == prefix || place.seen == 0 {
                place.prefix = prefix;
                if place.seen.count_ones() <= DIFFERENT_MAX {
                    place.seen |= 1 << (hash(0, part) >> 58);
                }
                return place.seen.count_ones() > DIFFERENT_MAX;
            }
        }
        false // no place is left: it is taken as it stands
    }
}

/// A path as it came, as far as patterns look at it: filters may change the request's.
pub(crate) struct PathText {
    bytes: [u8; PATTERN_MAX],
    len: usize,
}

impl PathText {
    pub(crate) fn new(path: &[u8]) -> Self {
        let len = path.len().min(PATTERN_MAX);
        let mut bytes = [0; PATTERN_MAX];
        bytes[..len].copy_from_slice(&path[..len]);
        Self { bytes, len }
    }

    pub(crate) fn text(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Numbers and long hexadecimal texts are no names.
fn is_number(part: &[u8]) -> bool {
    let hex = part.len() >= 8 && part.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-');
    !part.is_empty() && (hex && part.iter().any(u8::is_ascii_digit) || part.iter().all(u8::is_ascii_digit))
}

/// One that nobody from outside can aim at.
pub(super) fn hash(seed: u64, text: &[u8]) -> u64 {
    static KEYS: std::sync::OnceLock<std::hash::RandomState> = std::sync::OnceLock::new();
    let mut hasher = KEYS.get_or_init(Default::default).build_hasher();
    hasher.write_u64(seed);
    hasher.write(text);
    hasher.finish() | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(learner: &mut Learner, path: &str) -> String {
        String::from_utf8(learner.pattern(path.as_bytes(), &mut [0; PATTERN_MAX]).to_vec()).unwrap()
    }

    #[test]
    fn numbers_are_variable_at_once_and_names_when_there_are_many() {
        let mut learner = Learner::default();
        for (path, expected) in [
            ("/", "/"),
            ("", "/"),
            ("/users/17/orders", "/users/*/orders"),
            ("/a/0f9ab3c4-1111", "/a/*"),
            ("/facade", "/facade"),
        ] {
            assert_eq!(pattern(&mut learner, path), expected, "{path}");
        }
        let names = (0..200).map(|number| format!("/by-name/n{number}x/end"));
        let last = names.map(|path| pattern(&mut learner, &path)).last();
        assert_eq!(last.as_deref(), Some("/by-name/*/end"));
        assert_eq!(pattern(&mut learner, "/other/name/end"), "/other/name/end");
        assert!(pattern(&mut learner, &"/abc".repeat(1000)).len() <= PATTERN_MAX);
    }
}
