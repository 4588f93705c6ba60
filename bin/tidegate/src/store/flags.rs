//! The flags of `tidegate store`: etcd's, read as Go's `flag` package reads them, and our own.

/// What a value must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Text,
    Int,
    /// Go syntax: `5s`, `1m30s`, `100ms`.
    Duration,
}

/// What giving the flag does here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It works.
    Works,
    /// Read, checked and shown; what it governs in etcd does not exist here, or has no such knob.
    NoMeaning,
    /// Read, checked and shown; enforced in a later version.
    Later,
    /// What it asks for is missing: starting without it would be wrong, so another value than the default is refused.
    Missing,
}

pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) default: &'static str,
    pub(super) effect: Effect,
}

const fn flag(name: &'static str, kind: Kind, default: &'static str, effect: Effect) -> Flag {
    Flag { name, kind, default, effect }
}

use Effect::{Later, Missing, NoMeaning, Works};
use Kind::{Bool, Duration, Int, Text};

pub(super) static FLAGS: &[Flag] = &[
    flag("name", Text, "default", Works),
    flag("data-dir", Text, "", Works),
    flag("listen-client-urls", Text, "http://localhost:2379", Works),
    flag("listen-peer-urls", Text, "http://localhost:2380", Works),
    flag("advertise-client-urls", Text, "http://localhost:2379", Works),
    flag("initial-advertise-peer-urls", Text, "http://localhost:2380", Works),
    flag("initial-cluster", Text, "", Works),
    flag("initial-cluster-state", Text, "new", Works),
    flag("initial-cluster-token", Text, "etcd-cluster", Works),
    flag("max-request-bytes", Int, "1572864", Works),
    flag("max-txn-ops", Int, "128", Works),
    flag("heartbeat-interval", Int, "100", Works),
    flag("election-timeout", Int, "1000", Works),
    flag("log-level", Text, "info", Works),
    flag("log-outputs", Text, "default", Works),
    flag("log-format", Text, "json", Works),
    flag("logger", Text, "zap", Works),
    flag("watch-progress-notify-interval", Duration, "10m", Works),
    flag("memory-budget", Text, "256MiB", Works),
    flag("log-retention-bytes", Text, "512MiB", Works),
    flag("listen-metrics-urls", Text, "", Works),
    // Accepted and shown; enforced later.
    flag("quota-backend-bytes", Int, "0", Later),
    flag("auto-compaction-mode", Text, "periodic", Later),
    flag("auto-compaction-retention", Text, "0", Later),
    flag("max-concurrent-streams", Int, "4294967295", Later),
    flag("warning-apply-duration", Duration, "100ms", Later),
    flag("warning-unary-request-duration", Duration, "300ms", Later),
    flag("grpc-keepalive-min-time", Duration, "5s", Later),
    flag("grpc-keepalive-interval", Duration, "2h", Works),
    flag("grpc-keepalive-timeout", Duration, "20s", Works),
    flag("strict-reconfig-check", Bool, "true", Later),
    flag("max-learners", Int, "1", Later),
    flag("corrupt-check-time", Duration, "0", Later),
    flag("compact-hash-check-time", Duration, "1m", Later),
    flag("metrics", Text, "basic", Later),
    flag("feature-gates", Text, "", Later),
    flag("auth-token", Text, "simple", Later),
    flag("auth-token-ttl", Int, "300", Later),
    flag("bcrypt-cost", Int, "10", Later),
    flag("enable-grpc-gateway", Bool, "true", Later),
    flag("cors", Text, "*", Later),
    flag("host-whitelist", Text, "*", Later),
    flag("enable-log-rotation", Bool, "false", Later),
    flag(
        "log-rotation-config-json",
        Text,
        "{\"maxsize\": 100, \"maxage\": 0, \"maxbackups\": 0, \"localtime\": false, \"compress\": false}",
        Later,
    ),
    flag("initial-election-tick-advance", Bool, "true", Later),
    // The log is kept by bytes, pre-vote is always on, and there is no bbolt.
    flag("snapshot-count", Int, "10000", NoMeaning),
    flag("snapshot-catchup-entries", Int, "5000", NoMeaning),
    flag("max-wals", Int, "5", NoMeaning),
    flag("max-snapshots", Int, "5", NoMeaning),
    flag("pre-vote", Bool, "true", NoMeaning),
    flag("compaction-batch-limit", Int, "1000", NoMeaning),
    flag("compaction-sleep-interval", Duration, "10ms", NoMeaning),
    flag("backend-batch-interval", Duration, "0", NoMeaning),
    flag("backend-batch-limit", Int, "0", NoMeaning),
    flag("backend-bbolt-freelist-type", Text, "map", NoMeaning),
    flag("raft-read-timeout", Duration, "5s", NoMeaning),
    flag("raft-write-timeout", Duration, "5s", NoMeaning),
    flag("memory-mlock", Bool, "false", NoMeaning),
    flag("bootstrap-defrag-threshold-megabytes", Int, "0", NoMeaning),
    flag("downgrade-check-time", Duration, "5s", NoMeaning),
    flag("enable-pprof", Bool, "false", NoMeaning),
    flag("socket-reuse-port", Bool, "false", NoMeaning),
    flag("socket-reuse-address", Bool, "false", NoMeaning),
    flag("self-signed-cert-validity", Int, "1", NoMeaning),
    flag("discovery-fallback", Text, "exit", NoMeaning),
    flag("tls-min-version", Text, "TLS1.2", NoMeaning),
    flag("tls-max-version", Text, "", NoMeaning),
    // Starting as if these were not given would be wrong.
    flag("config-file", Text, "", Missing),
    flag("wal-dir", Text, "", Missing),
    flag("listen-client-http-urls", Text, "", Missing),
    flag("cert-file", Text, "", Missing),
    flag("key-file", Text, "", Missing),
    flag("client-cert-auth", Bool, "false", Missing),
    flag("trusted-ca-file", Text, "", Missing),
    flag("auto-tls", Bool, "false", Missing),
    flag("client-cert-file", Text, "", Missing),
    flag("client-key-file", Text, "", Missing),
    flag("client-crl-file", Text, "", Missing),
    flag("client-cert-allowed-hostname", Text, "", Missing),
    flag("peer-cert-file", Text, "", Missing),
    flag("peer-key-file", Text, "", Missing),
    flag("peer-client-cert-auth", Bool, "false", Missing),
    flag("peer-trusted-ca-file", Text, "", Missing),
    flag("peer-auto-tls", Bool, "false", Missing),
    flag("peer-client-cert-file", Text, "", Missing),
    flag("peer-client-key-file", Text, "", Missing),
    flag("peer-cert-allowed-cn", Text, "", Missing),
    flag("peer-cert-allowed-hostname", Text, "", Missing),
    flag("peer-crl-file", Text, "", Missing),
    flag("peer-skip-client-san-verification", Bool, "false", Missing),
    flag("cipher-suites", Text, "", Missing),
    flag("force-new-cluster", Bool, "false", Missing),
    flag("discovery-srv", Text, "", Missing),
    flag("discovery-srv-name", Text, "", Missing),
    flag("discovery-endpoints", Text, "", Missing),
    flag("discovery-token", Text, "", Missing),
    flag("unsafe-no-fsync", Bool, "false", Missing),
    flag("enable-distributed-tracing", Bool, "false", Missing),
];

