//! Calls to collectors over HTTP.

use bytes::Bytes;
use tidegate_base::Lease;
use tidegate_http::{
    message::{Method, RequestHead},
    upstream::{Answer, Endpoint, EndpointError, Outgoing, ask},
};

use super::{ExportError, Means};

/// What is read of an answer.
const ANSWER_KEPT: usize = 4 << 10;
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Where batches are posted.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) endpoint: Endpoint,
    path: String,
    query: String,
}

impl Site {
    /// Reads `http://HOST[:PORT][/PATH][?QUERY]`, or the same with `https`; without a path it is `path`.
    ///
    /// # Errors
    /// As [`Endpoint::parse`].
    pub(crate) fn parse(url: &str, path: &str) -> Result<Self, EndpointError> {
        let (before, query) = url.split_once('?').unwrap_or((url, ""));
        let authority = before.find("://").map_or(0, |at| at + 3);
        let end = before.get(authority..).and_then(|rest| rest.find('/')).map_or(before.len(), |at| authority + at);
        let endpoint = Endpoint::parse(before).and_then(|_| Endpoint::parse(&before[..end]))?;
        let own = Some(&before[end..]).filter(|own| !matches!(*own, "" | "/"));
        Ok(Self { endpoint, path: own.unwrap_or(path).to_owned(), query: query.to_owned() })
    }

    /// Adds `pair` to the query where it is not there.
    pub(crate) fn with_query(mut self, pair: &str) -> Self {
        if !self.query.split('&').any(|known| known == pair) {
            let and = if self.query.is_empty() { "" } else { "&" };
            self.query = format!("{}{and}{pair}", self.query);
        }
        self
    }

    /// Posts a body under its lease.
    pub(crate) async fn post(
        &self,
        means: &Means,
        headers: &[(&str, &str)],
        (body, lease): (Vec<u8>, Lease),
    ) -> Result<Answer, ExportError> {
        if self.endpoint.addresses().is_empty() {
            return Err(ExportError::NoAddress);
        }
        let mut head = RequestHead::default();
        head.method = Method::Post;
        head.set_path(self.path.as_bytes());
        head.set_query(self.query.as_bytes());
        for (name, value) in headers {
            head.headers.append(name, value.as_bytes());
        }
        let out = Outgoing {
            endpoint: &self.endpoint,
            number: 0,
            host: None,
            deadline: None,
            answer_bytes_max: Some(ANSWER_BYTES_MAX),
        };
        let answer = ask(&means.pools, &out, &head, Bytes::from(body), ANSWER_KEPT).await;
        drop(lease);
        let answer = answer?;
        if (200..300).contains(&answer.status) { Ok(answer) } else { Err(ExportError::Status(answer.status)) }
    }
}
