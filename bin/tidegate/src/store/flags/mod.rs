//! The flags of `tidegate store`, read as etcd reads its own: the command line as Go's `flag` package does, then either the
//! configuration file alone, or the variables for what the command line leaves open.

mod file;
mod table;
mod value;

use std::collections::BTreeMap;

pub(super) use self::{
    file::FileError,
    table::{Effect, FLAGS, Flag, INITIAL_CLUSTER},
    value::{gates, parse_duration},
};
use self::{
    table::{GATES, IGNORED, index},
    value::{Kind, checked, parse_bool},
};

/// Why the arguments cannot be read. Told with the usage; the process ends with 2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum UsageError {
    #[error("flag provided but not defined: -{0}")]
    Unknown(String),
    #[error("flag needs an argument: -{0}")]
    NoValue(String),
    #[error("invalid value \"{value}\" for flag -{name}: {why}")]
    BadValue { name: String, value: String, why: String },
    #[error("invalid boolean value \"{value}\" for -{name}: {why}")]
    BadBool { name: String, value: String, why: String },
    #[error("bad flag syntax: {0}")]
    Syntax(String),
}

/// What cannot be used although it can be read. Told as a line of the log; the process ends with 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FlagError {
    #[error("\"{0}\" is not a valid flag")]
    Word(String),
    #[error("invalid value \"{value}\" for {variable}: {why}")]
    BadVariable { variable: String, value: String, why: String },
    #[error(transparent)]
    File(#[from] FileError),
    /// The second bracket is etcd's, too.
    #[error(
        "conflicting environment variable is shadowed by corresponding command-line flag (either unset environment variable \
         or disable flag))"
    )]
    Shadowed { variable: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Default,
    Environment,
    CommandLine,
    File,
}

/// A value for every flag, where it came from, and what is to be said about it.
#[derive(Debug)]
pub(super) struct Values {
    values: Vec<(String, Origin)>,
    pub(super) notes: Notes,
}

/// What the log says about the flags once there is a log.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// `ETCD_*` variables that are no flag.
    pub(super) unknown_variables: Vec<String>,
    pub(super) used_variables: Vec<String>,
    /// Old flags without effect that were given.
    pub(super) ignored: Vec<String>,
    /// The configuration file that was read.
    pub(super) file: Option<String>,
}

impl Values {
    fn new() -> Self {
        let values = FLAGS.iter().map(|flag| (flag.default.to_owned(), Origin::Default)).collect();
        Self { values, notes: Notes::default() }
    }

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

    /// Takes a value from the command line or the environment; returns the flag's error text.
    fn set(&mut self, at: usize, value: &str, origin: Origin) -> Result<(), String> {
        let flag = &FLAGS[at];
        let value = checked(flag.kind, value)?;
        // No URLs at all leave those of the default, and count as given.
        let kept = flag.kind == Kind::Urls && value.is_empty();
        let slot = &mut self.values[at];
        *slot = (if kept { std::mem::take(&mut slot.0) } else { value }, origin);
        Ok(())
    }

    fn add_gate(&mut self, gate: &str, on: bool, origin: Origin) {
        let slot = &mut self.values[index("feature-gates").expect("the name is in the table")];
        *slot = (format!("{},{gate}={on}", slot.0).trim_start_matches(',').to_owned(), origin);
    }
}

#[derive(Debug)]
pub(super) enum Parsed {
    Run(CommandLine),
    Help,
}

/// What the command line says, before anything else is looked at.
#[derive(Debug)]
pub(super) struct CommandLine {
    values: Values,
    /// The first word that is no flag: nothing behind it was looked at.
    word: Option<String>,
    version: bool,
}

