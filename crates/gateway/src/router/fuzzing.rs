//! Rules and requests out of any bytes.

use tidegate_http::message::Method;
use tidegate_pipeline::regexp::{Regexp, Text};

use super::{
    Found, Host, How, Ordered, Path, Pattern, Rule, Trees, Verdict, compile, compile_host,
    model::{Given, naive},
};

/// Choices that the input makes; behind its end the first of each.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn below(&mut self, n: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first) % n
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    fn text(&mut self, parts: &[&str], most: usize) -> String {
        (0..self.below(most + 1)).map(|_| self.one(parts)).collect()
    }

    fn host(&mut self) -> Host {
        match self.below(8) {
            7 => Host::Regexp(compile_host(self.one(&["^x", "t$", "."])).expect("a good expression")),
            at => Host::Text(["x.test", "*.test", "x*", "*", "y", "*x.test", "x.*"][at].to_owned()),
        }
    }

    fn path(&mut self) -> Path {
        let parts = ["/", "a", "b", "ab", "%", "\u{e9}"];
        let (exact, prefix) = match self.below(4) {
            0 => (String::new(), String::new()),
            1 => (format!("/{}", self.text(&parts, 4)), String::new()),
            2 => (String::new(), format!("/{}", self.text(&parts, 4))),
            _ => (format!("/{}", self.text(&parts, 4)), format!("/{}", self.text(&parts, 4))),
        };
        let regexp = self.one(&[None, None, None, Some("a.b"), Some("^/b"), Some("b$")]);
        Path {
            exact,
            prefix,
            regexp: regexp.map(|text| compile(text).expect("a good expression")),
            methods: self.one(&[0, Method::Get.bit(), Method::Post.bit() | Method::Put.bit()]),
            conditional: self.below(3) == 0,
            ..Path::default()
        }
    }

    fn given(&mut self) -> Given {
        Given {
            denied: (0..8).filter(|_| self.below(2) == 1).collect(),
            verdicts: (0..48).map(|_| self.one(&[Verdict::Fits, Verdict::Ip, Verdict::Condition])).collect(),
        }
    }
}

/// Rules, and requests that look for their way.
///
/// # Panics
/// When an `Ordered` router finds another way than its rules as a list, or a `RadixTree` one that does not fit, or none where
/// one fits.
pub(crate) fn router(data: &[u8]) {
    let mut choices = Choices(data);
    ordered(&mut choices);
    tree(&mut choices);
}

fn ordered(choices: &mut Choices<'_>) {
    let rule = |choices: &mut Choices<'_>| Rule {
        hosts: (0..choices.below(3)).map(|_| choices.host()).collect(),
        guarded: choices.below(4) == 1,
        paths: (0..choices.below(6)).map(|_| choices.path()).collect(),
    };
    let rules: Vec<Rule> = (0..1 + choices.below(8)).map(|_| rule(choices)).collect();
    let router = Ordered::new(&rules);
    for _ in 0..8 {
        let host = choices.one(&["x.test", "y.test", "xy", "y", "", "x"]);
        let path = format!("/{}", choices.text(&["/", "a", "b", "ab", "%", "\u{e9}"], 5));
        let method = choices.one(&[Method::Get, Method::Post, Method::Put, Method::Other]);
        let mut given = choices.given();
        let found = router.find(host.as_bytes(), path.as_bytes(), method, &mut given);
        let expected = naive(&rules, host, &path, method, &mut given);
        assert_eq!(found, expected, "{method:?} {host}{path} in {rules:#?} with {given:?}");
    }
}

/// A path of whole segments, and an expression that fits what it fits.
fn segments(choices: &mut Choices<'_>) -> (Pattern, Regexp) {
    let (mut text, mut expression) = (String::new(), "(?s-u)^".to_owned());
    for number in 0..1 + choices.below(4) {
        let (part, fits) = match choices.below(6) {
            0 => (format!("{{p{number}}}"), "[^/]+"),
            1 => (format!("{{p{number}:[ab]+}}"), "[ab]+"),
            2 => (format!("{{p{number}:a|bb}}"), "(?:a|bb)"),
            at => (["a", "ab", "b"][at - 3].to_owned(), ["a", "ab", "b"][at - 3]),
        };
        text += &format!("/{part}");
        expression += &format!("/{fits}");
    }
    if choices.below(4) == 1 {
        text += "/*";
        expression += "/.*";
    }
    let regex = super::compile(&format!("{expression}$")).expect("a good expression");
    (Pattern::parse(&text).expect("a good path"), regex)
}

fn tree(choices: &mut Choices<'_>) {
    let all: Vec<(Pattern, Regexp)> = (0..1 + choices.below(10)).map(|_| segments(choices)).collect();
    let path = |(pattern, _): &(Pattern, Regexp)| Path { pattern: pattern.clone(), ..Path::default() };
    let router = Trees::new(&[Rule { paths: all.iter().map(path).collect(), ..Rule::default() }]);
    for _ in 0..8 {
        let path: String =
            (0..1 + choices.below(5)).map(|_| format!("/{}", choices.text(&["a", "b", "x"], 2))).collect();
        let fits = |(_, regex): &(Pattern, Regexp)| regex.is_match(&Text::new(path.as_bytes()));
        match router.find(b"h", path.as_bytes(), Method::Get, &mut Given::default()) {
            Found::Route { path: number, how, captures } => {
                assert!(how == How::Pattern && fits(&all[number]), "{path} took {:?}", all[number]);
                assert_eq!(captures.len(), all[number].0.names.len(), "{path} took {:?}", all[number]);
                for (start, end) in captures {
                    assert!(path.get(start..end).is_some(), "{start}..{end} of {path}");
                }
            }
            Found::Nothing(_) => assert!(!all.iter().any(fits), "{path} found nothing in {all:?}"),
        }
    }
}
