//! `ResponseAdaptor` changes an answer on its way.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_http::message::{Body, Known};
use tidegate_pipeline::{Context, Deps, Filter, Outcome, Problems, Step};

use crate::adapt::HeaderChange;

/// Settings of the `ResponseAdaptor` filter.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
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
    /// Template of the changes. Not supported yet.
    #[serde(default)]
    template: String,
}

/// Changes headers, then the body.
pub struct ResponseAdaptor {
    header: HeaderChange,
    body: Bytes,
}

impl Filter for ResponseAdaptor {
    const KIND: &'static str = "ResponseAdaptor";
    const RESULTS: &'static [&'static str] = &["responseNotFound", "compressFailed", "decompressFailed"];
    const EXAMPLE: &'static str = "\
name: adaptor
kind: ResponseAdaptor
header:
  del: [Server]
  set:
    X-Version: v1
body: hello
";
    type Config = Config;

    fn new(config: Config, _: &Deps) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        for (field, given) in
            [("compress", &config.compress), ("decompress", &config.decompress), ("template", &config.template)]
        {
            problems.require(given.is_empty(), field, "is not supported yet");
        }
        problems.into_result()?;
        Ok(Self { header: config.header, body: config.body.into() })
    }

    fn handle<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let Some(response) = &mut cx.response else { return Step::Done(Outcome::Result("responseNotFound")) };
        self.header.apply(&mut response.headers);
        if !self.body.is_empty() {
            // They told of the old body.
            for name in [Known::ContentLength, Known::ContentEncoding, Known::ETag] {
                response.headers.remove_known(name);
            }
            response.body = Body::Full(self.body.clone());
        }
        Step::Done(Outcome::Next)
    }
}
