//! Rules are an ordered list, and the first path that fits wins.
//!
//! Trying them in order costs as much as there are rules; instead each path stands in a hash (exact) or a radix tree
//! (prefix) of its host, with its number in the list, and of the few candidates that a look-up finds the lowest number
//! wins: 10,000 rules cost what 10 do. Only regular expressions are tried in order, those with lower numbers than what was
//! found.
//!
//! ```text
//!   host ──► exact · suffix · prefix · regexp · any ──► up to a few tables
//!   table ─► exact paths: hash          ─┐
//!            prefixes: radix tree        ├─► candidates ─► lowest number whose methods and conditions fit
//!            regexps: list              ─┘
//! ```

use std::collections::HashMap;

use tidegate_http::message::Method;
use tidegate_pipeline::regexp::{Regexp, Text};

use super::{Captures, Conditions, Found, How, Misses, Rule, hosts::Hosts, radix::Radix};

#[derive(Debug, Clone, Copy)]
struct Candidate {
    number: u32,
    methods: u16,
    how: How,
    conditional: bool,
    /// The rule, where it is to be asked first.
    guard: Option<u32>,
}

/// Candidates with one key, by number. One without conditions has a method that none without conditions before it has.
type Candidates = Vec<Candidate>;

#[derive(Debug, Default)]
struct Table {
    exact: HashMap<Box<[u8]>, Candidates>,
    prefixes: Radix<Candidates>,
    regexps: Vec<(Regexp, Candidate)>,
    /// Rules that take certain clients only.
    guards: Vec<u32>,
}

/// The compiled rules.
#[derive(Debug, Default)]
pub(crate) struct Ordered {
    hosts: Hosts,
    tables: Vec<Table>,
}

impl Ordered {
    pub(crate) fn new(rules: &[Rule]) -> Self {
        let mut router = Self::default();
        let mut number = 0;
        for (index, rule) in (0u32..).zip(rules) {
            let guard = rule.guarded.then_some(index);
            for host in rule.hosts() {
                let next = router.tables.len();
                let table = router.hosts.insert(&host, next);
                if table == next {
                    router.tables.push(Table::default());
                }
                let table = &mut router.tables[table];
                table.guards.extend(guard);
                for (offset, path) in (0u32..).zip(&rule.paths) {
                    let (methods, conditional) = (path.methods(), path.conditional);
                    let candidate = |how| Candidate { number: number + offset, methods, how, conditional, guard };
                    if !path.exact.is_empty() {
                        let entry = table.exact.entry(path.exact.as_bytes().into()).or_default();
                        add(entry, candidate(How::Exact));
                    }
                    if !path.prefix.is_empty() || (path.exact.is_empty() && path.regexp.is_none()) {
                        add(table.prefixes.entry(path.prefix.as_bytes()), candidate(How::Prefix));
                    }
                    if let Some(regexp) = &path.regexp {
                        table.regexps.push((regexp.clone(), candidate(How::Regexp)));
                    }
                }
            }
            number += u32::try_from(rule.paths.len()).unwrap_or(u32::MAX);
        }
        router
    }

    /// `host` without its port, in any case; `path` with its escapes decoded.
    pub(crate) fn find(&self, host: &[u8], path: &[u8], method: Method, conditions: &mut impl Conditions) -> Found {
        let mut look = Look { best: None, misses: Misses::default(), method, conditions };
        self.hosts.find(host, |index| {
            let Some(table) = self.tables.get(index) else { return };
            if let Some(candidates) = table.exact.get(path) {
                look.at(candidates);
            }
            table.prefixes.walk(path, |candidates| look.at(candidates));
            let text = Text::new(path);
            for (regexp, candidate) in &table.regexps {
                if !look.better(candidate) {
                    break;
                }
                if regexp.is_match(&text) {
                    look.at(std::slice::from_ref(candidate));
                }
            }
        });
        if let Some(best) = look.best {
            return Found::Route { path: best.number as usize, how: best.how, captures: Captures::new() };
        }
        // A rule that does not take the client says so even where it has no such path.
        self.hosts.find(host, |index| {
            let guards = self.tables.get(index).map(|table| &table.guards[..]).unwrap_or_default();
            look.misses.ip = look.misses.ip || guards.iter().any(|rule| !look.conditions.rule(*rule as usize));
        });
        Found::Nothing(look.misses)
    }
}

/// What a look-up has seen so far.
struct Look<'a, C> {
    best: Option<Candidate>,
    misses: Misses,
    method: Method,
    conditions: &'a mut C,
}

impl<C: Conditions> Look<'_, C> {
    /// A path of which several things fit is one path, and as in the list they have an order.
    fn better(&self, candidate: &Candidate) -> bool {
        self.best.is_none_or(|best| (candidate.number, candidate.how) < (best.number, best.how))
    }

    fn at(&mut self, candidates: &[Candidate]) {
        for candidate in candidates {
            if !self.better(candidate) {
                return;
            }
            if candidate.guard.is_some_and(|rule| !self.conditions.rule(rule as usize)) {
                self.misses.ip = true;
                continue;
            }
            let Candidate { methods, conditional, number, .. } = *candidate;
            if self.misses.check(methods, conditional, number, self.method, self.conditions) {
                self.best = Some(*candidate);
                return;
            }
        }
    }
}

/// Adds a candidate whose number is the highest so far, unless those before it take all that it would.
fn add(candidates: &mut Candidates, new: Candidate) {
    let free = |candidate: &&Candidate| !candidate.conditional && candidate.guard.is_none();
    let taken = candidates.iter().filter(free).fold(0, |taken, candidate| taken | candidate.methods);
    if new.methods & !taken != 0 || !free(&&new) {
        candidates.push(new);
    }
}
