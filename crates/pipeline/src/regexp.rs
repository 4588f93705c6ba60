//! Regular expressions in the syntax of RE2, as specs write them.
//!
//! The engine is the crate `regex`, which never backtracks either. Where the two languages differ, RE2 is meant: `\d`, `\w`,
//! `\s` and `\b` know ASCII only, `[`, `&`, `~` and `--` inside a class stand for themselves, and `\Q…\E` quotes. An expression takes
//! no bytes but those of a [`Text`], so that nothing can be matched against bytes that it would step over.

use std::borrow::Cow;

use regex::bytes::{CaptureMatches, CaptureNames, Captures, Regex, RegexBuilder};

/// Longest text of an expression.
const TEXT_MAX: usize = 4 << 10;

/// Compiles `text`, which is searched for anywhere unless it has anchors. `bytes_max`: of what is compiled, and of what the engine
/// caches of it for a thread.
///
/// # Errors
/// What is wrong with it, to be read behind its field's name.
pub fn compile(text: &str, bytes_max: usize) -> Result<Regexp, String> {
    build(text, false, bytes_max)
}

/// As [`compile`], for what has no case, such as hosts.
///
/// # Errors
/// As [`compile`].
pub fn compile_any_case(text: &str, bytes_max: usize) -> Result<Regexp, String> {
    build(text, true, bytes_max)
}

fn build(text: &str, any_case: bool, bytes_max: usize) -> Result<Regexp, String> {
    if text.len() > TEXT_MAX {
        return Err(format!("is longer than {TEXT_MAX} bytes"));
    }
    let mut builder = RegexBuilder::new(&translate(text));
    builder.case_insensitive(any_case).size_limit(bytes_max).dfa_size_limit(bytes_max).nest_limit(50);
    builder.build().map(Regexp).map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => format!("needs more than {} KiB when compiled", bytes_max >> 10),
        // The last line says what is wrong; those before it draw where.
        other => {
            let told = other.to_string();
            format!("is no regular expression: {}", told.lines().last().unwrap_or_default().trim())
        }
    })
}

/// An expression that is compiled. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Regexp(Regex);

impl Regexp {
    /// As the engine has it: the same for the same expression.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The name of each group, of the whole match first.
    pub fn capture_names(&self) -> CaptureNames<'_> {
        self.0.capture_names()
    }

    pub fn is_match(&self, text: &Text<'_>) -> bool {
        self.0.is_match(&text.0)
    }

    /// The groups of the first match.
    pub fn captures<'t>(&self, text: &'t Text<'_>) -> Option<Captures<'t>> {
        self.0.captures(&text.0)
    }

    /// The groups of each match.
    pub fn captures_iter<'r, 't>(&'r self, text: &'t Text<'_>) -> CaptureMatches<'r, 't> {
        self.0.captures_iter(&text.0)
    }

    /// Every match replaced by `to`, in which `$1` and `${1}` are groups of it. Without a match, the text as it is.
    pub fn replace_all<'t>(&self, text: Text<'t>, to: &[u8]) -> Cow<'t, [u8]> {
        match text.0 {
            Cow::Borrowed(text) => self.0.replace_all(text, to),
            Cow::Owned(text) => Cow::Owned(self.0.replace_all(&text, to).into_owned()),
        }
    }
}

/// A text as RE2 reads it: each byte that is no part of a character is U+FFFD. The engine would let nothing fit such a byte, not
/// even `.`, and a client could step aside of an expression with one. A copy of at most three times the length where there is such
/// a byte.
#[derive(Debug, Clone)]
pub struct Text<'a>(Cow<'a, [u8]>);

impl<'a> Text<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        if std::str::from_utf8(bytes).is_ok() {
            return Self(Cow::Borrowed(bytes));
        }
        let mut out = Vec::with_capacity(3 * bytes.len());
        for chunk in bytes.utf8_chunks() {
            out.extend_from_slice(chunk.valid().as_bytes());
            chunk.invalid().iter().for_each(|_| out.extend_from_slice("\u{FFFD}".as_bytes()));
        }
        Self(Cow::Owned(out))
    }

    /// What is matched: offsets of matches count in it.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The same expression in the syntax of the engine.
