use tidegate_http::message::Method;

use super::{radix::Radix, *};

/// What a request of the test fulfils.
#[derive(Debug, Default)]
struct Given {
    /// Rules that do not take the client.
    denied: Vec<usize>,
    /// Of each path.
    verdicts: Vec<Verdict>,
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
        Host::Regexp(regexp) => regexp.is_match(text.as_bytes()),
        Host::Text(pattern) => match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
            (Some(suffix), _) => text.ends_with(suffix),
            (_, Some(prefix)) => text.starts_with(prefix),
            _ => text == pattern,
        },
    }
}

/// The rules as their text says it: in order, the first that fits.
fn naive(rules: &[Rule], host: &str, path: &str, method: Method, given: &mut Given) -> Found {
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
            } else if candidate.regexp.as_ref().is_some_and(|regexp| regexp.is_match(path.as_bytes())) {
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

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % n
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    fn text(&mut self, parts: &[&str], most: usize) -> String {
        (0..self.below(most + 1)).map(|_| parts[self.below(parts.len())]).collect()
    }

    fn rule(&mut self, parts: &[&str]) -> Rule {
        let hosts = ["x.test", "*.test", "x*", "*", "y", "*x.test", "x.*"];
        let host = |random: &mut Self| match random.below(8) {
            7 => Host::Regexp(compile_host("^x|t$").unwrap()),
            at => Host::Text(hosts[at].to_owned()),
        };
        let path = |random: &mut Self| {
            let methods = [0, 0, Method::Get.bit(), Method::Post.bit() | Method::Get.bit(), Method::Put.bit()];
            let mut sometimes =
                || if random.below(2) == 0 { String::new() } else { format!("/{}", random.text(parts, 3)) };
            let (exact, prefix) = (sometimes(), sometimes());
            let regexp = random.one(&[None, None, None, Some("a.b"), Some("^/b"), Some("b$")]);
            Path {
                exact,
                prefix,
                regexp: regexp.map(|text| compile(text).unwrap()),
                methods: random.one(&methods),
                conditional: random.below(3) == 0,
                ..Path::default()
            }
        };
        Rule {
            hosts: (0..self.below(3)).map(|_| host(self)).collect(),
            guarded: self.below(4) == 0,
            paths: (0..self.below(6)).map(|_| path(self)).collect(),
        }
    }
}

#[test]
fn the_first_rule_that_fits_wins_as_in_a_plain_list() {
    let parts = ["/", "a", "b", "ab", "/a"];
    for seed in 0..300 {
        let mut random = Random(seed * 7 + 1);
        let rules: Vec<Rule> = (0..random.below(8) + 1).map(|_| random.rule(&parts)).collect();
        let router = Ordered::new(&rules);
        for _ in 0..200 {
            let host = random.one(&["x.test", "y.test", "xy", "y", "", "x"]);
            let path = format!("/{}", random.text(&parts, 4));
            let method = random.one(&[Method::Get, Method::Post, Method::Put, Method::Other]);
            let mut given = Given {
                denied: (0..8).filter(|_| random.below(2) == 0).collect(),
                verdicts: (0..48).map(|_| random.one(&[Verdict::Fits, Verdict::Ip, Verdict::Condition])).collect(),
            };
            let found = router.find(host.to_ascii_uppercase().as_bytes(), path.as_bytes(), method, &mut given);
            let expected = naive(&rules, host, &path, method, &mut given);
            assert_eq!(found, expected, "seed {seed}: {method:?} {host}{path} in {rules:#?} with {given:?}");
        }
    }
}

/// Paths of one rule, and which of them a path leads to with which captures; -1 is none.
fn check_tree(paths: &[&str], cases: &[(&str, i32, &[&str])]) {
    let path = |text: &&str| {
        let (conditional, text) = text.strip_prefix('?').map_or((false, *text), |text| (true, text));
        Path { pattern: Pattern::parse(text).unwrap(), conditional, ..Path::default() }
    };
    let rule = Rule { paths: paths.iter().map(path).collect(), ..Rule::default() };
    let router = Trees::new(&[rule]);
    // Conditions never hold here.
    let mut given = Given { verdicts: vec![Verdict::Condition; paths.len()], ..Given::default() };
    for (path, expected, values) in cases {
        let found = match router.find(b"", path.as_bytes(), Method::Get, &mut given) {
            Found::Route { path: number, captures, .. } => {
                let values: Vec<&str> = captures.iter().map(|(start, end)| &path[*start..*end]).collect();
                (i32::try_from(number).unwrap(), values)
            }
            Found::Nothing(_) => (-1, Vec::new()),
        };
        assert_eq!(found, (*expected, values.to_vec()), "{path} in {paths:?}");
    }
}

#[test]
fn the_most_specific_path_of_a_tree_wins() {
    check_tree(
        &["/a/*", "/a/{x}", "/a/{x:[0-9]+}", "/a/b", "/a/{x}/c", "/a/{y:[0-9]+}/{z}"],
        &[
            ("/a/b", 3, &[]),
            ("/a/12", 2, &["12"]),
            ("/a/x", 1, &["x"]),
            ("/a/bb", 1, &["bb"]),
            ("/a/x/c", 4, &["x"]),
            ("/a/12/c", 5, &["12", "c"]),
            ("/a/x/d", 0, &["x/d"]),
            ("/a/12/d/e", 0, &["12/d/e"]),
            ("/a/", 0, &[""]),
            ("/a", -1, &[]),
            ("/a//c", 0, &["/c"]),
        ],
    );
    // Text first, but not where it leads nowhere.
    check_tree(&["/{x}/end", "/ab{x}", "/abc/no"], &[("/abc/end", 0, &["abc"]), ("/abc", 1, &["c"]), ("/ab", -1, &[])]);
    // A placeholder ends at the text behind it.
    check_tree(
        &["/{a}-{b}.txt", "/{a}"],
        &[("/x-y.txt", 0, &["x", "y"]), ("/x-y", 1, &["x-y"]), ("/-y.txt", 1, &["-y.txt"])],
    );
    // Whole segments fit an expression or do not.
    check_tree(&["/{a:x|y}/z"], &[("/x/z", 0, &["x"]), ("/xx/z", -1, &[]), ("/x", -1, &[])]);
    // Of equal paths the first that takes the request.
    check_tree(&["?/a", "/a", "?/{b}", "/{b}", "?/*"], &[("/a", 1, &[]), ("/c", 3, &["c"]), ("/c/d", -1, &[])]);
    check_tree(&["/*"], &[("/", 0, &[""]), ("/x", 0, &["x"])]);
}

