use tidegate_http::message::Method;

use super::*;

/// The rules as their text says it: in order, the first that fits.
fn naive(rules: &[Rule], host: &str, path: &str, method: Method) -> Found {
    let (mut number, mut path_fits) = (0, false);
    for rule in rules {
        let host_fits = rule.hosts.is_empty()
            || rule.hosts.iter().any(|pattern| match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
                (Some(suffix), _) => host.ends_with(suffix),
                (_, Some(prefix)) => host.starts_with(prefix),
                _ => host == pattern,
            });
        for (offset, candidate) in rule.paths.iter().enumerate().filter(|_| host_fits) {
            let exact = !candidate.exact.is_empty() && candidate.exact == path;
            let prefix = !candidate.prefix.is_empty() && path.starts_with(&candidate.prefix);
            let any = candidate.exact.is_empty() && candidate.prefix.is_empty();
            if !(exact || prefix || any) {
                continue;
            }
            path_fits = true;
            if candidate.methods == 0 || candidate.methods & method.bit() != 0 {
                return Found::Route { path: number + offset, exact };
            }
        }
        number += rule.paths.len();
    }
    if path_fits { Found::OtherMethods } else { Found::Nothing }
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % n
    }

    fn text(&mut self, parts: &[&str], most: usize) -> String {
        (0..self.below(most + 1)).map(|_| parts[self.below(parts.len())]).collect()
    }
}

#[test]
fn the_first_rule_that_fits_wins_as_in_a_plain_list() {
    let parts = ["/", "a", "b", "ab", "/a"];
    for seed in 0..300 {
        let mut random = Random(seed * 7 + 1);
        let rules: Vec<Rule> = (0..random.below(8) + 1)
            .map(|_| Rule {
                hosts: (0..random.below(3))
                    .map(|_| ["x.test", "*.test", "x*", "*", "y", "*x.test", "x.*"][random.below(7)].to_owned())
                    .collect(),
                paths: (0..random.below(6))
                    .map(|_| Path {
                        exact: if random.below(2) == 0 {
                            String::new()
                        } else {
                            format!("/{}", random.text(&parts, 3))
                        },
                        prefix: if random.below(2) == 0 {
                            String::new()
                        } else {
                            format!("/{}", random.text(&parts, 3))
                        },
                        methods: [0, Method::Get.bit(), Method::Post.bit() | Method::Get.bit(), Method::Put.bit()]
                            [random.below(4)],
                    })
                    .collect(),
            })
            .collect();
        let router = Router::new(&rules);
        for _ in 0..200 {
            let host = ["x.test", "y.test", "xy", "y", "", "x"][random.below(6)];
            let path = format!("/{}", random.text(&parts, 4));
            let method = [Method::Get, Method::Post, Method::Put, Method::Other][random.below(4)];
            let found = router.find(host.to_ascii_uppercase().as_bytes(), path.as_bytes(), method);
            assert_eq!(found, naive(&rules, host, &path, method), "seed {seed}: {method:?} {host}{path} in {rules:#?}");
        }
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
