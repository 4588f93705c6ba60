//! Answers, in the format that the client asked for.

use bytes::Bytes;
use serde::Serialize;
use tidegate_api::BoxFuture;
use tidegate_base::Lease;

pub(super) const JSON: &str = "application/json";
pub(super) const YAML: &str = "text/x-yaml";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// Bytes on their way to a client, with what pays for them.
#[derive(Debug)]
pub struct Chunk {
    pub bytes: Bytes,
    pub lease: Option<Lease>,
}

/// A body that is made while it is sent.
pub trait Chunks: Send {
    /// The next piece; `None` at the end. After an error the connection must be cut: the head, with its success, is gone.
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Chunk, tidegate_api::Error>>>;
}

pub enum Body {
    Whole(Chunk),
    Chunks(Box<dyn Chunks>),
}

pub struct AdminResponse {
    pub status: u16,
    pub content_type: Option<&'static str>,
    pub headers: Vec<(&'static str, String)>,
    pub body: Body,
}

impl AdminResponse {
    pub fn new(status: u16, content_type: Option<&'static str>, bytes: impl Into<Bytes>) -> Self {
        let body = Body::Whole(Chunk { bytes: bytes.into(), lease: None });
        Self { status, content_type, headers: Vec::new(), body }
    }

    pub(super) fn empty(status: u16) -> Self {
        Self::new(status, None, Bytes::new())
    }

    pub(super) fn text(text: impl Into<Bytes>) -> Self {
        Self::new(200, Some(TEXT), text)
    }

    /// For small values.
    pub(super) fn value(value: &impl Serialize, yaml: bool) -> Self {
        let (content_type, text) =
            if yaml { (YAML, serde_yaml_ng::to_string(value).ok()) } else { (JSON, serde_json::to_string(value).ok()) };
        Self::new(200, Some(content_type), text.expect("our own types have text keys only"))
    }

    pub(super) fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}
