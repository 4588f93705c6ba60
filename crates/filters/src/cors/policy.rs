//! Which origins, methods and headers are allowed. Pure.

/// Origins, compared in lower case.
pub(super) struct Origins {
    all: bool,
    exact: Vec<String>,
    /// What stands before and behind the star.
    patterns: Vec<(String, String)>,
}

impl Origins {
    pub(super) fn new(list: &[String]) -> Self {
        let all = list.is_empty() || list.iter().any(|origin| origin == "*");
        let mut origins = Self { all, exact: Vec::new(), patterns: Vec::new() };
        for origin in list.iter().map(|origin| origin.to_ascii_lowercase()) {
            match origin.split_once('*') {
                Some((before, behind)) => origins.patterns.push((before.to_owned(), behind.to_owned())),
                None => origins.exact.push(origin),
            }
        }
        origins
    }

    pub(super) fn are_all(&self) -> bool {
        self.all
    }

    pub(super) fn allow(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        let fits = |(before, behind): &(String, String)| {
            origin.len() >= before.len() + behind.len() && origin.starts_with(before) && origin.ends_with(behind)
        };
        self.all || self.exact.contains(&origin) || self.patterns.iter().any(fits)
    }
}

/// Names in any case.
pub(super) struct Words(Option<Vec<String>>);

impl Words {
    /// Those of `list`, or of `default` when it is empty; with `always` in any case. A `*` allows all.
    pub(super) fn new(list: &[String], default: &[&str], always: &[&str]) -> Self {
        if list.iter().any(|word| word == "*") {
            return Self(None);
        }
        let default = default.iter().copied().filter(|_| list.is_empty());
        let words = list.iter().map(String::as_str).chain(default).chain(always.iter().copied());
        Self(Some(words.map(str::to_ascii_lowercase).collect()))
    }

    pub(super) fn allow(&self, word: &str) -> bool {
        let word = word.to_ascii_lowercase();
        self.0.as_ref().is_none_or(|words| words.contains(&word))
    }
}
