//! Requests to the node, and what went wrong with them.

use std::{cell::OnceCell, io::Write, net::IpAddr};

use serde_json::Value;
use tidegate_http::{
    message::Method,
    tls,
    upstream::{Answer, Client, ClientError},
};

use crate::{
    args::Global,
    base64,
    contexts::{Cluster, Contexts, User},
    print::{escaped, inline},
};

/// Admin API of `server`, and client port of `store`, which has no admin API.
const DEFAULT: &str = "127.0.0.1:2381";
const DEFAULT_STORE: &str = "127.0.0.1:2379";
pub(crate) const PREFIX: &str = "/apis/v2";
/// What a server says that was spoken to in plain HTTP, with status 400.
const NEEDS_HTTPS: &[u8] = b"Client sent an HTTP request to an HTTPS server";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server answered with an error.
    #[error("{0}")]
    Refused(Box<Refusal>),
    #[error("{server}: {source}")]
    Unreachable { server: String, source: ClientError },
    #[error("{server}: the answer makes no sense: {told}")]
    Nonsense { server: String, told: String },
    /// What https needs cannot be read.
    #[error("https: {0}")]
    Https(String),
    /// A file, the terminal, or the command itself.
    #[error("{0}")]
    Local(String),
}

/// An answer with an error's status.
#[derive(Debug, thiserror::Error)]
#[error("{status}: {message}")]
pub struct Refusal {
    pub(crate) status: u16,
    pub(crate) message: String,
    /// What is wrong with a spec, each with its field in front.
    pub(crate) problems: Vec<String>,
    /// What a dry run says besides.
    pub(crate) warnings: Vec<String>,
}

impl Error {
    pub(crate) fn not_found(message: String) -> Self {
        Self::Refused(Box::new(Refusal { status: 404, message, problems: Vec::new(), warnings: Vec::new() }))
    }

    /// The status of the answer, where there was one.
    pub(crate) fn status(&self) -> Option<u16> {
        if let Self::Refused(refusal) = self { Some(refusal.status) } else { None }
    }

    /// Whether the server knows nothing by that name, or knows no such route.
    pub(crate) fn is_absent(&self) -> bool {
        self.status() == Some(404)
    }

    /// Whether what is asked next may go better.
    pub(crate) const fn is_of_one(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Local(_))
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Error::Local(format!("write the answer: {error}"))
    }
}

pub(crate) struct Server {
    base: String,
    /// Nobody named the server, so a store alone may be meant.
    by_default: bool,
    /// Value of the header `Authorization`.
    credentials: Option<String>,
    cluster: Cluster,
    user: User,
    /// Take any certificate.
    insecure: bool,
    /// Of https, once it is needed: authorities are read from files.
    tls: OnceCell<tls::Client>,
}

impl Server {
    /// A server that is named here is asked without the credentials of the file of contexts: they are another's.
    pub(crate) fn new(global: &Global) -> Result<Self, Error> {
        let (cluster, user) = match &global.server {
            Some(address) => (Cluster::named(address), User::default()),
            None => Contexts::current(global.config.as_deref())?.unwrap_or_default(),
        };
        let address = Some(cluster.server.clone()).filter(|server| !server.is_empty());
        let given = address.as_deref().unwrap_or(DEFAULT).trim_end_matches('/');
        let base = match (given.split_once("://"), global.force_tls) {
            (Some((_, host)), true) => format!("https://{host}"),
            (Some(_), false) => given.to_owned(),
            (None, true) => format!("https://{given}"),
            // A password must not be sent in the clear to find out that the server speaks https.
            (None, false) if (user.has_credentials() || cluster.has_authority()) && !is_loopback(given) => {
                format!("https://{given}")
            }
            (None, false) => format!("http://{given}"),
        };
        let credentials = (!user.username.is_empty()).then(|| {
            let pair = format!("{}:{}", user.username, user.password);
            format!("Basic {}", base64::encode(pair.as_bytes()))
        });
        let insecure = global.insecure_skip_verify;
        Ok(Self { base, by_default: address.is_none(), credentials, cluster, user, insecure, tls: OnceCell::new() })
    }

    /// Asks the admin API.
    pub(crate) async fn call(&self, method: Method, target: &str, body: Option<&Value>) -> Result<Answer, Error> {
        let target = format!("{PREFIX}{target}");
        let answer = self.send(&self.base, method, &target, body).await?;
        check(answer)
    }

