//! What the access log tells of a request's way.

use std::{fmt::Write as _, time::Duration};

use crate::GoDuration;

/// Longest text, in bytes: what is behind it is left out.
const TAGS_MAX: usize = 4 << 10;

/// `pipeline(p): a(result,1ms)->b(2ms) | something else`
#[derive(Default)]
pub(crate) struct Tags(String);

impl Tags {
    /// Begins a tag behind those before it.
    pub(crate) fn begin(&mut self, text: &str) {
        let separator = if self.0.is_empty() { "" } else { " | " };
        self.push(separator);
        self.push(text);
    }

    pub(crate) fn step(&mut self, first: bool, node: &str, result: &str, took: Duration) {
        self.push(if first { ": " } else { "->" });
        self.push(node);
        let comma = if result.is_empty() { "" } else { "," };
        if self.0.len() < TAGS_MAX {
            write!(self.0, "({result}{comma}{})", GoDuration(took)).expect("a string takes all");
        }
    }

    fn push(&mut self, text: &str) {
        if self.0.len() + text.len() <= TAGS_MAX {
            self.0.push_str(text);
        }
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_read_as_the_reference_writes_them() {
        let mut tags = Tags::default();
        tags.begin("pipeline(p)");
        tags.step(true, "a", "", Duration::from_micros(1500));
        tags.step(false, "b", "bad", Duration::from_nanos(20));
        tags.begin("other");
        assert_eq!(tags.into_text(), "pipeline(p): a(1.5ms)->b(bad,20ns) | other");
    }

    #[test]
    fn a_long_way_is_cut() {
        let mut tags = Tags::default();
        for _ in 0..10_000 {
            tags.step(false, "node", "result", Duration::from_secs(1));
        }
        assert!(tags.into_text().len() < TAGS_MAX + 64);
    }
}
