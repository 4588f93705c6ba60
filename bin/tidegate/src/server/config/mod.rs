//! Settings of a node, from the command line, the environment and a file.
//!
//! A flag wins over a variable, a variable over the file, the file over the default. `EASEGRESS_<FLAG>` stands for a flag and
//! wins over `EG_<NAME>`.

mod table;
mod value;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value as Json};
use tidegate_base::ByteSize;

use table::{ALIASES, Effect, KEYS, Key, Kind, find};
use value::Value;

/// The setting that has passwords.
const SECRET: &str = "basic-auth";
/// Largest configuration file.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub(super) enum ConfigError {
    #[error("{0}")]
    Usage(String),
    #[error("{origin}: {why}")]
    Bad { origin: String, why: String },
    #[error("config file {path}: {why}")]
    File { path: String, why: String },
    #[error("{0} is not implemented yet")]
    Missing(String),
}

/// What the command line asks for.
#[derive(Debug)]
pub(super) enum Asked {
    Run(Box<ServerConfig>),
    /// To be printed: the usage, the version, or the settings.
    Text(String),
}

/// The settings of a node.
#[derive(Debug)]
pub(super) struct ServerConfig {
    values: BTreeMap<&'static str, Value>,
    /// What was given and has no effect, for the log.
    pub(super) notes: Vec<String>,
    /// The file that was read; empty for none.
    pub(super) file: String,
}

impl ServerConfig {
    /// # Errors
    /// [`ConfigError`]
    pub(super) fn parse(
        arguments: &[String],
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Asked, ConfigError> {
        let mut flags: BTreeMap<&'static str, Value> = BTreeMap::new();
        let (mut file, mut print) = (None, false);
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let (name, mut inline) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            let mut next = || inline.take().or_else(|| rest.next().cloned());
            let needs = || ConfigError::Usage(format!("flag needs an argument: {name}"));
            match name {
                "-h" | "--help" => return Ok(Asked::Text(usage())),
                "-v" | "--version" => return Ok(Asked::Text(format!("tidegate {}\n", env!("CARGO_PKG_VERSION")))),
                "-c" | "--print-config" => print = true,
                "-f" | "--config-file" => file = Some(next().ok_or_else(needs)?),
                "--signal-upgrade" => return Err(ConfigError::Missing("signal-upgrade".to_owned())),
                _ => {
                    let unknown = || ConfigError::Usage(format!("unknown flag: {name}"));
                    let key = name.strip_prefix("--").and_then(find).ok_or_else(unknown)?;
                    let text = match key.kind {
                        Kind::Bool => inline.unwrap_or_else(|| "true".to_owned()),
                        _ => next().ok_or_else(needs)?,
                    };
                    let value = checked(key, &text, &format!("--{}", key.name))?;
                    match (flags.get_mut(key.name), value) {
                        // A list may be given piece by piece.
                        (Some(Value::List(list)), Value::List(more)) => list.extend(more),
                        (Some(Value::Map(map)), Value::Map(more)) => map.extend(more),
                        (_, value) => drop(flags.insert(key.name, value)),
                    }
                }
            }
        }
        let environment: BTreeMap<String, String> = environment.into_iter().collect();
        let mut values: BTreeMap<&'static str, Value> = BTreeMap::new();
        let mut notes = Vec::new();
        for key in KEYS {
            values.insert(key.name, checked(key, key.default, key.name)?);
        }
        let variable = |prefix: &str, name: &str| format!("{prefix}_{}", name.to_ascii_uppercase().replace('-', "_"));
        let named = ["EASEGRESS", "EG"].map(|prefix| environment.get(&variable(prefix, "config-file")).cloned());
        let file = file.or_else(|| named.into_iter().flatten().find(|path| !path.is_empty())).unwrap_or_default();
        if !file.is_empty() {
            read_file(&file, &mut values, &mut notes)?;
        }
        for key in KEYS {
            let short = ALIASES.iter().find(|(_, name)| *name == key.name).map_or(key.name, |(alias, _)| alias);
            let nested = format!("cluster-{}", key.name);
            // The weakest first: what comes later wins.
            let names = [
                key.in_cluster.then(|| variable("EG", &nested)),
                Some(variable("EG", key.name)),
                Some(variable("EASEGRESS", short)),
                Some(variable("EASEGRESS", key.name)),
            ];
            for name in names.into_iter().flatten() {
                if let Some(text) = environment.get(&name).filter(|text| !text.is_empty()) {
                    values.insert(key.name, checked(key, text, &name)?);
                }
            }
        }
        values.extend(flags);
        let mut config = Self { values, notes, file };
        config.check()?;
        if print { Ok(Asked::Text(config.to_yaml())) } else { Ok(Asked::Run(Box::new(config))) }
    }