fn translate(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut chars = text.chars().peekable();
    let mut class = Class::Outside;
    while let Some(c) = chars.next() {
        let inside = class != Class::Outside;
        match c {
            '\\' => match chars.next() {
                Some('Q') if !inside => quote(&mut chars, &mut out),
                Some(escaped) => escape(escaped, inside, &mut out),
                None => out.push('\\'),
            },
            '[' if !inside => {
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                class = Class::First;
                continue;
            }
            '[' if chars.peek() == Some(&':') => {
                // [:name:] is the same in both; without an end it is a bracket like any other.
                let name: String = chars.clone().skip(1).take_while(|c| c.is_ascii_alphabetic() || *c == '^').collect();
                if text_follows(&chars, &format!(":{name}:]")) {
                    out.push_str(&format!("[:{name}:]"));
                    chars.by_ref().take(name.len() + 3).for_each(drop);
                } else {
                    out.push_str("\\[");
                }
            }
            '-' if inside && chars.peek() == Some(&'-') => out.push_str("\\-"),
            '[' | '&' | '~' if inside => {
                out.push('\\');
                out.push(c);
            }
            ']' if class == Class::First => out.push_str("\\]"),
            ']' if inside => {
                out.push(']');
                class = Class::Outside;
                continue;
            }
            _ => out.push(c),
        }
        if inside {
            class = Class::Later;
        }
    }
    out
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Outside,
    /// At its first member, which may be a `]`.
    First,
    Later,
}

fn text_follows(chars: &std::iter::Peekable<std::str::Chars<'_>>, text: &str) -> bool {
    let mut chars = chars.clone();
    text.chars().all(|c| chars.next() == Some(c))
}

/// Takes the text up to `\E` as it stands.
fn quote(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    let mut quoted = String::new();
    while let Some(c) = chars.next() {
        if c == '\\' && chars.next_if_eq(&'E').is_some() {
            break;
        }
        quoted.push(c);
    }
    out.push_str(&regex::escape(&quoted));
}

fn escape(escaped: char, inside: bool, out: &mut String) {
    let (members, negated) = match escaped {
        'd' => ("0-9", false),
        'D' => ("0-9", true),
        'w' => ("0-9A-Za-z_", false),
        'W' => ("0-9A-Za-z_", true),
        's' => ("\\t\\n\\f\\r ", false),
        'S' => ("\\t\\n\\f\\r ", true),
        'b' | 'B' if !inside => {
            out.extend(["(?-u:\\", &escaped.to_string(), ")"]);
            return;
        }
        other => {
            out.push('\\');
            out.push(other);
            return;
        }
    };
    out.extend(match (inside, negated) {
        (true, false) => ["", members, ""],
        (_, true) => ["[^", members, "]"],
        (false, false) => ["[", members, "]"],
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_MAX: usize = 256 << 10;

    #[test]
    fn expressions_mean_what_they_mean_in_re2() {
        for (text, matching, other) in [
            ("^/a/[0-9]+$", "/a/12", "/a/1x"),
            ("b.d", "abcde", "bd"),
            (r"^\d$", "7", "٣"),
            (r"^[\d-]+$", "1-2", "a"),
            (r"^[^\d]$", "a", "1"),
            (r"^[\D]$", "a", "1"),
            (r"^\w\W\s\S$", "a- b", "éa b"),
            (r"\bab\b", "x ab y", "xab"),
            ("^[[a]+$", "[a", "b"),
            ("^[a&&b]$", "&", "c"),
            ("^[]a]$", "]", "b"),
            ("^[a--]$", "-", "b"),
            ("^[+--]$", "-", "a"),
            ("^[--/]$", ".", "0"),
            ("^[^]a]$", "b", "]"),
            ("^[[:alpha:]_]$", "_", "1"),
            (r"^\Qa.b\E.$", "a.bc", "axbc"),
            (r"^a\.b\\$", r"a.b\", "a.b"),
            ("^.$", "é", "ab"),
            ("(?i)^AB$", "ab", "b"),
            ("^(?P<x>a)$", "a", "b"),
        ] {
            let regexp = compile(text, BYTES_MAX).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(regexp.is_match(&Text::new(matching.as_bytes())), "{text} fits {matching}");
            assert!(!regexp.is_match(&Text::new(other.as_bytes())), "{text} does not fit {other}");
        }
        assert!(compile_any_case("^A\\.test$", BYTES_MAX).unwrap().is_match(&Text::new(b"a.TEST")));
    }

    #[test]
    fn bytes_that_are_no_characters_fit_as_one_each() {
        for (expression, text, fits) in [
            ("^/login/.*$", &b"/login/\xff"[..], true),
            ("^.$", b"\xe2\x82", false),
            ("^..$", b"\xe2\x82", true),
            ("^[^a]\u{e9}$", b"\x80\xc3\xa9", true),
            ("^\u{fffd}$", b"\xc3", true),
        ] {
            let regexp = compile(expression, BYTES_MAX).unwrap();
            assert_eq!(regexp.is_match(&Text::new(text)), fits, "{expression} {text:?}");
        }
        assert!(matches!(Text::new("/caf\u{e9}".as_bytes()).0, Cow::Borrowed(_)));
    }

    #[test]
    fn what_is_wrong_or_too_large_is_refused() {
        for text in ["(", "[", "a**?{", "\\", "(?=a)", "(a){1000}{1000}", "\\p{L}{1000}", &"a".repeat(TEXT_MAX + 1)] {
            assert!(compile(text, BYTES_MAX).is_err(), "{text}");
        }
    }
}
