//! `RequestAdaptor` changes a request on its way.

mod body;
mod path;

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_base::{Budget, clock};
use tidegate_http::message::{BodyError, Known, Method};
use tidegate_pipeline::{Context, Deps, Filter, Outcome, Problems, Step};

use crate::{
    adapt::{HeaderChange, check_codings},
    proxy::signed_body,
    signature,
    signature::Signer,
};
use path::{PathChange, Prepared};

/// Settings of the `RequestAdaptor` filter.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Name that takes the place of the host.
    #[serde(default)]
    host: String,
    /// Method that takes the place of the request's.
    #[serde(default)]
    method: String,
    /// Change of the path: the first that is given of `replace`, `addPrefix`, `trimPrefix` and `regexpReplace`.
    #[serde(default)]
    path: Option<PathChange>,
    /// Changes of headers.
    #[serde(default)]
    header: HeaderChange,
    /// Text that takes the place of the body.
    #[serde(default)]
    body: String,
    /// `gzip` packs the body, unless it has a coding. The body is then read whole.
    #[serde(default)]
    compress: String,
    /// `gzip` unpacks the body where that is its coding. The body is then read whole, and the limit of bodies is for both.
    #[serde(default)]
    decompress: String,
    /// Signs the request as it goes on, with `accessKeyId` and `accessKeySecret`.
    #[serde(default)]
    sign: Option<signature::Config>,
    /// Template of the changes. Not implemented.
    #[serde(default)]
    template: String,
}

/// Changes method, path, headers, body and host, packs or unpacks and signs, in this order.
pub struct RequestAdaptor {
    config: Config,
    budget: Budget,
    signer: Option<Signer>,
    method: Option<Method>,
    path: Option<Prepared>,
}

impl Filter for RequestAdaptor {
    const KIND: &'static str = "RequestAdaptor";
    const RESULTS: &'static [&'static str] = &["decompressFailed", "compressFailed"];
    const EXAMPLE: &'static str = "\
name: adaptor
kind: RequestAdaptor
host: users.internal
method: POST
path:
  regexpReplace:
    regexp: ^/v1/users/(.*)$
    replace: /users/$1
header:
  del: [X-Debug]
  set:
    X-Version: v1
  add:
    X-Tag: adapted
body: hello
";
    type Config = Config;

    fn new(mut config: Config, deps: &Deps) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        check_codings(&config.compress, &config.decompress, &config.body, &config.template, &mut problems);
        let method = (!config.method.is_empty()).then(|| Method::of(config.method.as_bytes()));
        problems.require(method != Some(Method::Other), "method", "must be one of the standard methods, in upper case");
        let path = config.path.as_ref().and_then(|change| change.prepare(&deps.budget, &mut problems));
        let signer = config.sign.take().map(|sign| sign.signer("sign", &mut problems));
        problems.into_result()?;
        Ok(Self { config, budget: deps.budget.clone(), signer, method, path })
    }

    fn handle<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let head = cx.request_mut();
        if let Some(method) = self.method {
            head.method = method;
        }
        if let Some(change) = &self.path
            && let Some(path) = change.apply(head.path())
        {
            head.set_path(&path);
        }
        self.config.header.apply(&mut head.headers);
        if !self.config.host.is_empty() {
            head.set_authority(self.config.host.as_bytes());
        }
        let Config { body, compress, decompress, .. } = &self.config;
        if [body, compress, decompress].iter().all(|text| text.is_empty()) && self.signer.is_none() {
            return Step::Done(Outcome::Next);
        }
        Step::Wait(Box::pin(async move {
            match self.change_body(cx).await {
                Ok(()) => Outcome::Next,
                Err((error, result)) => {
                    cx.reject(error.status());
                    Outcome::Result(result)
                }
            }
        }))
    }
}

impl RequestAdaptor {
    async fn change_body(&self, cx: &mut Context) -> Result<(), (BodyError, &'static str)> {
        let (config, exchange) = (&self.config, cx.exchange());
        if !config.body.is_empty() {
            exchange.head_mut().headers.remove_known(Known::ContentEncoding);
            // There is no result of its own for a body that cannot be read to its end.
            exchange.set_body(config.body.clone()).await.map_err(|error| (error, "decompressFailed"))?;
        }
        if !config.compress.is_empty() {
            body::compress(exchange, &self.budget).await.map_err(|error| (error, "compressFailed"))?;
        }
        if !config.decompress.is_empty() {
            body::decompress(exchange, &self.budget).await.map_err(|error| (error, "decompressFailed"))?;
        }
        if let Some(signer) = &self.signer {
            let mut body = None;
            if signer.needs_body() {
                body = signed_body(exchange).await.map_err(|error| (error, "signFailed"))?;
            }
            signer.sign(exchange.head_mut(), body.as_deref(), clock::wall());
        }
        Ok(())
    }
}
