//! Host patterns: exact, `*suffix`, `prefix*`, regular expressions, and any.

use std::{borrow::Cow, collections::HashMap};

use tidegate_pipeline::regexp::{Regexp, Text};

use super::{Host, radix::Radix};

/// Patterns, each with the number of what it stands for. Cases are the same. What a host costs does not depend on how many
/// patterns there are, but for regular expressions, which are tried one by one.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    any: Option<usize>,
    exact: HashMap<Box<[u8]>, usize>,
    prefixes: Radix<Option<usize>>,
    /// Suffixes, written backwards.
    suffixes: Radix<Option<usize>>,
    regexps: Vec<(Regexp, usize)>,
}

impl Hosts {
    /// The number of `host`, which is `number` when the pattern is new. Empty, or `*`, is any host.
    pub(super) fn insert(&mut self, host: &Host, number: usize) -> usize {
        let pattern = match host {
            Host::Text(pattern) => pattern.to_ascii_lowercase(),
            Host::Regexp(regexp) => {
                let same = self.regexps.iter().find(|(other, _)| other.as_str() == regexp.as_str());
                return same.map(|(_, number)| *number).unwrap_or_else(|| {
                    self.regexps.push((regexp.clone(), number));
                    number
                });
            }
        };
        if pattern.is_empty() || pattern == "*" {
            return *self.any.get_or_insert(number);
        }
        if let Some(suffix) = pattern.strip_prefix('*') {
            let backwards: Vec<u8> = suffix.bytes().rev().collect();
            return *self.suffixes.entry(&backwards).get_or_insert(number);
        }
        if let Some(prefix) = pattern.strip_suffix('*') {
            return *self.prefixes.entry(prefix.as_bytes()).get_or_insert(number);
        }
        *self.exact.entry(pattern.into_bytes().into()).or_insert(number)
    }

    /// Gives `see` the number of every pattern that fits.
    pub(super) fn find(&self, host: &[u8], mut see: impl FnMut(usize)) {
        if let Some(any) = self.any {
            see(any);
        }
        for (regexp, number) in &self.regexps {
            if regexp.is_match(&Text::new(host)) {
                see(*number);
            }
        }
        if self.exact.is_empty() && self.prefixes.is_empty() && self.suffixes.is_empty() {
            return;
        }
        let host = if host.iter().any(u8::is_ascii_uppercase) {
            Cow::Owned(host.to_ascii_lowercase())
        } else {
            Cow::Borrowed(host)
        };
        if let Some(number) = self.exact.get(&*host) {
            see(*number);
        }
        let mut each = |number: &Option<usize>| {
            if let Some(number) = number {
                see(*number);
            }
        };
        if !self.prefixes.is_empty() {
            self.prefixes.walk(&host, &mut each);
        }
        if !self.suffixes.is_empty() {
            let backwards: Vec<u8> = host.iter().rev().copied().collect();
            self.suffixes.walk(&backwards, each);
        }
    }
}