    /// Refuses what is missing here, notes what has no effect, and fills in what depends on other settings.
    fn check(&mut self) -> Result<(), ConfigError> {
        for key in KEYS {
            let changed = self.values.get(key.name) != Some(&checked(key, key.default, key.name)?);
            match key.effect {
                Effect::Missing if changed => return Err(ConfigError::Missing(key.name.to_owned())),
                Effect::NoMeaning if changed => self.notes.push(format!("{} has no effect: {}", key.name, key.help)),
                Effect::Works | Effect::Missing | Effect::NoMeaning => {}
            }
        }
        for (name, allowed, others) in [
            ("cluster-role", "primary", &["secondary", "reader", "writer"][..]),
            ("state-flag", "new", &["existing"][..]),
        ] {
            let given = self.text(name).to_owned();
            if others.contains(&given.as_str()) {
                return Err(ConfigError::Missing(format!("{name} {given}")));
            }
            if given != allowed {
                return Err(bad(name, &format!("\"{given}\" is none of {allowed}, {}", others.join(", "))));
            }
        }
        if self.text("name").is_empty() {
            let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
            let name = format!("{host}-{}", self.text("api-addr")).replace([',', ':', '='], "-");
            self.values.insert("name", Value::Text(name));
        }
        let peer = self.list("initial-advertise-peer-urls").first().cloned().unwrap_or_default();
        if self.map("initial-cluster").is_empty() {
            let only = BTreeMap::from([(self.text("name").to_owned(), peer)]);
            self.values.insert("initial-cluster", Value::Map(only));
        }
        if self.map("initial-cluster").len() > 1 {
            return Err(ConfigError::Missing("a cluster of several members".to_owned()));
        }
        if !self.map("initial-cluster").contains_key(self.text("name")) {
            return Err(bad("initial-cluster", &format!("the member \"{}\" is not in it", self.text("name"))));
        }
        if self.is("tls") && (self.text("cert-file").is_empty() || self.text("key-file").is_empty()) {
            return Err(bad("tls", "needs cert-file and key-file"));
        }
        if !self.is("tls") && !self.text("client-ca-file").is_empty() {
            return Err(bad("client-ca-file", "needs tls"));
        }
        Ok(())
    }

    pub(super) fn text(&self, name: &str) -> &str {
        match self.values.get(name) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.values.get(name) == Some(&Value::Bool(true))
    }

    pub(super) fn list(&self, name: &str) -> &[String] {
        match self.values.get(name) {
            Some(Value::List(list)) => list,
            _ => &[],
        }
    }

    pub(super) fn map(&self, name: &str) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        match self.values.get(name) {
            Some(Value::Map(map)) => map,
            _ => &NONE,
        }
    }

    pub(super) fn memory_budget(&self) -> ByteSize {
        self.text("memory-budget").parse().expect("it was checked")
    }

    /// A directory, relative to that of the node.
    pub(super) fn dir(&self, name: &str) -> PathBuf {
        Path::new(self.text("home-dir")).join(self.text(name))
    }

    /// As a configuration file; passwords are left out.
    fn to_yaml(&self) -> String {
        let (mut top, mut cluster) = (Map::new(), Map::new());
        for key in KEYS {
            let Some(value) = self.values.get(key.name) else { continue };
            let value = match (key.name, value) {
                (SECRET, Value::Map(map)) => map.keys().map(|user| (user.clone(), Json::from("***"))).collect(),
                (_, value) => value.to_json(),
            };
            if key.in_cluster { &mut cluster } else { &mut top }.insert(key.name.to_owned(), value);
        }
        top.insert("cluster".to_owned(), Json::Object(cluster));
        serde_yaml_ng::to_string(&top).expect("a map of texts is YAML")
    }
}

