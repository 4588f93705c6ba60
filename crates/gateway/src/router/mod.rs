//! Which route a request takes. Pure: what the router itself does not know (addresses, headers, queries) it asks for.
//!
//! Two kinds: [`Ordered`] takes the first path in the order of the spec, [`Trees`] the most specific one of a rule.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod hosts;
#[cfg(any(test, fuzzing))]
mod model;
mod ordered;
mod path;
mod pattern;
mod radix;
#[cfg(test)]
mod tests;
mod tree;

use tidegate_http::message::Method;
use tidegate_pipeline::regexp::{self, Regexp};

pub(crate) use ordered::Ordered;
pub(crate) use path::{decode, encode};
pub(crate) use pattern::Pattern;
pub(crate) use tree::Trees;

/// Most bytes of one compiled expression, and of what the engine caches of it for a thread.
const EXPRESSION_BYTES_MAX: usize = 256 << 10;

/// An expression on paths, queries and headers.
pub(crate) fn compile(text: &str) -> Result<Regexp, String> {
    regexp::compile(text, EXPRESSION_BYTES_MAX)
}

/// An expression on hosts.
pub(crate) fn compile_host(text: &str) -> Result<Regexp, String> {
    regexp::compile_any_case(text, EXPRESSION_BYTES_MAX)
}

/// A rule: hosts and the paths below them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rule {
    /// None stands for every host.
    pub(crate) hosts: Vec<Host>,
    /// It takes certain clients only: [`Conditions::rule`] knows which.
    pub(crate) guarded: bool,
    pub(crate) paths: Vec<Path>,
}

#[derive(Debug, Clone)]
pub(crate) enum Host {
    /// Exact, or with one `*` at the start or the end.
    Text(String),
    Regexp(Regexp),
}

/// A path of a rule.
#[derive(Debug, Clone, Default)]
pub(crate) struct Path {
    /// Of `exact`, `prefix` and `regexp` one is enough; with none every path fits. For [`Ordered`].
    pub(crate) exact: String,
    pub(crate) prefix: String,
    pub(crate) regexp: Option<Regexp>,
    /// For [`Trees`].
    pub(crate) pattern: Pattern,
    /// Set of [`Method::bit`]; 0 stands for every method.
    pub(crate) methods: u16,
    /// It has more conditions: [`Conditions::path`] knows them.
    pub(crate) conditional: bool,
}

impl Rule {
    fn hosts(&self) -> Vec<Host> {
        if self.hosts.is_empty() { vec![Host::Text(String::new())] } else { self.hosts.clone() }
    }
}

impl Path {
    const fn methods(&self) -> u16 {
        if self.methods == 0 { u16::MAX } else { self.methods }
    }
}

/// What of a path fitted. In the order in which they are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum How {
    Exact,
    /// Its prefix, or it fits every path.
    Prefix,
    Regexp,
    /// What the captures are of.
    Pattern,
}

/// Places in the path, one for each placeholder of a pattern.
pub(crate) type Captures = Vec<(usize, usize)>;

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// Number of the path, counted over all rules.
    Route {
        path: usize,
        how: How,
        captures: Captures,
    },
    Nothing(Misses),
}

/// What a request would have needed beside its path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Misses {
    /// Another address.
    pub(crate) ip: bool,
    /// Another header or query.
    pub(crate) condition: bool,
    pub(crate) method: bool,
}

/// The answer of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fits,
    /// A header or a query does not.
    Condition,
    Ip,
}

/// What the router asks about the request at hand, of rules and paths that say that they have such conditions.
pub(crate) trait Conditions {
    /// Whether a rule takes the client.
    fn rule(&mut self, rule: usize) -> bool;
    fn path(&mut self, path: usize) -> Verdict;
}

impl Misses {
    /// The status that says so.
    pub(crate) const fn status(self) -> u16 {
        match self {
            Self { ip: true, .. } => 403,
            Self { condition: true, .. } => 400,
            Self { method: true, .. } => 405,
            Self { .. } => 404,
        }
    }

    /// Whether a path takes the request; else it is noted what it would need.
    fn check(
        &mut self,
        methods: u16,
        conditional: bool,
        number: u32,
        method: Method,
        conditions: &mut impl Conditions,
    ) -> bool {
        if methods & method.bit() == 0 {
            self.method = true;
            return false;
        }
        match if conditional { conditions.path(number as usize) } else { Verdict::Fits } {
            Verdict::Fits => return true,
            Verdict::Condition => self.condition = true,
            Verdict::Ip => self.ip = true,
        }
        false
    }
}
