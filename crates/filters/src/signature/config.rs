//! Settings of signatures, shared by `Validator` and `RequestAdaptor`.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_pipeline::{GoDuration, Problems};

use super::Signer;

/// How requests are signed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Config {
    /// Names and words of the signature; those of `apiProvider` unless given.
    literal: Option<Literal>,
    /// Whose names and words are used: empty for `X-Date` and so on, `aws4` for those of AWS.
    api_provider: String,
    /// What stands between day and suffix of the credential, such as a region and a service. Only to sign with.
    pub(super) scopes: Vec<String>,
    /// Which headers a client moves into the query when it presigns. Accepted; what is signed is told by each request.
    #[serde(rename = "headerHoisting")]
    _header_hoisting: Option<Hoisting>,
    /// Headers that are not signed, besides `Authorization` and `User-Agent`. Without effect where signatures are checked.
    pub(super) ignored_headers: Vec<String>,
    /// Whether the body is left out of the signature.
    pub(super) exclude_body: bool,
    /// Longest age of a signature, and as much ahead of the clock; without one it has no end.
    ttl: Option<GoDuration>,
    /// Name of the key to sign with.
    pub(super) access_key_id: String,
    /// Its secret.
    pub(super) access_key_secret: String,
    /// Secrets by the names of their keys, to check signatures with.
    pub(super) access_keys: BTreeMap<String, String>,
}

/// Names of headers and of query parameters, and other words.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Literal {
    /// Last part of the credential; `request` in the default table.
    pub(super) scope_suffix: String,
    /// Query parameter of the algorithm; `X-Algorithm`.
    pub(super) algorithm_name: String,
    /// The algorithm; `HMAC-SHA256`.
    pub(super) algorithm_value: String,
    /// Query parameter of the signed headers; `X-SignedHeaders`.
    pub(super) signed_headers: String,
    /// Query parameter of the signature; `X-Signature`.
    pub(super) signature: String,
    /// Header and query parameter of the time; `X-Date`.
    pub(super) date: String,
    /// Query parameter of the seconds that it counts for; `X-Expires`.
    pub(super) expires: String,
    /// Query parameter of the credential; `X-Credential`.
    pub(super) credential: String,
    /// Header of the body's hash; `X-Content-Sha256`.
    pub(super) content_sha256: String,
    /// What goes before the secret.
    #[serde(default)]
    pub(super) signing_key_prefix: String,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Hoisting {
    /// Beginnings of names that may be moved.
    #[serde(rename = "allowedPrefix")]
    _allowed_prefix: Vec<String>,
    /// Beginnings of names that may not.
    #[serde(rename = "disallowedPrefix")]
    _disallowed_prefix: Vec<String>,
    /// Names that may not be moved.
    #[serde(rename = "disallowed")]
    _disallowed: Vec<String>,
}

impl Literal {
    fn with(prefix: &str, suffix: &str, algorithm: &str, key_prefix: &str) -> Self {
        let name = |name: &str| format!("{prefix}{name}");
        Self {
            scope_suffix: suffix.to_owned(),
            algorithm_name: name("Algorithm"),
            algorithm_value: algorithm.to_owned(),
            signed_headers: name("SignedHeaders"),
            signature: name("Signature"),
            date: name("Date"),
            expires: name("Expires"),
            credential: name("Credential"),
            content_sha256: name("Content-Sha256"),
            signing_key_prefix: key_prefix.to_owned(),
        }
    }

    fn usual() -> Self {
        Self::with("X-", "request", "HMAC-SHA256", "")
    }

    fn aws4() -> Self {
        Self::with("X-Amz-", "aws4_request", "AWS4-HMAC-SHA256", "AWS4")
    }

    fn check(&self, at: &str, problems: &mut Problems) {
        for (field, text) in [
            ("scopeSuffix", &self.scope_suffix),
            ("algorithmName", &self.algorithm_name),
            ("algorithmValue", &self.algorithm_value),
            ("signedHeaders", &self.signed_headers),
            ("signature", &self.signature),
            ("date", &self.date),
            ("expires", &self.expires),
            ("credential", &self.credential),
            ("contentSha256", &self.content_sha256),
        ] {
            problems.require(!text.is_empty(), format!("{at}.literal.{field}"), "must not be empty");
        }
    }
}

impl Config {
    /// Zero: no end.
    pub(super) fn ttl(&self) -> Duration {
        self.ttl.unwrap_or_default().0
    }

    /// Something that checks signatures.
    pub(crate) fn verifier(self, at: &str, problems: &mut Problems) -> Signer {
        problems.require(!self.access_keys.is_empty(), format!("{at}.accessKeys"), "must have at least one key");
        self.build(at, problems)
    }

    /// Something that signs.
    pub(crate) fn signer(self, at: &str, problems: &mut Problems) -> Signer {
        for (field, text) in [("accessKeyId", &self.access_key_id), ("accessKeySecret", &self.access_key_secret)] {
            problems.require(!text.is_empty(), format!("{at}.{field}"), "is required");
        }
        self.build(at, problems)
    }

    fn build(self, at: &str, problems: &mut Problems) -> Signer {
        let provider = self.api_provider.as_str();
        problems.require(matches!(provider, "" | "aws4"), format!("{at}.apiProvider"), "must be empty or aws4");
        let literal = match (&self.literal, provider) {
            (Some(literal), _) => literal.clone(),
            (None, "aws4") => Literal::aws4(),
            (None, _) => Literal::usual(),
        };
        literal.check(at, problems);
        Signer { literal, config: self }
    }
}
