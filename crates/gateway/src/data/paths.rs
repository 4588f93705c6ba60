//! The rules of a spec, compiled.

use tidegate_pipeline::regexp::Regexp;
use tidegate_pipeline::{Problems, Report};

use super::{
    address::{IpFilter, IpFilterSpec},
    compile::body_limit,
    conditions::{AllConditions, Matchers, PathConditions, read_regexp},
    rewrite::Rewrite,
    server::Target,
    spec::{HttpServerSpec, PathSpec, RuleSpec},
    variables::Template,
};
use crate::router::{Host, Path, Pattern, Rule, compile_host};

/// What a regular expression takes, with what the engine keeps for the threads that use it: an ordinary one of a path.
/// One of the largest that are accepted takes ten times as much.
pub(super) const REGEXP_BYTES: u64 = 32 << 10;

/// What the rules came to. Paths are numbered over all rules.
#[derive(Default)]
pub(super) struct Paths {
    pub(super) rules: Vec<Rule>,
    pub(super) conditions: AllConditions,
    pub(super) targets: Vec<Target>,
    /// Regular expressions among it.
    pub(super) regexps: usize,
}

impl Paths {
    /// Its problems go to the report, and then it is of no use. `body_bytes_max`: the server's.
    pub(super) fn new(spec: &HttpServerSpec, body_bytes_max: Option<u64>, report: &mut Report) -> Self {
        let mut paths = Self::default();
        for (index, rule) in spec.rules.iter().enumerate() {
            if report.problems.is_full() {
                break;
            }
            let at = format!("rules[{index}]");
            rule.check(&at, &mut report.problems);
            let hosts = paths.hosts(rule, &at, &mut report.problems);
            let filter = ip_filter(rule.ip_filter.as_ref(), &at, &mut report.problems);
            let mut compiled = Rule { hosts, guarded: filter.is_some(), paths: Vec::with_capacity(rule.paths.len()) };
            paths.conditions.rules.push(filter);
            for (index, path) in rule.paths.iter().enumerate() {
                let at = format!("{at}.paths[{index}]");
                compiled.paths.push(paths.path(path, &at, spec.is_tree(), body_bytes_max, report));
            }
            paths.rules.push(compiled);
        }
        paths
    }

    fn hosts(&mut self, rule: &RuleSpec, at: &str, problems: &mut Problems) -> Vec<Host> {
        let mut hosts = Vec::new();
        let one = std::iter::once((format!("{at}.host"), &rule.host, false));
        let regexp = std::iter::once((format!("{at}.hostRegexp"), &rule.host_regexp, true));
        let more = rule.hosts.iter().enumerate();
        let more = more.map(|(index, host)| (format!("{at}.hosts[{index}].value"), &host.value, host.is_regexp));
        for (field, text, is_regexp) in one.chain(regexp).chain(more).filter(|(_, text, _)| !text.is_empty()) {
            if !is_regexp {
                hosts.push(Host::Text(text.clone()));
                continue;
            }
            self.regexps += 1;
            match compile_host(text) {
                Ok(regexp) => hosts.push(Host::Regexp(regexp)),
                Err(error) => problems.add(field, error),
            }
        }
        hosts
    }

    fn path(
        &mut self,
        spec: &PathSpec,
        at: &str,
        tree: bool,
        body_bytes_max: Option<u64>,
        report: &mut Report,
    ) -> Path {
        spec.check(at, &mut report.problems);
        let problems = &mut report.problems;
        let conditions = PathConditions {
            headers: Matchers::new(
                &spec.headers,
                spec.match_all_header,
                &format!("{at}.headers"),
                problems,
                &mut self.regexps,
            ),
            queries: Matchers::new(
                &spec.queries,
                spec.match_all_query,
                &format!("{at}.queries"),
                problems,
                &mut self.regexps,
            ),
            ip_filter: ip_filter(spec.ip_filter.as_ref(), at, problems),
        };
        let mut path = Path { methods: spec.method_bits(), conditional: !conditions.is_empty(), ..Path::default() };
        self.conditions.paths.push(path.conditional.then(|| Box::new(conditions)));
        if tree {
            self.pattern(spec, at, &mut path, report);
        } else {
            path.exact.clone_from(&spec.path);
            path.prefix.clone_from(&spec.path_prefix);
            let field = format!("{at}.pathRegexp");
            path.regexp = read_regexp(&spec.path_regexp, field, &mut report.problems, &mut self.regexps);
        }
        let target = target(spec, at, &path, tree, body_bytes_max, report);
        self.targets.push(target);
        path
    }

    fn pattern(&mut self, spec: &PathSpec, at: &str, path: &mut Path, report: &mut Report) {
        for (field, text) in [("pathPrefix", &spec.path_prefix), ("pathRegexp", &spec.path_regexp)] {
            if !text.is_empty() {
                report.warn(&format!("{at}.{field}"), "has no effect for a RadixTree, which looks at path only");
            }
        }
        self.regexps += spec.path.matches(':').count();
        match Pattern::parse(&spec.path) {
            Ok(pattern) => path.pattern = pattern,
            // That it does not begin with / is said already.
            Err(error) if spec.path.is_empty() || spec.path.starts_with('/') => {
                report.problems.add(format!("{at}.path"), error);
            }
            Err(_) => {}
        }
    }
}

fn ip_filter(spec: Option<&IpFilterSpec>, at: &str, problems: &mut Problems) -> Option<IpFilter> {
    spec.map(|spec| IpFilter::new(spec, &format!("{at}.ipFilter"), problems))
}

fn target(
    spec: &PathSpec,
    at: &str,
    path: &Path,
    tree: bool,
    body_bytes_max: Option<u64>,
    report: &mut Report,
) -> Target {
    let rewrite = match () {
        () if spec.rewrite_target.is_empty() => None,
        () if tree => match Rewrite::of_pattern(&spec.rewrite_target, &path.pattern) {
            Ok(rewrite) => Some(rewrite),
            Err(error) => {
                report.problems.add(format!("{at}.rewriteTarget"), error);
                None
            }
        },
        () => Some(Rewrite::Ordered {
            target: spec.rewrite_target.clone(),
            prefix: path.prefix.len(),
            regexp: path.regexp.clone(),
        }),
    };
    let names = if tree { path.pattern.names.clone() } else { groups(path.regexp.as_ref()) };
    let header = |(name, text): (&String, &String)| {
        let field = format!("{at}.setHeaders.{name}");
        report.problems.require(!name.is_empty(), &field, "must have a name");
        let template = Template::new(text, &names, |name| report.warn(&field, &format!("${name} stands for nothing")));
        (name.clone(), template)
    };
    let set_headers: Box<[(String, Template)]> = spec.set_headers.iter().map(header).collect();
    let grouped = set_headers.iter().any(|(_, template)| template.has_captures());
    Target {
        number: 0,
        backend: spec.backend.clone(),
        rewrite,
        set_headers,
        groups: path.regexp.clone().filter(|_| grouped),
        body_bytes_max: body_limit(spec.client_max_body_size).unwrap_or(body_bytes_max),
    }
}

/// Names of the groups of an expression, or their numbers; 0 is all that it fits.
fn groups(regexp: Option<&Regexp>) -> Vec<String> {
    let names = regexp.into_iter().flat_map(|regexp| regexp.capture_names().enumerate());
    names.map(|(number, name)| name.map_or_else(|| number.to_string(), str::to_owned)).collect()
}
