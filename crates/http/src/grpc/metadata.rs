use http::{HeaderMap, HeaderValue};

/// Paths above this name no method of anybody.
pub(super) const PATH_MAX: usize = 256;
/// What a version may have; a longer one is none that we know.
const VERSION_MAX: usize = 32;

/// What a call keeps of its head. Copies: the values of a request are slices of shared buffers, and one that stays would pin
/// 4 KiB, the whole map up to 16 KiB, for each call that waits.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(super) path: Box<str>,
    pub(super) token: Option<Box<str>>,
    pub(super) requires_leader: bool,
    pub(super) client_api_version: Option<Box<str>>,
}

impl Metadata {
    pub(crate) fn new(path: &str, headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        Self {
            path: path.into(),
            token: text("token").or_else(|| text("authorization")).map(Box::from),
            requires_leader: text("hasleader") == Some("true"),
            client_api_version: text("client-api-version").filter(|text| text.len() <= VERSION_MAX).map(Box::from),
        }
    }

    /// Bytes of the token, whose length the client chooses; the rest is small.
    pub(crate) fn token_len(&self) -> usize {
        self.token.as_ref().map_or(0, |token| token.len())
    }
}