fn bad(origin: &str, why: &str) -> ConfigError {
    ConfigError::Bad { origin: origin.to_owned(), why: why.to_owned() }
}

fn checked(key: &Key, text: &str, origin: &str) -> Result<Value, ConfigError> {
    Value::parse(key.kind, text).map_err(|why| match key.name {
        // Neither the value nor a part of it belongs in a log.
        SECRET => bad(origin, "invalid value: must be formatted as user=password"),
        _ => bad(origin, &format!("invalid value \"{text}\": {why}")),
    })
}

fn read_file(
    path: &str,
    values: &mut BTreeMap<&'static str, Value>,
    notes: &mut Vec<String>,
) -> Result<(), ConfigError> {
    let wrong = |why: String| ConfigError::File { path: path.to_owned(), why };
    let size = std::fs::metadata(path).map_err(|error| wrong(crate::logging::go_text(&error)))?.len();
    if size > FILE_BYTES_MAX {
        return Err(wrong(format!("has {size} bytes, more than the {FILE_BYTES_MAX} that are allowed")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(crate::logging::go_text(&error)))?;
    let json: Json = serde_yaml_ng::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let top = match json {
        Json::Null => Map::new(),
        Json::Object(top) => top,
        _ => return Err(wrong("must be a map".to_owned())),
    };
    let mut take = |name: &str, value: &Json, in_cluster: bool| match find(name) {
        Some(key) if key.in_cluster == in_cluster => {
            let value = Value::from_file(key.kind, value).map_err(|why| match key.name {
                SECRET => wrong(format!("{name}: must be a map of users and passwords")),
                _ => wrong(format!("{name}: {why}")),
            })?;
            values.insert(key.name, value);
            Ok(())
        }
        _ => {
            notes.push(format!("the config file's {}{name} is no setting", if in_cluster { "cluster." } else { "" }));
            Ok(())
        }
    };
    for (name, value) in &top {
        match (name.as_str(), value) {
            ("cluster", Json::Object(cluster)) => {
                cluster.iter().try_for_each(|(name, value)| take(name, value, true))?;
            }
            ("cluster", Json::Null) => {}
            ("cluster", _) => return Err(wrong("cluster must be a map".to_owned())),
            (name, value) => take(name, value, false)?,
        }
    }
    Ok(())
}

fn usage() -> String {
    let mut text = "\
Starts a gateway node with the store embedded.

Usage: tidegate server [flags]

A flag may stand as EASEGRESS_<FLAG> or EG_<FLAG> in the environment, or in the file of --config-file (YAML, those marked
with * below the key cluster).

  -f, --config-file <file>          Read settings from a file
  -c, --print-config                Print the settings and end
  -v, --version                     Print the version and end
  -h, --help                        Print this and end
"
    .to_owned();
    for key in KEYS {
        let value = match key.kind {
            Kind::Text => " <text>",
            Kind::Bool => "",
            Kind::List => " <list>",
            Kind::Map => " <k=v,k=v>",
            Kind::Number => " <number>",
            Kind::Duration => " <duration>",
            Kind::Bytes => " <bytes>",
        };
        let star = if key.in_cluster { "* " } else { "" };
        let default = if key.default.is_empty() { String::new() } else { format!(" (default {})", key.default) };
        let effect = match key.effect {
            Effect::Works => "",
            Effect::NoMeaning => ". Has no effect",
            Effect::Missing => ". Not implemented yet",
        };
        let flag = format!("--{}{value}", key.name);
        text.push_str(&format!("      {flag:<40} {star}{}{default}{effect}\n", key.help));
    }
    text
}

#[cfg(test)]
mod tests;
