//! The file of contexts, `~/.egctlrc`: which servers there are, and as whom they are asked.

use std::{env, fs, io::Read, path::PathBuf};

use serde::Deserialize;
use serde_json::Value;
use tidegate_http::tls;

use crate::{
    Error, Output, Streams,
    args::{ConfigCommand, Show},
    documents, files, print,
};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Contexts {
    current_context: String,
    clusters: Vec<Named>,
    users: Vec<Named>,
    contexts: Vec<Named>,
}

/// An entry of one of the lists: what it holds stands under the list's own word.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
    cluster: Cluster,
    user: User,
    context: Context,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Cluster {
    pub(crate) server: String,
    certificate_authority: String,
    certificate_authority_data: String,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct User {
    pub(crate) username: String,
    pub(crate) password: String,
    client_certificate: String,
    client_certificate_data: String,
    client_key: String,
    client_key_data: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
}

/// Where the file is, and whether somebody said so.
fn path(given: Option<&str>) -> Option<(PathBuf, bool)> {
    match given {
        Some(path) => Some((PathBuf::from(path), true)),
        None => env::var_os("HOME").map(|home| (PathBuf::from(home).join(".egctlrc"), false)),
    }
}

/// The file's path and text; `None` when nobody named one and there is none.
fn read(given: Option<&str>) -> Result<Option<(PathBuf, String)>, Error> {
    let Some((path, named)) = path(given) else { return Ok(None) };
    if !named && !path.exists() {
        return Ok(None);
    }
    let wrong = |told: String| Error::Local(format!("{}: {told}", path.display()));
    let mut text = String::new();
    let file = fs::File::open(&path).map_err(|error| wrong(error.to_string()))?;
    let read = file.take(documents::FILE_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| wrong(error.to_string()))?;
    Ok(Some((path, text)))
}

fn needed(given: Option<&str>) -> Result<(PathBuf, String), Error> {
    read(given)?.ok_or_else(|| Error::Local("there is no file of contexts: name one with --config".to_owned()))
}

impl Cluster {
    pub(crate) fn named(server: &str) -> Self {
        Self { server: server.to_owned(), ..Self::default() }
    }

    pub(crate) const fn has_authority(&self) -> bool {
        !(self.certificate_authority.is_empty() && self.certificate_authority_data.is_empty())
    }

    /// PEM of the authorities that the server's certificate must come from; `None`: those of the system.
    pub(crate) fn authority(&self) -> Result<Option<Vec<u8>>, Error> {
        pem("certificate-authority", &self.certificate_authority, &self.certificate_authority_data)
    }
}

impl User {
    /// Whether it has a password or a certificate to show.
    pub(crate) fn has_credentials(&self) -> bool {
        let certificate =
            [&self.client_certificate, &self.client_certificate_data, &self.client_key, &self.client_key_data];
        [&self.username, &self.password].iter().chain(&certificate).any(|text| !text.is_empty())
    }

    /// The certificate to show to the server.
    pub(crate) fn identity(&self) -> Result<Option<tls::Identity>, Error> {
        let cert = pem("client-certificate", &self.client_certificate, &self.client_certificate_data)?;
        let key = pem("client-key", &self.client_key, &self.client_key_data)?;
        match (cert, key) {
            (Some(cert), Some(key)) => {
                let identity = tls::Identity::from_pem(&cert, &key);
                identity.map(Some).map_err(|error| Error::Https(error.to_string()))
            }
            (None, None) => Ok(None),
            _ => Err(Error::Local("client-certificate and client-key need each other".to_owned())),
        }
    }
}

/// The data, PEM or in base64, else what the file holds.
fn pem(key: &str, file: &str, data: &str) -> Result<Option<Vec<u8>>, Error> {
    match (data, file) {
        ("", "") => Ok(None),
        ("", file) => fs::read(file).map(Some).map_err(|error| Error::Local(format!("{key}: {file}: {error}"))),
        (data, _) => tls::text(data).map(Some).map_err(|error| Error::Local(format!("{key}-data: {error}"))),
    }
}

impl Contexts {
    fn parse(path: &std::path::Path, text: &str) -> Result<Self, Error> {
        // An empty file is one without contexts.
        let read = serde_yaml_ng::from_str::<Option<Self>>(text);
        read.map(Option::unwrap_or_default).map_err(|error| Error::Local(format!("{}: {error}", path.display())))
    }

    /// Server and user of the current context.
    pub(crate) fn current(given: Option<&str>) -> Result<Option<(Cluster, User)>, Error> {
        let Some((path, text)) = read(given)? else { return Ok(None) };
        let all = Self::parse(&path, &text)?;
        if all.current_context.is_empty() {
            return Ok(None);
        }
        let find = |list: &'static str, name: &str, entries: &[Named]| {
            let index = entries.iter().position(|entry| entry.name == name);
            index.ok_or_else(|| Error::Local(format!("{}: {list} has no {name}", path.display())))
        };
        let context = &all.contexts[find("contexts", &all.current_context, &all.contexts)?].context;
        let cluster = all.clusters[find("clusters", &context.cluster, &all.clusters)?].cluster.clone();
        let user = match &*context.user {
            "" => User::default(),
            name => all.users[find("users", name, &all.users)?].user.clone(),
        };
        Ok(Some((cluster, user)))
    }
}

