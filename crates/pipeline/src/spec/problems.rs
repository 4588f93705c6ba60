//! What is wrong with a spec: all of it, so that one edit can put it right.

use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the field, such as `rules[0].paths[2].path`; empty for the whole spec.
    pub field: String,
    pub message: String,
}

/// Everything that is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

/// Most problems that are kept: a spec with more of them has one cause.
const PROBLEMS_MAX: usize = 100;
/// Longest path and message of one. Both may repeat what the spec says, which may be a megabyte.
const TEXT_BYTES_MAX: usize = 256;

impl Problems {
    pub fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        if !self.is_full() {
            self.0.push(Problem { field: cut(field.into()), message: cut(message.into()) });
        }
    }

    /// Whether further problems are not kept, so that nobody need look for them.
    pub fn is_full(&self) -> bool {
        self.0.len() >= PROBLEMS_MAX
    }

    /// Adds a problem unless `good`.
    pub fn require(&mut self, good: bool, field: impl Into<String>, message: impl Into<String>) {
        if !good {
            self.add(field, message);
        }
    }

    /// Adds the problems of a part that stands at `path`.
    pub fn extend_at(&mut self, path: &str, part: Problems) {
        for problem in part.0 {
            self.add(join(path, &problem.field), problem.message);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// # Errors
    /// The problems, when there are any.
    pub fn into_result(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let (before, colon) = (if index > 0 { "; " } else { "" }, if problem.field.is_empty() { "" } else { ": " });
            write!(f, "{before}{}{colon}{}", problem.field, problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// What checking a spec found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub problems: Problems,
    /// What is accepted and has no effect, or another one than its writer may think.
    pub warnings: Vec<String>,
}

impl Report {
    pub fn warn(&mut self, field: &str, message: &str) {
        if self.warnings.len() < PROBLEMS_MAX {
            self.warnings.push(format!("{}: {}", start(field), start(message)));
        }
    }
}

fn start(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or_default()
}

fn cut(text: String) -> String {
    if text.len() > TEXT_BYTES_MAX { start(&text).to_owned() } else { text }
}

/// `base.key`, `base[0]`, or either alone. Cut when it is long, so that a deep or long path costs its children nothing.
pub(crate) fn join(base: &str, key: &str) -> String {
    let (base, key) = (start(base), start(key));
    match (base, key) {
        ("", _) => key.to_owned(),
        (_, "") => base.to_owned(),
        _ if key.starts_with('[') => format!("{base}{key}"),
        _ => format!("{base}.{key}"),
    }
}