/// Accepted for old launchers, without effect.
const IGNORED: &[&str] = &[
    "cluster-active-size",
    "cluster-remove-delay",
    "cluster-sync-interval",
    "config",
    "force",
    "max-result-buffer",
    "max-retry-attempts",
    "peer-heartbeat-interval",
    "peer-election-timeout",
    "retry-interval",
    "snapshot",
    "v",
    "vv",
];

/// Why the arguments cannot be used. The process ends with [`FlagError::exit_code`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FlagError {
    #[error("flag provided but not defined: -{0}")]
    Unknown(String),
    #[error("flag needs an argument: -{0}")]
    NoValue(String),
    #[error("invalid value \"{value}\" for flag -{name}: {why}")]
    BadValue { name: String, value: String, why: &'static str },
    #[error("bad flag syntax: {0}")]
    Syntax(String),
    #[error("\"{0}\" is not a valid flag")]
    Word(String),
    #[error(
        "conflicting environment variable \"{0}\" is shadowed by corresponding command-line flag (either unset environment \
         variable or disable flag)"
    )]
    Shadowed(String),
    #[error("--{0} is not implemented yet: starting without it would not be what it asks for")]
    Missing(&'static str),
}

impl FlagError {
    /// 2 for what cannot be read, 1 for what can and is wrong, as etcd has it.
    pub(super) const fn exit_code(&self) -> u8 {
        match self {
            Self::Shadowed(_) | Self::Missing(_) => 1,
            _ => 2,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Default,
    Environment,
    CommandLine,
}

/// A value for every flag, and where it came from.
#[derive(Debug)]
pub(super) struct Values {
    values: Vec<(String, Origin)>,
    /// `ETCD_*` variables that are no flag.
    pub(super) unknown_variables: Vec<String>,
    /// Old flags without effect that were given.
    pub(super) ignored: Vec<String>,
}

impl Values {
    pub(super) fn get(&self, name: &str) -> &str {
        &self.values[index(name).expect("the name is in the table")].0
    }

    pub(super) fn origin(&self, name: &str) -> Origin {
        self.values[index(name).expect("the name is in the table")].1
    }

    pub(super) fn given(&self, name: &str) -> bool {
        self.origin(name) != Origin::Default
    }

    /// Flags that were given and whose effect is not [`Effect::Works`].
    pub(super) fn without_effect(&self) -> impl Iterator<Item = (&'static Flag, &str)> {
        FLAGS
            .iter()
            .zip(&self.values)
            .filter(|(flag, (value, origin))| {
                *origin != Origin::Default && value != flag.default && flag.effect != Effect::Works
            })
            .map(|(flag, (value, _))| (flag, value.as_str()))
    }
}

fn index(name: &str) -> Option<usize> {
    FLAGS.iter().position(|flag| flag.name == name)
}

#[derive(Debug)]
pub(super) enum Parsed {
    Run(Values),
    Help,
    Version,
}

/// Reads arguments and environment. A flag given twice has its last value; a flag and its variable together are an error.
pub(super) fn parse(
    arguments: &[String],
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Parsed, FlagError> {
    let mut values: Vec<_> = FLAGS.iter().map(|flag| (flag.default.to_owned(), Origin::Default)).collect();
    let mut ignored = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(body) = argument.strip_prefix('-').filter(|body| !body.is_empty()) else {
            return Err(FlagError::Word(argument.clone()));
        };
        let body = body.strip_prefix('-').unwrap_or(body);
        if body.is_empty() {
            return rest
                .next()
                .map_or_else(|| Ok(()), |word| Err(FlagError::Word(word.clone())))
                .and_then(|()| finish(values, environment, ignored));
        }
        if body.starts_with('-') || body.starts_with('=') {
            return Err(FlagError::Syntax(argument.clone()));
        }
        let (name, inline) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, None),
        };
        match name {
            "h" | "help" => return Ok(Parsed::Help),
            "version" if inline.as_deref().is_none_or(|value| parse_bool(value) == Some(true)) => {
                return Ok(Parsed::Version);
            }
            "version" => continue,
            _ => {}
        }
        if IGNORED.contains(&name) {
            if inline.is_none() && !matches!(name, "force" | "v" | "vv") {
                rest.next().ok_or_else(|| FlagError::NoValue(name.to_owned()))?;
            }
            ignored.push(name.to_owned());
            continue;
        }
        // The names that etcd 3.5 and 3.6 had for what is no experiment any more.
        let plain = name.strip_prefix("experimental-").filter(|plain| index(plain).is_some()).unwrap_or(name);
        let at = index(plain).ok_or_else(|| FlagError::Unknown(name.to_owned()))?;
        let value = match (inline, FLAGS[at].kind) {
            (Some(value), _) => value,
            (None, Kind::Bool) => "true".to_owned(),
            (None, _) => rest.next().cloned().ok_or_else(|| FlagError::NoValue(name.to_owned()))?,
        };
        values[at] = (checked(&FLAGS[at], value)?, Origin::CommandLine);
    }
    finish(values, environment, ignored)
}

