//! Requests to the node, and what went wrong with them.

use serde_json::Value;
use tidegate_http::{
    message::Method,
    upstream::{Answer, Client, ClientError},
};

/// Admin API of `server`, and client port of `store`, which has no admin API.
const DEFAULT: &str = "127.0.0.1:2381";
const DEFAULT_STORE: &str = "127.0.0.1:2379";
const PREFIX: &str = "/apis/v2";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server answered with an error.
    #[error("{status}: {message}")]
    Refused { status: u16, message: String },
    #[error("{server}: {source}")]
    Unreachable { server: String, source: ClientError },
    #[error("{server}: the answer makes no sense: {told}")]
    Nonsense { server: String, told: String },
    /// A file, the terminal, or the command itself.
    #[error("{0}")]
    Local(String),
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
    client: Client,
}

impl Server {
    pub(crate) fn new(address: Option<&str>) -> Result<Self, Error> {
        let given = address.unwrap_or(DEFAULT).trim_end_matches('/');
        let base = if given.contains("://") { given.to_owned() } else { format!("http://{given}") };
        if base.starts_with("https:") {
            return Err(Error::Local("https to the admin API is not supported yet".to_owned()));
        }
        Ok(Self { base, by_default: address.is_none(), client: Client::default() })
    }

    /// Asks the admin API.
    pub(crate) async fn call(&self, method: Method, target: &str, body: Option<&Value>) -> Result<Answer, Error> {
        let text = body.map(Value::to_string).unwrap_or_default();
        let headers: &[_] = match body {
            Some(_) => &[("Accept", "application/json"), ("Content-Type", "application/json")],
            None => &[("Accept", "application/json")],
        };
        let target = format!("{PREFIX}{target}");
        let answer = self.client.request(method, &self.base, &target, headers, text).await;
        self.check(&self.base, answer)
    }

    pub(crate) async fn get(&self, target: &str) -> Result<Value, Error> {
        let answer = self.call(Method::Get, target, None).await?;
        self.json(&answer)
    }

    /// The account of memory, which a store alone has too.
    pub(crate) async fn memory(&self) -> Result<Value, Error> {
        const TARGET: &str = "/debug/memory";
        let first = self.client.get(&self.base, TARGET).await;
        let answer = if self.by_default && matches!(&first, Err(ClientError::Io { .. })) {
            let store = format!("http://{DEFAULT_STORE}");
            let second = self.client.get(&store, TARGET).await;
            self.check(&store, second)?
        } else {
            self.check(&self.base, first)?
        };
        self.json(&answer)
    }

    fn check(&self, base: &str, answer: Result<Answer, ClientError>) -> Result<Answer, Error> {
        let answer = answer.map_err(|source| Error::Unreachable { server: base.to_owned(), source })?;
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        let text = String::from_utf8_lossy(&answer.body).trim().to_owned();
        let told = serde_json::from_str::<Value>(&text).ok();
        let message = told.and_then(|told| Some(told.get("message")?.as_str()?.to_owned())).unwrap_or(text);
        Err(Error::Refused { status: answer.status, message })
    }

    fn json(&self, answer: &Answer) -> Result<Value, Error> {
        let nonsense = |told: serde_json::Error| Error::Nonsense { server: self.base.clone(), told: told.to_string() };
        serde_json::from_slice(&answer.body).map_err(nonsense)
    }
}

/// A name as one segment of a path.
pub(crate) fn segment(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