    pub(crate) async fn get(&self, target: &str) -> Result<Value, Error> {
        let answer = self.call(Method::Get, target, None).await?;
        self.json(&answer)
    }

    /// An answer that is text.
    pub(crate) async fn get_text(&self, target: &str) -> Result<String, Error> {
        let answer = self.call(Method::Get, target, None).await?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// The account of memory, which a store alone has too.
    pub(crate) async fn memory(&self) -> Result<Value, Error> {
        const TARGET: &str = "/debug/memory";
        let first = self.send(&self.base, Method::Get, TARGET, None).await;
        let answer = match first {
            Err(Error::Unreachable { source: ClientError::Io { .. }, .. }) if self.by_default => {
                self.send(&format!("http://{DEFAULT_STORE}"), Method::Get, TARGET, None).await?
            }
            first => first?,
        };
        self.json(&check(answer)?)
    }

    /// Writes an answer down while it comes.
    pub(crate) async fn follow(&self, target: &str, out: &mut dyn Write) -> Result<(), Error> {
        let target = format!("{PREFIX}{target}");
        let mut each = |piece: &[u8]| out.write_all(piece).and_then(|()| out.flush());
        let first = self.client(&self.base)?.follow(&self.base, &target, &self.headers(), &mut each).await;
        let answer = match self.as_https(&first) {
            None => first,
            Some(base) => self.client(&base)?.follow(&base, &target, &self.headers(), &mut each).await,
        };
        check(answer.map_err(|source| Error::Unreachable { server: self.base.clone(), source })?).map(drop)
    }

    /// Sends one request, and reads the answer whole.
    async fn send(&self, base: &str, method: Method, target: &str, body: Option<&Value>) -> Result<Answer, Error> {
        let mut headers = self.headers();
        headers.extend(body.map(|_| ("Content-Type", "application/json")));
        let text = body.map(Value::to_string).unwrap_or_default();
        let first = self.client(base)?.request(method, base, target, &headers, text.clone()).await;
        let answer = match self.as_https(&first) {
            None => first,
            Some(base) => self.client(&base)?.request(method, &base, target, &headers, text).await,
        };
        answer.map_err(|source| Error::Unreachable { server: base.to_owned(), source })
    }

    fn headers(&self) -> Vec<(&'static str, &str)> {
        let credentials = self.credentials.as_deref().map(|value| ("Authorization", value));
        [("Accept", "application/json")].into_iter().chain(credentials).collect()
    }

    /// Where a request is repeated whose answer says that the server wants https.
    fn as_https(&self, answer: &Result<Answer, ClientError>) -> Option<String> {
        let answer = answer.as_ref().ok().filter(|answer| answer.status == 400)?;
        let wants = answer.body.windows(NEEDS_HTTPS.len()).any(|part| part == NEEDS_HTTPS);
        self.base.strip_prefix("http://").filter(|_| wants).map(|host| format!("https://{host}"))
    }

    fn client(&self, base: &str) -> Result<Client, Error> {
        if !base.starts_with("https:") {
            return Ok(Client::default());
        }
        if self.tls.get().is_none() {
            let wrong = |error: &dyn std::fmt::Display| Error::Https(error.to_string());
            let roots = match self.cluster.authority()? {
                _ if self.insecure => None,
                Some(pem) => Some(tls::Roots::from_pem(&pem).map_err(|error| wrong(&error))?),
                None => Some(tls::Roots::of_system().map_err(|error| wrong(&error))?),
            };
            let identity = self.user.identity()?;
            let client = tls::Client::new(tls::ClientSettings { roots, identity, sessions: 1 });
            self.tls.set(client.map_err(|error| wrong(&error))?).ok();
        }
        Ok(Client { tls: self.tls.get().cloned(), ..Client::default() })
    }

    pub(crate) fn json(&self, answer: &Answer) -> Result<Value, Error> {
        let nonsense = |told: serde_json::Error| Error::Nonsense { server: self.base.clone(), told: told.to_string() };
        serde_json::from_slice(&answer.body).map_err(nonsense)
    }
}

fn check(answer: Answer) -> Result<Answer, Error> {
    if (200..300).contains(&answer.status) {
        return Ok(answer);
    }
    let text = String::from_utf8_lossy(&answer.body).trim().to_owned();
    let told = serde_json::from_str::<Value>(&text).unwrap_or_default();
    let message = told["message"].as_str().map_or(text, ToOwned::to_owned);
    // A dry run lists them; else they are in the message, as JSON of its own.
    let problems = match &told["problems"] {
        Value::Array(problems) => problems.iter().map(problem).collect(),
        _ => problems(&message),
    };
    let message = escaped(&message).into_owned();
    Err(Error::Refused(Box::new(Refusal { status: answer.status, message, problems, warnings: warnings(&told) })))
}

/// Warnings in the answer of a dry run.
pub(crate) fn warnings(told: &Value) -> Vec<String> {
    told["warnings"].as_array().into_iter().flatten().map(inline).collect()
}

/// What a failed validation lists, by kind of problem: texts that begin with the field's path.
fn problems(message: &str) -> Vec<String> {
    let Ok(Value::Object(told)) = serde_json::from_str(message) else { return Vec::new() };
    let lists = told.values().map(|value| match value {
        Value::Array(values) => values.iter().map(problem).collect(),
        text @ Value::String(_) => vec![inline(text)],
        _ => Vec::new(),
    });
    lists.flatten().collect()
}

fn problem(problem: &Value) -> String {
    match (problem["field"].as_str(), problem["message"].as_str()) {
        (Some("") | None, Some(message)) => escaped(message).into_owned(),
        (Some(field), Some(message)) => escaped(&format!("{field}: {message}")).into_owned(),
        _ => inline(problem),
    }
}

/// Whether an address without scheme is one of this machine.
fn is_loopback(address: &str) -> bool {
    let authority = address.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    let loopback = host.parse::<IpAddr>().map_or(host == "localhost", |ip| ip.to_canonical().is_loopback());
    loopback && !authority.contains('@')
}

/// A name as one segment of a path, or as a value of a query.
pub(crate) fn segment(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_go_over_https_unless_the_server_is_this_machine() {
        let base = |server: &str, cluster: &str, user: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            let text = format!(
                "current-context: c\nclusters: [{{name: k, cluster: {{server: '{server}', {cluster}}}}}]\n\
                 users: [{{name: u, user: {{{user}}}}}]\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n"
            );
            std::fs::write(file.path(), text).unwrap();
            let config = Some(file.path().to_str().unwrap().to_owned());
            Server::new(&Global { config, server: None, force_tls: false, insecure_skip_verify: false }).unwrap().base
        };
        assert_eq!(base("h:1", "", ""), "http://h:1");
        for user in ["username: a", "password: b", "client-certificate: f", "client-key-data: f"] {
            assert_eq!(base("h:1", "", user), "https://h:1", "{user}");
        }
        assert_eq!(base("h:1", "certificate-authority: f", ""), "https://h:1");
        assert_eq!(base("http://h:1", "", "username: a"), "http://h:1", "somebody said so");
        for here in ["127.0.0.1:1", "localhost", "[::1]:1", "127.9.9.9"] {
            assert_eq!(base(here, "", "username: a"), format!("http://{here}"));
        }
        for other in ["127.0.0.1.evil:1", "localhost:1@evil", "[::1]@evil", "[::2]:1", "evil:1/127.0.0.1", "10.0.0.1:1"]
        {
            assert_eq!(base(other, "", "username: a"), format!("https://{other}"));
        }
    }

    #[test]
    fn problems_are_told_one_by_one() {
        let told = r#"{"jsonschemaErrs": ["port: too small"], "formatErrs": ["a: b"], "systemErr": "c"}"#;
        assert_eq!(problems(told), ["port: too small", "a: b", "c"]);
        let of = |told: &str| problem(&serde_json::from_str(told).unwrap());
        assert_eq!(of(r#"{"field": "rules[0].host", "message": "no"}"#), "rules[0].host: no");
        assert_eq!(of(r#"{"field": "", "message": "no"}"#), "no");
        assert_eq!(of(r#"{"field": "a", "message": "\u001b[2J\n"}"#), "a: \\u001b[2J\\n");
        assert_eq!(problems(r#"{"systemErr": "\u009b"}"#), ["\\u009b"]);
        assert!(problems("no such kind").is_empty());
        assert!(problems("[1]").is_empty());
    }
}
