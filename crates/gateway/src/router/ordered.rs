//! Which route a request takes. Pure.
//!
//! Rules are an ordered list, and the first that fits wins. Trying them in order costs as much as there are rules; instead
//! each path stands in a hash (exact) or a radix tree (prefix) of its host, with its number in the list, and of the few
//! candidates that a look-up finds the lowest number wins: 10,000 rules cost what 10 do.
//!
//! ```text
//!   host ──► exact · suffix · prefix · any ──► up to a few tables
//!   table ─► exact paths: hash          ─┐
//!            prefixes: radix tree        ├─► candidates ─► lowest number whose methods fit
//! ```

mod hosts;
mod path;
mod radix;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use tidegate_http::message::Method;

use hosts::Hosts;
pub(crate) use path::{decode, encode};
use radix::Radix;

/// A rule: hosts and the paths below them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rule {
    /// Exact, or with one `*` at the start or the end; none stands for every host.
    pub(crate) hosts: Vec<String>,
    pub(crate) paths: Vec<Path>,
}

/// A path of a rule. Of `exact` and `prefix` one is enough; with neither every path fits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Path {
    pub(crate) exact: String,
    pub(crate) prefix: String,
    /// Set of [`Method::bit`]; 0 stands for every method.
    pub(crate) methods: u16,
}

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Number of the path, counted over all rules; and whether its exact path fitted, and not its prefix.
    Route {
        path: usize,
        exact: bool,
    },
    /// Paths fit, but none for this method.
    OtherMethods,
    Nothing,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    number: u32,
    methods: u16,
    exact: bool,
}

/// Candidates with one key, by number, each with a method that none before it has.
type Candidates = Vec<Candidate>;

#[derive(Debug, Default)]
struct Table {
    exact: HashMap<Box<[u8]>, Candidates>,
    prefixes: Radix<Candidates>,
}

/// The compiled rules.
#[derive(Debug, Default)]
pub(crate) struct Router {
    hosts: Hosts,
    tables: Vec<Table>,
}

impl Router {
    pub(crate) fn new(rules: &[Rule]) -> Self {
        let mut router = Self::default();
        let mut number = 0;
        for rule in rules {
            let any = [String::new()];
            let hosts = if rule.hosts.is_empty() { &any[..] } else { &rule.hosts[..] };
            for (offset, path) in (0u32..).zip(&rule.paths) {
                let methods = if path.methods == 0 { u16::MAX } else { path.methods };
                let candidate = |exact| Candidate { number: number + offset, methods, exact };
                for host in hosts {
                    let table = router.table(host);
                    if !path.exact.is_empty() {
                        let entry = table.exact.entry(path.exact.as_bytes().into()).or_default();
                        add(entry, candidate(true));
                    }
                    if !path.prefix.is_empty() || path.exact.is_empty() {
                        add(table.prefixes.entry(path.prefix.as_bytes()), candidate(false));
                    }
                }
            }
            number += u32::try_from(rule.paths.len()).unwrap_or(u32::MAX);
        }
        router
    }

    fn table(&mut self, host: &str) -> &mut Table {
        let next = self.tables.len();
        let index = self.hosts.insert(host, next);
        if index == next {
            self.tables.push(Table::default());
        }
        &mut self.tables[index]
    }

    /// `host` without its port, in any case; `path` with its escapes decoded.
    pub(crate) fn find(&self, host: &[u8], path: &[u8], method: Method) -> Found {
        let mut best: Option<Candidate> = None;
        let mut path_fits = false;
        let mut look = |candidates: &Candidates| {
            path_fits |= !candidates.is_empty();
            let limit = best.map_or(u32::MAX, |best| best.number);
            // A path whose exact text and prefix both fit is one path, and as in the list exact is tried first.
            let better =
                |candidate: &&Candidate| candidate.number < limit || (candidate.number == limit && candidate.exact);
            if let Some(found) = candidates.iter().take_while(better).find(|it| it.methods & method.bit() != 0) {
                best = Some(*found);
            }
        };
        self.hosts.find(host, |index| {
            let Some(table) = self.tables.get(index) else { return };
            if let Some(candidates) = table.exact.get(path) {
                look(candidates);
            }
            table.prefixes.walk(path, &mut look);
        });
        match best {
            Some(best) => Found::Route { path: best.number as usize, exact: best.exact },
            None if path_fits => Found::OtherMethods,
            None => Found::Nothing,
        }
    }
}

/// Adds a candidate whose number is the highest so far, unless those before it take all its methods.
fn add(candidates: &mut Candidates, new: Candidate) {
    let taken = candidates.iter().fold(0, |taken, candidate| taken | candidate.methods);
    if new.methods & !taken != 0 {
        candidates.push(new);
    }
}
