//! What the routers are compared with.

use tidegate_http::message::Method;
use tidegate_pipeline::regexp::Text;

use super::*;

/// What a request of the test fulfils.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// Rules that do not take the client.
    pub(crate) denied: Vec<usize>,
    /// Of each path.
    pub(crate) verdicts: Vec<Verdict>,
}

impl Conditions for Given {
    fn rule(&mut self, rule: usize) -> bool {
        !self.denied.contains(&rule)
    }

    fn path(&mut self, path: usize) -> Verdict {
        self.verdicts.get(path).copied().unwrap_or(Verdict::Fits)
    }
}

fn fits_host(host: &Host, text: &str) -> bool {
    match host {
        Host::Regexp(regexp) => regexp.is_match(&Text::new(text.as_bytes())),
        Host::Text(pattern) => match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
            (Some(suffix), _) => text.ends_with(suffix),
            (_, Some(prefix)) => text.starts_with(prefix),
            _ => text == pattern,
        },
    }
}

/// The rules as their text says it: in order, the first that fits.
pub(crate) fn naive(rules: &[Rule], host: &str, path: &str, method: Method, given: &mut Given) -> Found {
    let (mut number, mut misses) = (0, Misses::default());
    for (index, rule) in rules.iter().enumerate() {
        let first = number;
        number += rule.paths.len();
        if !rule.hosts.is_empty() && !rule.hosts.iter().any(|pattern| fits_host(pattern, host)) {
            continue;
        }
        if rule.guarded && !given.rule(index) {
            misses.ip = true;
            continue;
        }
        for (offset, candidate) in rule.paths.iter().enumerate() {
            let how = if !candidate.exact.is_empty() && candidate.exact == path {
                How::Exact
            } else if !candidate.prefix.is_empty() && path.starts_with(&candidate.prefix) {
                How::Prefix
            } else if candidate.regexp.as_ref().is_some_and(|regexp| regexp.is_match(&Text::new(path.as_bytes()))) {
                How::Regexp
            } else if candidate.exact.is_empty() && candidate.prefix.is_empty() && candidate.regexp.is_none() {
                How::Prefix
            } else {
                continue;
            };
            if candidate.methods != 0 && candidate.methods & method.bit() == 0 {
                misses.method = true;
                continue;
            }
            match if candidate.conditional { given.path(first + offset) } else { Verdict::Fits } {
                Verdict::Fits => return Found::Route { path: first + offset, how, captures: Captures::new() },
                Verdict::Ip => misses.ip = true,
                Verdict::Condition => misses.condition = true,
            }
        }
    }
    Found::Nothing(misses)
}
