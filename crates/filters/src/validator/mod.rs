//! `Validator` lets only those requests through that show what they must: headers, a token, a signature, a password.

mod basic;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod headers;
mod jwt;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tidegate_base::clock;
use tidegate_http::message::BodyError;
use tidegate_pipeline::{Context, Deps, Filter, Outcome, Problems, Step};

use crate::{proxy::signed_body, signature, signature::Signer};
use basic::{Basic, Checked};
use headers::HeaderRule;
use jwt::Jwt;

/// Settings of the `Validator` filter. At least one of them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Headers that must be there, by their names, each with a value that fits.
    #[serde(default)]
    headers: BTreeMap<String, HeaderRule>,
    /// A token (JWT).
    #[serde(default)]
    jwt: Option<jwt::Config>,
    /// A signature by a shared secret.
    #[serde(default)]
    signature: Option<signature::Config>,
    /// Tokens of OAuth 2. Not implemented.
    #[serde(default)]
    oauth2: Option<Value>,
    /// A name and a password.
    #[serde(default)]
    basic_auth: Option<basic::Config>,
}

/// Checks headers, token, signature and password, in this order; the first that fails ends it.
pub struct Validator {
    headers: BTreeMap<String, HeaderRule>,
    jwt: Option<Jwt>,
    signature: Option<Signer>,
    basic: Option<Basic>,
}

const INVALID: Outcome = Outcome::Result("invalid");
/// Header that tells later filters and servers who it is.
const USER: &str = "X-AUTH-USER";

impl Filter for Validator {
    const KIND: &'static str = "Validator";
    const RESULTS: &'static [&'static str] = &["invalid"];
    const EXAMPLE: &'static str = "\
name: validator
kind: Validator
headers:
  Content-Type:
    values: [application/json]
  X-Tenant:
    regexp: ^[a-z]{2,8}$
jwt:
  algorithm: HS256
  secret: 6d79736563726574
  cookieName: session
";
    type Config = Config;

    fn new(config: Config, deps: &Deps) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let Config { headers, jwt, signature, oauth2, basic_auth } = config;
        let given = [!headers.is_empty(), jwt.is_some(), signature.is_some(), oauth2.is_some(), basic_auth.is_some()];
        problems.require(given.contains(&true), "", "needs one of headers, jwt, signature and basicAuth");
        problems.require(oauth2.is_none(), "oauth2", "unimplemented");
        for (name, rule) in &headers {
            rule.check(&format!("headers.{name}"), &deps.budget, &mut problems);
        }
        let jwt = jwt.and_then(|jwt| jwt.build("jwt", &mut problems));
        let signature = signature.map(|signature| signature.verifier("signature", &mut problems));
        let basic = basic_auth.and_then(|basic| basic.build("basicAuth", deps, &mut problems));
        problems.into_result()?;
        Ok(Self { headers, jwt, signature, basic })
    }

    fn handle<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let head = cx.request();
        if !self.headers.iter().all(|(name, rule)| rule.fits(&head.headers, name)) {
            return Step::Done(invalid(cx, 400));
        }
        if !self.jwt.as_ref().is_none_or(|jwt| jwt.fits(head, clock::wall())) {
            return Step::Done(invalid(cx, 401));
        }
        if self.signature.is_none() && self.basic.is_none() {
            return Step::Done(Outcome::Next);
        }
        Step::Wait(Box::pin(async move {
            match self.rest(cx).await {
                Ok(()) => Outcome::Next,
                Err(status) => invalid(cx, status),
            }
        }))
    }
}

impl Validator {
    /// Signature and password. The status of the answer where one is not good.
    async fn rest(&self, cx: &mut Context) -> Result<(), u16> {
        if let Some(signer) = &self.signature {
            let mut body = None;
            if signer.needs_body() {
                body = signed_body(cx.exchange()).await.map_err(BodyError::status)?;
            }
            signer.verify(cx.request(), body.as_deref(), clock::wall()).map_err(|_| 401u16)?;
        }
        if let Some(basic) = &self.basic {
            // Nobody may name himself.
            cx.request_mut().headers.remove(USER);
            match basic.check(cx.request()).await {
                Checked::Good(name) => cx.request_mut().headers.set(USER, name.as_bytes()),
                Checked::Refused => return Err(401),
                Checked::Busy => return Err(503),
            }
        }
        Ok(())
    }
}

fn invalid(cx: &mut Context, status: u16) -> Outcome {
    cx.reject(status);
    INVALID
}