#[test]
fn the_rules_of_trees_stand_in_order() {
    let rule = |host: &str, path: &str, guarded| Rule {
        hosts: vec![Host::Text(host.to_owned())],
        guarded,
        paths: vec![Path { pattern: Pattern::parse(path).unwrap(), methods: Method::Get.bit(), ..Path::default() }],
    };
    let rules = [rule("*.test", "/{x}", false), rule("a.test", "/b", false), rule("", "/b/*", true)];
    let router = Trees::new(&rules);
    let mut given = Given { denied: vec![2], ..Given::default() };
    for (host, path, method, expected) in [
        ("a.test", "/b", Method::Get, Ok(0)),
        ("b.test", "/b", Method::Get, Ok(0)),
        ("b.test", "/b", Method::Put, Err(403)),
        ("none", "/b", Method::Get, Err(403)),
    ] {
        let found = match router.find(host.as_bytes(), path.as_bytes(), method, &mut given) {
            Found::Route { path, .. } => Ok(path),
            Found::Nothing(misses) => Err(misses.status()),
        };
        assert_eq!(found, expected, "{method:?} {host}{path}");
    }
}

#[test]
fn what_missed_decides_the_status() {
    for (ip, condition, method, status) in
        [(true, true, true, 403), (false, true, true, 400), (false, false, true, 405), (false, false, false, 404)]
    {
        assert_eq!(Misses { ip, condition, method }.status(), status);
    }
}

#[test]
fn a_key_may_be_the_beginning_of_another() {
    let mut tree = Radix::<usize>::default();
    for (number, key) in ["/api/v1", "/api/v2", "/api", "/", "", "/apx"].iter().enumerate() {
        *tree.entry(key.as_bytes()) = number;
    }
    let seen = |text: &str| {
        let mut seen = Vec::new();
        tree.walk(text.as_bytes(), |number| seen.push(*number));
        seen
    };
    assert_eq!(seen("/api/v1/x"), [4, 3, 2, 0]);
    assert_eq!(seen("/api/v"), [4, 3, 2]);
    assert_eq!(seen("/apx"), [4, 3, 5]);
    assert_eq!(seen("x"), [4]);
}

#[test]
fn escapes_are_decoded_and_written_again() {
    for (path, decoded, encoded) in [
        ("/a", "/a", "/a"),
        ("/%61%2fb", "/a/b", "/a/b"),
        ("/a%20b%25", "/a b%", "/a%20b%25"),
        ("/%", "/%", "/%25"),
        ("/%zz%4", "/%zz%4", "/%25zz%254"),
    ] {
        assert_eq!(&*decode(path.as_bytes()), decoded.as_bytes(), "{path}");
        assert_eq!(encode(decoded.as_bytes()), encoded.as_bytes(), "{path}");
    }
}

/// Counts what is asked.
struct Counting(usize);

impl Conditions for Counting {
    fn rule(&mut self, _: usize) -> bool {
        self.0 += 1;
        true
    }

    fn path(&mut self, _: usize) -> Verdict {
        self.0 += 1;
        Verdict::Fits
    }
}

#[test]
fn a_look_up_looks_at_as_many_paths_among_ten_thousand_as_among_ten() {
    let asked = |count: usize, tree: bool| {
        let path = |number: usize| Path {
            exact: if number.is_multiple_of(2) { format!("/e/{number}") } else { String::new() },
            prefix: if number.is_multiple_of(2) { String::new() } else { format!("/p/{number}/") },
            pattern: Pattern::parse(&format!("/p/{number}/{{rest}}")).unwrap(),
            conditional: true,
            ..Path::default()
        };
        let rules = [Rule { guarded: true, paths: (0..count).map(path).collect(), ..Rule::default() }];
        let mut asked = Counting(0);
        for number in [0, 3, 8, 9] {
            let text = if tree || number % 2 == 1 { format!("/p/{number}/x") } else { format!("/e/{number}") };
            let found = match tree {
                true => Trees::new(&rules).find(b"h", text.as_bytes(), Method::Get, &mut asked),
                false => Ordered::new(&rules).find(b"h", text.as_bytes(), Method::Get, &mut asked),
            };
            assert!(matches!(found, Found::Route { path, .. } if path == number), "{text}: {found:?}");
        }
        asked.0
    };
    for tree in [false, true] {
        assert_eq!((asked(10, tree), asked(10_000, tree)), (8, 8));
    }
}

#[test]
fn no_byte_gets_around_an_expression() {
    let login = Path { regexp: Some(compile("^/login/.*$").unwrap()), ..Path::default() };
    let router = Ordered::new(&[Rule { paths: vec![login, Path::default()], ..Rule::default() }]);
    let mut given = Given { denied: (0..0).collect(), verdicts: vec![Verdict::Fits; 2] };
    let found = router.find(b"x", b"/login/\xff", Method::Get, &mut given);
    assert!(matches!(found, Found::Route { path: 0, .. }), "{found:?}");
}