/// Reads the command line.
///
/// # Errors
/// [`UsageError`], of the first argument that cannot be read.
pub(super) fn parse(arguments: &[String]) -> Result<Parsed, UsageError> {
    let mut line = CommandLine { values: Values::new(), word: None, version: false };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(body) = argument.strip_prefix('-').filter(|body| !body.is_empty()) else {
            line.word = Some(argument.clone());
            break;
        };
        let body = body.strip_prefix('-').unwrap_or(body);
        if body.is_empty() {
            line.word = rest.next().cloned();
            break;
        }
        if body.starts_with('-') || body.starts_with('=') {
            return Err(UsageError::Syntax(argument.clone()));
        }
        let (name, inline) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        let boolean = || {
            let value = inline.unwrap_or("true");
            parse_bool(value).ok_or_else(|| UsageError::BadBool {
                name: name.to_owned(),
                value: value.to_owned(),
                why: "parse error".to_owned(),
            })
        };
        if name == "version" {
            line.version = boolean()?;
            continue;
        }
        if IGNORED.contains(&name) {
            line.values.notes.ignored.push(name.to_owned());
            continue;
        }
        if let Some((_, gate)) = GATES.iter().find(|(old, _)| *old == name) {
            line.values.add_gate(gate, boolean()?, Origin::CommandLine);
            continue;
        }
        // The names that etcd 3.5 and 3.6 had for what is no experiment any more.
        let plain = name.strip_prefix("experimental-").filter(|plain| index(plain).is_some()).unwrap_or(name);
        let Some(at) = index(plain) else {
            if matches!(name, "h" | "help") {
                return Ok(Parsed::Help);
            }
            return Err(UsageError::Unknown(name.to_owned()));
        };
        let value = match (inline, FLAGS[at].kind) {
            (Some(value), _) => value,
            (None, Kind::Bool) => "true",
            (None, _) => rest.next().ok_or_else(|| UsageError::NoValue(name.to_owned()))?,
        };
        line.values.set(at, value, Origin::CommandLine).map_err(|why| {
            let (name, value) = (name.to_owned(), value.to_owned());
            match FLAGS[at].kind {
                Kind::Bool => UsageError::BadBool { name, value, why },
                _ => UsageError::BadValue { name, value, why },
            }
        })?;
    }
    Ok(Parsed::Run(line))
}

impl CommandLine {
    /// Whether it only asks for the version.
    pub(super) fn asks_version(&self) -> bool {
        self.version && self.word.is_none()
    }

    /// What else has a say: the configuration file alone where one is named, else the variables.
    ///
    /// # Errors
    /// [`FlagError`].
    pub(super) fn finish(self, environment: impl IntoIterator<Item = (String, String)>) -> Result<Values, FlagError> {
        if let Some(word) = self.word {
            return Err(FlagError::Word(word));
        }
        let environment: BTreeMap<String, String> =
            environment.into_iter().filter(|(name, _)| name.starts_with("ETCD_")).collect();
        let named = [Some(self.values.get("config-file")), environment.get("ETCD_CONFIG_FILE").map(String::as_str)];
        let path = named.into_iter().flatten().find(|path| !path.is_empty()).map(str::to_owned);
        match path {
            Some(path) => {
                let mut values = Values::new();
                values.notes.ignored = self.values.notes.ignored;
                file::read(&path, &mut values)?;
                values.notes.file = Some(path);
                Ok(values)
            }
            None => with_variables(self.values, environment),
        }
    }
}

