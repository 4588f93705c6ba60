//! `ResponseAdaptor` changes an answer on its way.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_base::{Budget, Holder};
use tidegate_http::message::{Body, BodyError, Known, Length, Method};
use tidegate_pipeline::{Context, Deps, Filter, Outcome, Problems, Step};

use crate::{
    adapt::{HeaderChange, check_codings},
    gzip::{Coded, is_gzip, may_code, pack_answer, recoded},
};

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
    /// `gzip` packs the body on its way, unless it has a coding.
    #[serde(default)]
    compress: String,
    /// `gzip` unpacks the body on its way where that is its coding.
    #[serde(default)]
    decompress: String,
    /// Template of the changes. Not implemented.
    #[serde(default)]
    template: String,
}

/// Changes headers, then the body.
pub struct ResponseAdaptor {
    header: HeaderChange,
    body: Bytes,
    compress: bool,
    decompress: bool,
    budget: Budget,
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

    fn new(config: Config, deps: &Deps) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let Config { header, body, compress, decompress, template } = config;
        check_codings(&compress, &decompress, &body, &template, &mut problems);
        problems.into_result()?;
        let (compress, decompress) = (!compress.is_empty(), !decompress.is_empty());
        Ok(Self { header, body: body.into(), compress, decompress, budget: deps.budget.clone() })
    }

    fn handle<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let head_only = cx.request().method == Method::Head;
        let Some(response) = &mut cx.response else { return Step::Done(Outcome::Result("responseNotFound")) };
        self.header.apply(&mut response.headers);
        if !self.body.is_empty() {
            // They told of the old body.
            let told =
                [Known::ContentLength, Known::ContentEncoding, Known::ContentRange, Known::AcceptRanges, Known::ETag];
            for name in told {
                response.headers.remove_known(name);
            }
            response.body = Body::Full(self.body.clone());
        }
        let bodyless = head_only || matches!(response.status, 204 | 304) || response.body.length() == Length::Known(0);
        if bodyless {
            return Step::Done(Outcome::Next);
        }
        // A part of a body cannot be coded by itself, and the server may forbid it.
        let whole = response.status != 206
            && response.headers.get(Known::ContentRange).is_none()
            && may_code(&response.headers);
        if self.compress && whole && response.headers.get(Known::ContentEncoding).is_none() {
            let packed = pack_answer(std::mem::take(&mut response.body), &self.budget);
            let Ok(body) = packed else {
                cx.reject(503);
                return Step::Done(Outcome::Result("compressFailed"));
            };
            response.body = body;
            recoded(&mut response.headers, Some(b"gzip"));
        }
        if self.decompress && whole && is_gzip(&response.headers) {
            return Step::Wait(Box::pin(async move {
                let body = cx.response.as_mut().map(|response| std::mem::take(&mut response.body)).unwrap_or_default();
                match (unpacked(body, &self.budget).await, &mut cx.response) {
                    (Ok(body), Some(response)) => {
                        response.body = body;
                        recoded(&mut response.headers, None);
                        Outcome::Next
                    }
                    (failed, _) => {
                        cx.reject(if matches!(failed, Err(BodyError::NoMemory)) { 503 } else { 500 });
                        Outcome::Result("decompressFailed")
                    }
                }
            }));
        }
        Step::Done(Outcome::Next)
    }
}

/// Unpacks up to the first piece here, so that what is no gzip at all can still be told from an answer.
async fn unpacked(body: Body, budget: &Budget) -> Result<Body, BodyError> {
    let pieces = body.into_pieces(budget, Holder::Gateway).map_err(|_| BodyError::NoMemory)?;
    let mut coded = Coded::unpack(pieces, budget)?;
    let first = coded.next().await.transpose()?;
    Ok(Body::chunks(stream::iter(first.map(Ok)).chain(coded)))
}
