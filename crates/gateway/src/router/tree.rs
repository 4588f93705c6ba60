//! The RadixTree router: which rule, and in its tree which path, a request takes. Pure.
//!
//! ```text
//!   "/a/{x}/b", "/a/{y:[0-9]+}", "/a/b", "/a/*"
//!   radix:  /a/ ──► regexp ──► radix: "" ●        what follows a placeholder is a tree of its own, so that a look-up
//!            │  ──► param  ──► radix: "/b" ●      calls itself once for each placeholder and not for each letter
//!            │  ──► rest ●
//!            └ b ●
//! ```
//! Static text wins over a regular expression, that over a plain placeholder, that over `*`; where what is behind it does
//! not fit, the next is tried. A placeholder ends at the first byte of the text behind it, so that each point of the tree
//! is come to once in a look-up at most.

use std::collections::HashMap;

use memchr::memchr;
use tidegate_http::message::Method;
use tidegate_pipeline::regexp::{Regexp, Text};

use super::{
    Captures, Conditions, Found, How, Misses, Rule,
    hosts::Hosts,
    pattern::{Part, Pattern},
    radix::Radix,
};

/// A path of a rule, where it ends in the tree.
#[derive(Debug, Clone, Copy)]
struct Leaf {
    number: u32,
    methods: u16,
    conditional: bool,
}

#[derive(Debug, Default)]
struct Point {
    /// Bytes from the root of its radix tree.
    depth: usize,
    /// Those with a regular expression first, each kind in the order of the spec.
    edges: Vec<Edge>,
    rest: Vec<Leaf>,
    ends: Vec<Leaf>,
}

#[derive(Debug)]
struct Edge {
    regexp: Option<Regexp>,
    /// First byte of the text behind it; none at the end of the path.
    stop: Option<u8>,
    tree: Tree,
}

#[derive(Debug, Default)]
struct Tree(Radix<Point>);

#[derive(Debug, Default)]
struct OfRule {
    guarded: bool,
    texts: HashMap<Box<[u8]>, Vec<Leaf>>,
    tree: Tree,
}

/// The compiled rules.
#[derive(Debug, Default)]
pub(crate) struct Trees {
    hosts: Hosts,
    /// By host pattern: numbers of its rules.
    tables: Vec<Vec<usize>>,
    rules: Vec<OfRule>,
}

impl Trees {
    pub(crate) fn new(rules: &[Rule]) -> Self {
        let mut trees = Self::default();
        let mut number = 0;
        for (index, rule) in rules.iter().enumerate() {
            for host in rule.hosts() {
                let next = trees.tables.len();
                let table = trees.hosts.insert(&host, next);
                if table == next {
                    trees.tables.push(Vec::new());
                }
                trees.tables[table].push(index);
            }
            let mut of_rule = OfRule { guarded: rule.guarded, ..OfRule::default() };
            for path in &rule.paths {
                let leaf = Leaf { number, methods: path.methods(), conditional: path.conditional };
                match path.pattern.text() {
                    Some(text) => of_rule.texts.entry(text.as_bytes().into()).or_default().push(leaf),
                    None => of_rule.tree.insert(&path.pattern, leaf),
                }
                number += 1;
            }
            trees.rules.push(of_rule);
        }
        trees
    }

    pub(crate) fn find(&self, host: &[u8], path: &[u8], method: Method, conditions: &mut impl Conditions) -> Found {
        let mut rules: Vec<usize> = Vec::new();
        self.hosts.find(host, |table| rules.extend(self.tables.get(table).into_iter().flatten()));
        rules.sort_unstable();
        rules.dedup();
        let mut misses = Misses::default();
        for index in rules {
            let Some(rule) = self.rules.get(index) else { continue };
            if rule.guarded && !conditions.rule(index) {
                misses.ip = true;
                continue;
            }
            let mut captures = Captures::new();
            let mut accept = |leaves: &[Leaf]| {
                let mut leaves = leaves.iter().copied();
                leaves.find(|leaf| misses.check(leaf.methods, leaf.conditional, leaf.number, method, conditions))
            };
            let text = rule.texts.get(path).and_then(|leaves| accept(leaves));
            if let Some(leaf) = text.or_else(|| rule.tree.find(path, 0, &mut captures, &mut accept)) {
                return Found::Route { path: leaf.number as usize, how: How::Pattern, captures };
            }
        }
        Found::Nothing(misses)
    }
}