fn with_variables(mut values: Values, mut environment: BTreeMap<String, String>) -> Result<Values, FlagError> {
    let variable = |name: &str| format!("ETCD_{}", name.to_ascii_uppercase().replace('-', "_"));
    let mut order: Vec<usize> = (0..FLAGS.len()).collect();
    order.sort_unstable_by_key(|at| FLAGS[*at].name);
    let (mut wrong, mut shadowed) = (None, None);
    for at in order {
        let variable = variable(FLAGS[at].name);
        let Some(value) = environment.remove(&variable) else { continue };
        if values.values[at].1 == Origin::CommandLine {
            shadowed = shadowed.or(Some(variable));
        } else if !value.is_empty() {
            match values.set(at, &value, Origin::Environment) {
                Ok(()) => values.notes.used_variables.push(variable),
                Err(why) => wrong = Some(FlagError::BadVariable { variable, value, why }),
            }
        }
    }
    for name in IGNORED {
        environment.remove(&variable(name));
    }
    for (old, gate) in GATES {
        if let Some(on) = environment.remove(&variable(old)).as_deref().and_then(parse_bool) {
            values.add_gate(gate, on, Origin::Environment);
        }
    }
    // Not configuration: the first is looked at by tests of etcd, the second by its start on rare processors.
    let others = ["ETCD_VERIFY", "ETCD_UNSUPPORTED_ARCH"];
    let unknown = environment.into_iter().filter(|(name, value)| !value.is_empty() && !others.contains(&name.as_str()));
    values.notes.unknown_variables = unknown.map(|(name, _)| name).collect();
    match (shadowed, wrong) {
        (Some(variable), _) => Err(FlagError::Shadowed { variable }),
        (None, Some(wrong)) => Err(wrong),
        (None, None) => Ok(values),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::store) fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Values, String> {
        let arguments: Vec<_> = arguments.iter().map(|a| (*a).to_owned()).collect();
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        match parse(&arguments).map_err(|error| error.to_string())? {
            Parsed::Run(line) => line.finish(environment).map_err(|error| error.to_string()),
            Parsed::Help => Err("help".to_owned()),
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
        assert_eq!(run(&["--pre-vote", "false"], &[]).unwrap_err(), "\"false\" is not a valid flag");
        let error = run(&["--pre-vote=maybe"], &[]).unwrap_err();
        assert_eq!(error, "invalid boolean value \"maybe\" for -pre-vote: parse error");
    }

    #[test]
    fn what_cannot_be_read_is_refused_in_etcds_words() {
        let check =
            |arguments: &[&str], text: &str| assert_eq!(run(arguments, &[]).unwrap_err(), text, "{arguments:?}");
        check(&["--bogus"], "flag provided but not defined: -bogus");
        check(&["--name"], "flag needs an argument: -name");
        check(&["word", "--bogus"], "\"word\" is not a valid flag");
        check(&["--", "x"], "\"x\" is not a valid flag");
        check(&["-"], "\"-\" is not a valid flag");
        check(&["--max-txn-ops=x"], "invalid value \"x\" for flag -max-txn-ops: parse error");
        check(&["---name=x"], "bad flag syntax: ---name=x");
        check(&["--name=a", "--help", "--bogus"], "help");
        check(&["--config-file=/nonexistent/x"], "open /nonexistent/x: no such file or directory");
    }

    #[test]
    fn variables_fill_what_is_not_given_and_conflict_with_what_is() {
        let values =
            run(&[], &[("ETCD_NAME", "env"), ("ETCD_MAX_TXN_OPS", ""), ("HOME", "x"), ("ETCD_VERIFY", "all")]).unwrap();
        assert_eq!((values.get("name"), values.get("max-txn-ops")), ("env", "128"));
        assert_eq!(values.origin("name"), Origin::Environment);
        assert_eq!((values.notes.used_variables, values.notes.unknown_variables), (vec!["ETCD_NAME".into()], vec![]));
        let values = run(&[], &[("ETCD_NO_SUCH", "1")]).unwrap();
        assert_eq!(values.notes.unknown_variables, ["ETCD_NO_SUCH"]);
        // Also when it is empty, and before a value that is wrong.
        let error = run(&["--name=a"], &[("ETCD_NAME", ""), ("ETCD_MAX_TXN_OPS", "x")]).unwrap_err();
        assert!(error.starts_with("conflicting environment variable is shadowed"), "{error}");
        let error = run(&[], &[("ETCD_MAX_TXN_OPS", "x")]).unwrap_err();
        assert_eq!(error, "invalid value \"x\" for ETCD_MAX_TXN_OPS: parse error");
    }

    #[test]
    fn old_names_are_known() {
        let arguments = [
            "--experimental-watch-progress-notify-interval=5s",
            "--snapshot",
            "--experimental-initial-corrupt-check=true",
            "--experimental-compact-hash-check-enabled",
        ];
        let values = run(&arguments, &[]).unwrap();
        assert_eq!(values.get("watch-progress-notify-interval"), "5s");
        assert_eq!(values.get("feature-gates"), "InitialCorruptCheck=true,CompactHashCheck=true");
        assert_eq!(values.notes.ignored, ["snapshot"]);
    }

    #[test]
    fn no_urls_leave_the_default_and_count_as_given() {
        let values = run(&["--listen-client-urls="], &[]).unwrap();
        assert_eq!(values.get("listen-client-urls"), "http://localhost:2379");
        assert!(values.given("listen-client-urls"));
    }

    #[test]
    fn names_are_unique_and_defaults_can_be_read() {
        let mut names: Vec<_> = FLAGS.iter().map(|flag| flag.name).chain(IGNORED.iter().copied()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FLAGS.len() + IGNORED.len());
        for flag in FLAGS {
            assert_eq!(checked(flag.kind, flag.default).as_deref(), Ok(flag.default), "{}", flag.name);
        }
    }
}
