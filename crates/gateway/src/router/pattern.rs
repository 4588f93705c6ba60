//! Paths with placeholders: `/users/{id}`, `/users/{id:[0-9]+}`, `/files/*`.

use tidegate_pipeline::regexp::Regexp;

use super::compile;

/// Name of what a `*` at the end stands for.
const WILDCARD: &str = "EG_WILDCARD";

/// Most placeholders of a path: a look-up calls itself once for each.
const PLACEHOLDERS_MAX: usize = 32;

/// A path, taken apart.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pattern {
    pub(super) parts: Vec<Part>,
    /// Names of what the placeholders stand for, in order; [`WILDCARD`] at the end where there is a `*`.
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) enum Part {
    Text(String),
    /// What stands up to the next byte of text, or up to the end of the segment.
    Param,
    /// The same where all of it fits.
    Regexp(Regexp),
    /// All the rest; may be empty.
    Rest,
}

impl Pattern {
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(path: &str) -> Result<Self, String> {
        if !path.starts_with('/') {
            return Err("must begin with /".to_owned());
        }
        let mut pattern = Self::default();
        let mut rest = path;
        while let Some(at) = rest.find(['{', '}', '*']) {
            let (text, tail) = rest.split_at(at);
            if !text.is_empty() {
                pattern.parts.push(Part::Text(text.to_owned()));
            }
            rest = match tail.as_bytes() {
                [b'*'] => {
                    pattern.name(WILDCARD)?;
                    pattern.parts.push(Part::Rest);
                    ""
                }
                [b'*', ..] => return Err("may have a * at its end only".to_owned()),
                [b'{', ..] => {
                    let end = closing(tail).ok_or("has a { without its }")?;
                    pattern.placeholder(&tail[1..end])?;
                    &tail[end + 1..]
                }
                _ => return Err("has a } without its {".to_owned()),
            };
        }
        if !rest.is_empty() {
            pattern.parts.push(Part::Text(rest.to_owned()));
        }
        let follows = |pair: &[Part]| !matches!(pair, [Part::Text(_), _] | [_, Part::Text(_)]);
        if pattern.parts.windows(2).any(follows) {
            return Err("has two placeholders without a text between them".to_owned());
        }
        if pattern.names.len() > PLACEHOLDERS_MAX {
            return Err(format!("has more than {PLACEHOLDERS_MAX} placeholders"));
        }
        Ok(pattern)
    }

    /// The path itself, when it has no placeholders.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.parts[..] {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    fn placeholder(&mut self, inner: &str) -> Result<(), String> {
        let (name, text) = inner.split_once(':').map_or((inner, None), |(name, text)| (name, Some(text)));
        self.name(name)?;
        self.parts.push(match text {
            None => Part::Param,
            Some(text) => {
                // Alone first: `a)(b` must not become good by what is put around it.
                let whole = compile(text).and_then(|_| compile(&format!("^(?:{text})$")));
                Part::Regexp(whole.map_err(|error| format!("{{{name}}} {error}"))?)
            }
        });
        Ok(())
    }

    fn name(&mut self, name: &str) -> Result<(), String> {
        let good = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !good {
            return Err(format!("{{{name}}} is no name: it has letters, digits and _ only"));
        }
        if self.names.iter().any(|other| other == name) {
            return Err(format!("has two placeholders {{{name}}}"));
        }
        self.names.push(name.to_owned());
        Ok(())
    }
}

/// Where the brace ends that `text` begins with; those of a regular expression stand in between.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0usize;
    text.bytes().position(|byte| {
        open = match byte {
            b'{' => open + 1,
            b'}' => open - 1,
            _ => open,
        };
        open == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart_or_refused() {
        for (path, expected) in [
            ("/a", Ok("/a")),
            ("/a/{x}", Ok("/a/ {x}")),
            ("/{x:[0-9]{2,3}}/b/*", Ok("/ {x}= /b/ {EG_WILDCARD}*")),
            ("/{a}-{b}", Ok("/ {a} - {b}")),
            ("a", Err("must begin with /")),
            ("", Err("must begin with /")),
            ("/*/a", Err("at its end")),
            ("/{a", Err("without its }")),
            ("/a}", Err("without its {")),
            ("/{}", Err("no name")),
            ("/{a b}", Err("no name")),
            ("/{a}{b}", Err("without a text between")),
            ("/{a}*", Err("without a text between")),
            ("/{a}/{a}", Err("two placeholders {a}")),
            ("/{EG_WILDCARD}/*", Err("two placeholders {EG_WILDCARD}")),
            ("/{a:(}", Err("{a} is no regular expression")),
            ("/{a:a)(b}", Err("{a} is no regular expression")),
        ] {
            let parsed = Pattern::parse(path).map(|pattern| {
                let mut names = pattern.names.iter();
                let mut name = |mark| format!("{{{}}}{mark}", names.next().unwrap());
                let parts = pattern.parts.iter().map(|part| match part {
                    Part::Text(text) => text.clone(),
                    Part::Param => name(""),
                    Part::Regexp(_) => name("="),
                    Part::Rest => name("*"),
                });
                parts.collect::<Vec<_>>().join(" ")
            });
            match (parsed, expected) {
                (Ok(parsed), Ok(expected)) => assert_eq!(parsed, expected, "{path}"),
                (Err(error), Err(part)) => assert!(error.contains(part), "{path}: {error}"),
                (parsed, _) => panic!("{path}: {parsed:?}"),
            }
        }
        let many: String = (0..=PLACEHOLDERS_MAX).map(|number| format!("/{{p{number}}}")).collect();
        assert!(Pattern::parse(&many).unwrap_err().contains("more than 32"));
    }
}