pub(crate) fn run(
    command: &ConfigCommand,
    given: Option<&str>,
    before: Show,
    streams: &mut Streams<'_>,
) -> Result<bool, Error> {
    let (path, text) = needed(given)?;
    let all = Contexts::parse(&path, &text)?;
    match command {
        ConfigCommand::View(show) => {
            let mut value: Value = serde_yaml_ng::from_str(&text).map_err(|error| Error::Local(error.to_string()))?;
            hide(&mut value);
            print::write_value(streams.out, before.over(*show), &value)?;
        }
        ConfigCommand::CurrentContext if all.current_context.is_empty() => {
            return Err(Error::Local(format!("{}: no context is chosen", path.display())));
        }
        ConfigCommand::CurrentContext => writeln!(streams.out, "{}", all.current_context)?,
        ConfigCommand::GetContexts(show) => {
            let row = |entry: &Named| {
                let mark = if entry.name == all.current_context { "*" } else { "" };
                [mark, &entry.name, &entry.context.cluster, &entry.context.user].map(ToOwned::to_owned)
            };
            let rows: Vec<_> = all.contexts.iter().map(row).collect();
            match before.over(*show) {
                Output::Default | Output::Table => {
                    print::write_table(streams.out, &["CURRENT", "NAME", "CLUSTER", "USER"], &rows)?;
                }
                output => {
                    let names = rows.iter().map(|[_, name, ..]| Value::from(name.as_str())).collect();
                    print::write_value(streams.out, output, &Value::Array(names))?;
                }
            }
        }
        ConfigCommand::UseContext { name } => {
            if !all.contexts.iter().any(|entry| entry.name == *name) {
                return Err(Error::Local(format!("{}: contexts has no {name}", path.display())));
            }
            files::replace(&path, &chosen(&text, name))
                .map_err(|e| Error::Local(format!("{}: {e}", path.display())))?;
            writeln!(streams.out, "Switched to context {name}")?;
        }
    }
    Ok(true)
}

/// The file with another current context. Line by line, so that comments and order stay.
fn chosen(text: &str, name: &str) -> String {
    let line = format!("current-context: {}\n", Value::from(name));
    let mut done = false;
    let mut out = String::new();
    for old in text.split_inclusive('\n') {
        if old.starts_with("current-context:") {
            out += &line;
            done = true;
        } else {
            out += old;
        }
    }
    if !done {
        out += if out.is_empty() || out.ends_with('\n') { "" } else { "\n" };
        out += &line;
    }
    out
}

/// What must not be read over a shoulder.
fn hide(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                match key.as_str() {
                    "password" | "client-key-data" => *value = Value::from("(hidden)"),
                    _ => hide(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(hide),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_context_is_chosen_in_place() {
        let check = |text: &str, expected: &str| assert_eq!(chosen(text, "b"), expected);
        check("# mine\ncurrent-context: a\nkind: Config\n", "# mine\ncurrent-context: \"b\"\nkind: Config\n");
        check("kind: Config", "kind: Config\ncurrent-context: \"b\"\n");
        check("", "current-context: \"b\"\n");
    }
}
