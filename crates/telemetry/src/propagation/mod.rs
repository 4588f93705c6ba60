//! Contexts of spans in headers: one format in and out, as the reference has it.

mod b3;
#[cfg(test)]
mod tests;
mod w3c;

use tidegate_http::message::Headers;

use crate::{
    context::{Extracted, SpanContext},
    spec::HeaderFormat,
};

/// What the headers say in this format. What is malformed says nothing.
pub(crate) fn extract(format: HeaderFormat, headers: &Headers) -> Extracted {
    match format {
        HeaderFormat::TraceContext => w3c::extract(headers),
        HeaderFormat::B3 => b3::extract(headers),
    }
}

/// Puts the context in the place of what the headers say in this format.
pub(crate) fn inject(format: HeaderFormat, context: &SpanContext, headers: &mut Headers) {
    match format {
        HeaderFormat::TraceContext => w3c::inject(context, headers),
        HeaderFormat::B3 => b3::inject(context, headers),
    }
}
