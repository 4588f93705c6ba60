//! Tokens (JWT, RFC 7519) in their compact form (JWS, RFC 7515).

use std::time::Duration;

use aws_lc_rs::{
    hmac,
    signature::{self, ParsedPublicKey, VerificationAlgorithm},
};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tidegate_http::message::{Known, RequestHead};
use tidegate_pipeline::Problems;

use crate::text::{cookie, unhex};

/// Which tokens count.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Config {
    /// Algorithm that the token must name: HS256, HS384, HS512, RS256, RS384, RS512, ES256, ES384, ES512 or EdDSA.
    algorithm: String,
    /// Secret of the HS algorithms, in hexadecimal digits.
    #[serde(default)]
    secret: String,
    /// Public key of the others: a key in PEM (`BEGIN PUBLIC KEY`), all of it in hexadecimal digits.
    #[serde(default)]
    public_key: String,
    /// Cookie that has the token; where it is absent or empty, the token is that of `Authorization: Bearer`.
    #[serde(default)]
    cookie_name: String,
}

/// Checks tokens.
pub(super) struct Jwt {
    algorithm: String,
    key: Key,
    cookie_name: String,
}

enum Key {
    Secret(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

enum Algorithm {
    Secret(hmac::Algorithm),
    Public(&'static dyn VerificationAlgorithm),
}

fn algorithm_of(name: &str) -> Option<Algorithm> {
    Some(match name {
        "HS256" => Algorithm::Secret(hmac::HMAC_SHA256),
        "HS384" => Algorithm::Secret(hmac::HMAC_SHA384),
        "HS512" => Algorithm::Secret(hmac::HMAC_SHA512),
        "RS256" => Algorithm::Public(&signature::RSA_PKCS1_2048_8192_SHA256),
        "RS384" => Algorithm::Public(&signature::RSA_PKCS1_2048_8192_SHA384),
        "RS512" => Algorithm::Public(&signature::RSA_PKCS1_2048_8192_SHA512),
        "ES256" => Algorithm::Public(&signature::ECDSA_P256_SHA256_FIXED),
        "ES384" => Algorithm::Public(&signature::ECDSA_P384_SHA384_FIXED),
        "ES512" => Algorithm::Public(&signature::ECDSA_P521_SHA512_FIXED),
        "EdDSA" => Algorithm::Public(&signature::ED25519),
        _ => return None,
    })
}

impl Config {
    pub(super) fn build(self, at: &str, problems: &mut Problems) -> Option<Jwt> {
        let key = match algorithm_of(&self.algorithm) {
            None => {
                problems.add(format!("{at}.algorithm"), "must be HS, RS or ES with 256, 384 or 512, or EdDSA");
                return None;
            }
            Some(Algorithm::Secret(algorithm)) => match unhex(self.secret.as_bytes()) {
                Some(secret) if !secret.is_empty() => Key::Secret(Box::new(hmac::Key::new(algorithm, &secret))),
                _ => {
                    problems.add(format!("{at}.secret"), "must be a secret in hexadecimal digits");
                    return None;
                }
            },
            Some(Algorithm::Public(algorithm)) => {
                let der = unhex(self.public_key.as_bytes()).and_then(|pem| der_of(&pem));
                match der.and_then(|der| ParsedPublicKey::new(algorithm, der).ok()) {
                    Some(key) => Key::Public(key),
                    None => {
                        let message = "must be a public key for the algorithm, in PEM, in hexadecimal digits";
                        problems.add(format!("{at}.publicKey"), message);
                        return None;
                    }
                }
            }
        };
        Some(Jwt { algorithm: self.algorithm, key, cookie_name: self.cookie_name })
    }
}

/// What a key in PEM says between its lines.
fn der_of(pem: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(pem).ok()?;
    let (_, rest) = text.split_once("-----BEGIN PUBLIC KEY-----")?;
    let (inner, _) = rest.split_once("-----END PUBLIC KEY-----")?;
    let digits: String = inner.split_ascii_whitespace().collect();
    BASE64_STANDARD.decode(digits).ok()
}

impl Jwt {
    /// Whether the request has a token that counts at `now`, the time since 1970.
    pub(super) fn fits(&self, head: &RequestHead, now: Duration) -> bool {
        self.token(head).is_some_and(|token| self.is_good(token, now).is_some())
    }

    fn token<'a>(&self, head: &'a RequestHead) -> Option<&'a [u8]> {
        let in_cookie = (!self.cookie_name.is_empty()).then(|| cookie(&head.headers, &self.cookie_name)).flatten();
        in_cookie
            .filter(|token| !token.is_empty())
            .or_else(|| head.headers.get(Known::Authorization)?.strip_prefix(b"Bearer "))
    }

    fn is_good(&self, token: &[u8], now: Duration) -> Option<()> {
        let end = token.iter().rposition(|byte| *byte == b'.')?;
        let (signed, signature) = (token.get(..end)?, token.get(end + 1..)?);
        let mut parts = signed.split(|byte| *byte == b'.');
        let (header, claims) = (parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let header = object(header)?;
        // A token must not choose how it is checked, nor ask for more than is known here.
        if header.get("alg")?.as_str()? != self.algorithm || header.contains_key("crit") {
            return None;
        }
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
        match &self.key {
            Key::Secret(key) => hmac::verify(key, signed, &signature).ok()?,
            Key::Public(key) => key.verify_sig(signed, &signature).ok()?,
        }
        in_time(&object(claims)?, now).then_some(())
    }
}

fn object(part: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// Without leeway. What is no number is never good.
fn in_time(claims: &Map<String, Value>, now: Duration) -> bool {
    let now = now.as_secs_f64();
    let claim = |name: &str, good: fn(f64, f64) -> bool| match claims.get(name) {
        None | Some(Value::Null) => true,
        Some(value) => value.as_f64().is_some_and(|at| good(now, at.trunc())),
    };
    claim("exp", |now, at| now < at) && claim("nbf", |now, at| now >= at) && claim("iat", |now, at| now >= at)
}
