//! `RequestAdaptor` changes a request on its way.

mod path;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tidegate_http::message::{Known, Method};
use tidegate_pipeline::{Context, Deps, Filter, Outcome, Problems, Step};

use crate::adapt::HeaderChange;
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
    /// Compression of the body. Not supported yet.
    #[serde(default)]
    compress: String,
    /// Decompression of the body. Not supported yet.
    #[serde(default)]
    decompress: String,
    /// Signature of the request. Not supported yet.
    #[serde(default)]
    sign: Option<Value>,
    /// Template of the changes. Not supported yet.
    #[serde(default)]
    template: String,
}

/// Changes method, path, headers, host and body, in this order.
pub struct RequestAdaptor {
    config: Config,
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

    fn new(config: Config, deps: &Deps) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        for (field, given) in [
            ("compress", !config.compress.is_empty()),
            ("decompress", !config.decompress.is_empty()),
            ("sign", config.sign.is_some()),
            ("template", !config.template.is_empty()),
        ] {
            problems.require(!given, field, "is not supported yet");
        }
        let method = (!config.method.is_empty()).then(|| Method::of(config.method.as_bytes()));
        problems.require(method != Some(Method::Other), "method", "must be one of the standard methods, in upper case");
        let path = config.path.as_ref().and_then(|change| change.prepare(&deps.budget, &mut problems));
        problems.into_result()?;
        Ok(Self { config, method, path })
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
        if self.config.body.is_empty() {
            return Step::Done(Outcome::Next);
        }
        head.headers.remove_known(Known::ContentEncoding);
        Step::Wait(Box::pin(async move {
            if let Err(error) = cx.exchange().set_body(self.config.body.clone()).await {
                // Nobody can name this: the client's request cannot be read to its end.
                cx.reject(error.status());
                return Outcome::Result("decompressFailed");
            }
            Outcome::Next
        }))
    }
}