fn finish(
    mut values: Vec<(String, Origin)>,
    environment: impl IntoIterator<Item = (String, String)>,
    ignored: Vec<String>,
) -> Result<Parsed, FlagError> {
    let mut unknown_variables = Vec::new();
    for (variable, value) in environment {
        let Some(name) = variable.strip_prefix("ETCD_") else { continue };
        if value.is_empty() {
            continue;
        }
        let name = name.to_ascii_lowercase().replace('_', "-");
        let Some(at) = index(&name) else {
            if !matches!(name.as_str(), "verify" | "unsupported-arch") {
                unknown_variables.push(variable);
            }
            continue;
        };
        if values[at].1 == Origin::CommandLine {
            return Err(FlagError::Shadowed(variable));
        }
        values[at] = (checked(&FLAGS[at], value)?, Origin::Environment);
    }
    unknown_variables.sort_unstable();
    for (flag, (value, _)) in FLAGS.iter().zip(&values) {
        if flag.effect == Effect::Missing && value != flag.default {
            return Err(FlagError::Missing(flag.name));
        }
    }
    Ok(Parsed::Run(Values { values, unknown_variables, ignored }))
}

fn checked(flag: &Flag, value: String) -> Result<String, FlagError> {
    let why = match flag.kind {
        Kind::Text => None,
        Kind::Bool => match parse_bool(&value) {
            Some(value) => return Ok(value.to_string()),
            None => Some("parse error"),
        },
        Kind::Int => value.parse::<i64>().is_err().then_some("parse error"),
        Kind::Duration => parse_duration(&value).is_none().then_some("parse error"),
    };
    match why {
        None => Ok(value),
        Some(why) => Err(FlagError::BadValue { name: flag.name.to_owned(), value, why }),
    }
}

pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Go's syntax of durations, in nanoseconds: numbers with a unit each, a sign in front, or a bare 0.
pub(super) fn parse_duration(text: &str) -> Option<i128> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 6e10,
            "h" => 3.6e12,
            _ => return None,
        };
        rest = &rest[letters..];
        total += number * unit;
    }
    if total > i64::MAX as f64 || (text.len() == 1 && negative) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "within 64 bits, and fractions of a nanosecond do not matter")]
    let nanoseconds = total as i128;
    Some(if negative { -nanoseconds } else { nanoseconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Values, FlagError> {
        let arguments: Vec<_> = arguments.iter().map(|a| (*a).to_owned()).collect();
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        match parse(&arguments, environment)? {
            Parsed::Run(values) => Ok(values),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_both_dashes_and_both_forms_and_the_last_value_wins() {
        let values = run(&["-name", "a", "--data-dir=/d", "--name=b", "--max-txn-ops", "7"], &[]).unwrap();
        assert_eq!((values.get("name"), values.get("data-dir"), values.get("max-txn-ops")), ("b", "/d", "7"));
        assert_eq!(values.get("election-timeout"), "1000");
        assert!(!values.given("election-timeout"));
    }

    #[test]
    fn a_boolean_takes_no_word() {
        assert_eq!(run(&["--pre-vote=F"], &[]).unwrap().get("pre-vote"), "false");
        assert_eq!(run(&["--pre-vote", "false"], &[]).unwrap_err(), FlagError::Word("false".into()));
        assert_eq!(run(&["--pre-vote=maybe"], &[]).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn what_cannot_be_read_is_refused_as_etcd_does() {
        let check = |arguments: &[&str], text: &str, code: u8| {
            let error = run(arguments, &[]).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.exit_code()), (text, code), "{arguments:?}");
        };
        check(&["--bogus"], "flag provided but not defined: -bogus", 2);
        check(&["--name"], "flag needs an argument: -name", 2);
        check(&["word"], "\"word\" is not a valid flag", 2);
        check(&["--max-txn-ops=x"], "invalid value \"x\" for flag -max-txn-ops: parse error", 2);
        check(&["---name=x"], "bad flag syntax: ---name=x", 2);
        check(
            &["--cert-file=x"],
            "--cert-file is not implemented yet: starting without it would not be what it asks for",
            1,
        );
    }

    #[test]
    fn variables_fill_what_is_not_given_and_conflict_with_what_is() {
        let values =
            run(&[], &[("ETCD_NAME", "env"), ("ETCD_MAX_TXN_OPS", ""), ("HOME", "x"), ("ETCD_VERIFY", "all")]).unwrap();
        assert_eq!((values.get("name"), values.get("max-txn-ops")), ("env", "128"));
        assert_eq!(values.origin("name"), Origin::Environment);
        let values = run(&[], &[("ETCD_NO_SUCH", "1")]).unwrap();
        assert_eq!(values.unknown_variables, ["ETCD_NO_SUCH"]);
        let error = run(&["--name=a"], &[("ETCD_NAME", "b")]).unwrap_err();
        assert_eq!((error.clone(), error.exit_code()), (FlagError::Shadowed("ETCD_NAME".into()), 1));
    }

    #[test]
    fn old_names_are_known() {
        let values = run(&["--experimental-watch-progress-notify-interval=5s", "--snapshot", "x"], &[]).unwrap();
        assert_eq!(values.get("watch-progress-notify-interval"), "5s");
        assert_eq!(values.ignored, ["snapshot"]);
    }

    #[test]
    fn durations_are_those_of_go() {
        for (text, seconds) in [
            ("5s", Some(5.0)),
            ("1m30s", Some(90.0)),
            ("100ms", Some(0.1)),
            ("1.5h", Some(5400.0)),
            ("0", Some(0.0)),
            ("-2s", Some(-2.0)),
            ("5", None),
            ("", None),
            ("s", None),
            ("-", None),
        ] {
            assert_eq!(parse_duration(text).map(|ns| ns as f64 / 1e9), seconds, "{text}");
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = FLAGS.iter().map(|flag| flag.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FLAGS.len());
    }
}
