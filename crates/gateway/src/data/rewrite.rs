//! What takes the place of a path.

use tidegate_pipeline::regexp::{Regexp, Text};

use crate::router::{Captures, How, Pattern};

/// Longest rewritten path. One that is received is at most 16 KiB.
const BYTES_MAX: usize = 32 << 10;

/// A compiled `rewriteTarget`.
#[derive(Debug)]
pub(crate) enum Rewrite {
    /// In place of an exact path, of a prefix, or of each match of the expression, where `$1` and `${name}` are its groups.
    Ordered { target: String, prefix: usize, regexp: Option<Regexp> },
    /// Text and placeholders by number.
    Pattern(Vec<Piece>),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    Capture(usize),
}

impl Rewrite {
    /// # Errors
    /// What is wrong with `target`.
    pub(crate) fn of_pattern(target: &str, pattern: &Pattern) -> Result<Self, String> {
        if target.contains('*') {
            return Err("may have no *: what it stands for is {EG_WILDCARD}".to_owned());
        }
        let (mut pieces, mut rest) = (Vec::new(), target);
        while let Some((text, tail)) = rest.split_once('{') {
            let (name, behind) = tail.split_once('}').ok_or("has a { without its }")?;
            let number = pattern.names.iter().position(|other| other == name);
            let number = number.ok_or_else(|| format!("the path has no placeholder {{{name}}}"))?;
            pieces.extend([Piece::Text(text.to_owned()), Piece::Capture(number)]);
            rest = behind;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        pieces.retain(|piece| *piece != Piece::Text(String::new()));
        Ok(Self::Pattern(pieces))
    }

    /// The new path, of one whose escapes are decoded. `None`: it would be too long.
    pub(crate) fn apply(&self, path: &[u8], how: How, captures: &Captures) -> Option<Vec<u8>> {
        let new = match self {
            Self::Ordered { target, prefix, regexp } => match (how, regexp) {
                (How::Regexp, Some(regexp)) => replace_all(regexp, path, target)?,
                (How::Prefix, _) => [target.as_bytes(), path.get(*prefix..).unwrap_or_default()].concat(),
                _ => target.as_bytes().to_vec(),
            },
            Self::Pattern(pieces) => {
                let piece = |piece: &Piece| match piece {
                    Piece::Text(text) => text.as_bytes().to_vec(),
                    Piece::Capture(number) => captures
                        .get(*number)
                        .and_then(|(start, end)| path.get(*start..*end))
                        .unwrap_or_default()
                        .to_vec(),
                };
                pieces.iter().flat_map(piece).collect()
            }
        };
        (new.len() <= BYTES_MAX).then_some(new)
    }
}

/// Looks at the length after each match: a path of many matches can grow a thousandfold.
fn replace_all(regexp: &Regexp, path: &[u8], target: &str) -> Option<Vec<u8>> {
    let text = Text::new(path);
    let path = text.bytes();
    let (mut out, mut behind) = (Vec::with_capacity(path.len() + target.len()), 0);
    for groups in regexp.captures_iter(&text) {
        let whole = groups.get(0)?;
        out.extend_from_slice(path.get(behind..whole.start())?);
        groups.expand(target.as_bytes(), &mut out);
        behind = whole.end();
        if out.len() > BYTES_MAX {
            return None;
        }
    }
    out.extend_from_slice(path.get(behind..)?);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::compile;

    #[test]
    fn each_form_gives_the_path_it_should() {
        let ordered = |target: &str, regexp: &str| Rewrite::Ordered {
            target: target.to_owned(),
            prefix: "/api".len(),
            regexp: (!regexp.is_empty()).then(|| compile(regexp).unwrap()),
        };
        for (rewrite, how, path, expected) in [
            (ordered("/new", ""), How::Exact, "/api", "/new"),
            (ordered("/new", ""), How::Prefix, "/api/x", "/new/x"),
            (ordered("/$2/$1", "^/([a-z]+)/([0-9]+)"), How::Regexp, "/ab/12/c", "/12/ab/c"),
            (ordered("/${n}x$$", "^/(?P<n>.)"), How::Regexp, "/a", "/ax$"),
            // The group named 1x, which there is not.
            (ordered("/$1x", "^/(.)"), How::Regexp, "/a", "/"),
            (ordered("-", "/"), How::Regexp, "/a/b", "-a-b"),
        ] {
            let new = rewrite.apply(path.as_bytes(), how, &Captures::new()).unwrap();
            assert_eq!(String::from_utf8(new).unwrap(), expected, "{rewrite:?} {path}");
        }
        let long = "a".repeat(16 << 10);
        assert_eq!(ordered("$0$0$0", ".").apply(long.as_bytes(), How::Regexp, &Captures::new()), None, "too long");
        let pattern = Pattern::parse("/{a}/{b:[0-9]+}/*").unwrap();
        let captures = vec![(1, 2), (3, 4), (5, 8)];
        for (target, expected) in [
            ("/{b}/{a}/{EG_WILDCARD}", Ok("/2/x/y/z")),
            ("{EG_WILDCARD}{EG_WILDCARD}", Ok("y/zy/z")),
            ("/fix", Ok("/fix")),
            ("/*", Err("no *")),
            ("/{c}", Err("no placeholder {c}")),
            ("/{a", Err("without its }")),
        ] {
            let new = Rewrite::of_pattern(target, &pattern);
            match (new.map(|new| new.apply(b"/x/2/y/z", How::Pattern, &captures).unwrap()), expected) {
                (Ok(new), Ok(expected)) => assert_eq!(new, expected.as_bytes(), "{target}"),
                (Err(error), Err(part)) => assert!(error.contains(part), "{target}: {error}"),
                (new, _) => panic!("{target}: {new:?}"),
            }
        }
    }
}