impl Tree {
    fn insert(&mut self, pattern: &Pattern, leaf: Leaf) {
        let mut tree = self;
        let mut parts = pattern.parts.iter().peekable();
        loop {
            let text = match parts.next_if(|part| matches!(part, Part::Text(_))) {
                Some(Part::Text(text)) => text.as_bytes(),
                _ => b"",
            };
            let point = tree.0.entry(text);
            point.depth = text.len();
            let regexp = match parts.next() {
                None => return point.ends.push(leaf),
                Some(Part::Rest) => return point.rest.push(leaf),
                Some(Part::Regexp(regexp)) => Some(regexp),
                Some(Part::Param | Part::Text(_)) => None,
            };
            let stop = parts.peek().and_then(|part| match part {
                Part::Text(text) => text.bytes().next(),
                Part::Param | Part::Regexp(_) | Part::Rest => None,
            });
            tree = point.edge(regexp, stop);
        }
    }

    /// The first path that fits `path` from `at` on and that `accept` takes. `captures` then has what its placeholders
    /// stand for.
    fn find(
        &self,
        path: &[u8],
        at: usize,
        captures: &mut Captures,
        accept: &mut dyn FnMut(&[Leaf]) -> Option<Leaf>,
    ) -> Option<Leaf> {
        let mut points = Vec::new();
        self.0.walk(path.get(at..).unwrap_or_default(), |point| points.push(point));
        for point in points.into_iter().rev() {
            let here = at + point.depth;
            let text = path.get(here..).unwrap_or_default();
            if text.is_empty()
                && let Some(leaf) = accept(&point.ends)
            {
                return Some(leaf);
            }
            for edge in &point.edges {
                let Some(length) = edge.fits(text) else { continue };
                captures.push((here, here + length));
                if let Some(leaf) = edge.tree.find(path, here + length, captures, accept) {
                    return Some(leaf);
                }
                captures.pop();
            }
            if !point.rest.is_empty()
                && let Some(leaf) = accept(&point.rest)
            {
                captures.push((here, path.len()));
                return Some(leaf);
            }
        }
        None
    }
}

impl Point {
    fn edge(&mut self, regexp: Option<&Regexp>, stop: Option<u8>) -> &mut Tree {
        let same =
            |edge: &Edge| edge.stop == stop && edge.regexp.as_ref().map(Regexp::as_str) == regexp.map(Regexp::as_str);
        let at = self.edges.iter().position(same).unwrap_or_else(|| {
            let behind = if regexp.is_some() {
                self.edges.iter().take_while(|edge| edge.regexp.is_some()).count()
            } else {
                self.edges.len()
            };
            self.edges.insert(behind, Edge { regexp: regexp.cloned(), stop, tree: Tree::default() });
            behind
        });
        &mut self.edges[at].tree
    }
}

impl Edge {
    /// How many bytes of `text` the placeholder takes.
    fn fits(&self, text: &[u8]) -> Option<usize> {
        let segment = memchr(b'/', text).unwrap_or(text.len());
        let length = match self.stop {
            // Nothing may follow.
            None => Some(text.len()).filter(|length| *length == segment)?,
            Some(b'/') => Some(segment).filter(|length| *length < text.len())?,
            Some(stop) => memchr(stop, &text[..segment])?,
        };
        let value = &text[..length];
        (length > 0 && self.regexp.as_ref().is_none_or(|regexp| regexp.is_match(&Text::new(value)))).then_some(length)
    }
}
