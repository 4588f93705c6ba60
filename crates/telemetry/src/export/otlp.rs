//! OpenTelemetry's protocol: protobuf over HTTP, or as a call of gRPC. Source: opentelemetry-proto 1.x, `trace/v1` and `collector/trace/v1`.
//!
//! Messages are those that are sent, field by field, and not the crate `opentelemetry-proto`: that one brings the whole SDK. Tests decode
//! what is written here with it.

use std::io::{self, Write};

use flate2::{Compression as Level, write::GzEncoder};
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint},
};
use tidegate_http::upstream::Answer;

use super::{Batch, Buffer, ExportError, Means, Resource, Sent, Site};
use crate::span::{Finished, Kind, Value};

/// What packing holds beside what comes out: window, chains and buffers of `miniz_oxide` are 320 KiB, and what it writes at a time.
const GZIP_BYTES: u64 = 448 << 10;

/// Sends to one collector.
pub(crate) struct Otlp {
    pub(crate) site: Site,
    pub(crate) grpc: bool,
    pub(crate) gzip: bool,
}

impl Otlp {
    pub(super) async fn send(&self, means: &Means, batch: &Batch) -> Sent {
        let body = encode(means, batch).and_then(|body| if self.gzip { pack(means, body) } else { Ok(body) });
        let mut body = body.map_err(ExportError::Encode)?;
        let coding: &[(&str, &str)] = match (self.gzip, self.grpc) {
            (false, _) => &[],
            (true, false) => &[("Content-Encoding", "gzip")],
            (true, true) => &[("grpc-encoding", "gzip")],
        };
        if !self.grpc {
            let headers = [&[("Content-Type", "application/x-protobuf")], coding].concat();
            let answer = self.site.post(means, &headers, body.into_parts()).await?;
            return Ok(refused(&answer.body));
        }
        let length =
            u32::try_from(body.bytes.len()).map_err(|_| ExportError::Encode(io::ErrorKind::FileTooLarge.into()))?;
        let [a, b, c, d] = length.to_be_bytes();
        body.begin_with(&[u8::from(self.gzip), a, b, c, d]).map_err(ExportError::Encode)?;
        let headers = [&[("Content-Type", "application/grpc"), ("TE", "trailers")], coding].concat();
        let answer = self.site.post(means, &headers, body.into_parts()).await?;
        match grpc_status(&answer) {
            None => Ok(refused(answer.body.get(5..).filter(|_| answer.body.first() == Some(&0)).unwrap_or_default())),
            Some(status) => Err(ExportError::Grpc(status)),
        }
    }
}

/// `None`: it went well. The status stands in the trailers, which the answer has among its headers.
fn grpc_status(answer: &Answer) -> Option<String> {
    match answer.headers.find("grpc-status") {
        Some(b"0") => None,
        Some(status) => Some(String::from_utf8_lossy(status).chars().take(3).collect()),
        None => Some("missing".to_owned()),
    }
}

/// Spans that a collector says it has not taken. An answer that cannot be read says nothing.
fn refused(body: &[u8]) -> usize {
    let answer = messages::Answer::decode(body).unwrap_or_default();
    answer.partial.map_or(0, |partial| usize::try_from(partial.rejected).unwrap_or(0))
}

fn pack(means: &Means, body: Buffer) -> io::Result<Buffer> {
    let lease = means.budget.try_lease(tidegate_base::Holder::Gateway, GZIP_BYTES);
    let _lease = lease.ok_or(io::ErrorKind::OutOfMemory)?;
    let mut encoder = GzEncoder::new(Buffer::new(&means.budget), Level::fast());
    encoder.write_all(&body.bytes)?;
    encoder.finish()
}

/// One resource, one scope, the spans. They are written first, since what is around them tells their length.
fn encode(means: &Means, batch: &Batch) -> io::Result<Buffer> {
    let mut buffer = Buffer::new(&means.budget);
    let mut piece = Vec::new();
    for finished in batch {
        piece.clear();
        let span = message(finished);
        // `ScopeSpans.spans`.
        encode_key(2, WireType::LengthDelimited, &mut piece);
        encode_varint(span.encoded_len() as u64, &mut piece);
        span.encode_raw(&mut piece);
        buffer.write_all(&piece)?;
    }
    let scope = messages::Scope { name: "tidegate", version: env!("CARGO_PKG_VERSION") };
    let scope = field(1, &scope.encode());
    let scope_spans = scope.len() + buffer.bytes.len();
    let mut head = field(1, &resource(&means.resource).encode_to_vec());
    encode_key(2, WireType::LengthDelimited, &mut head);
    encode_varint(scope_spans as u64, &mut head);
    let mut first = Vec::new();
    encode_key(1, WireType::LengthDelimited, &mut first);
    encode_varint((head.len() + scope_spans) as u64, &mut first);
    buffer.begin_with(&[first, head, scope].concat())?;
    Ok(buffer)
}

fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_key(number, WireType::LengthDelimited, &mut out);
    encode_varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

fn resource(resource: &Resource) -> messages::Resource {
    let name = messages::KeyValue::text("service.name", &resource.service);
    let others = resource.attributes.iter().map(|(key, value)| messages::KeyValue::text(key, value));
    messages::Resource { attributes: std::iter::once(name).chain(others).collect() }
}

fn message(finished: &Finished) -> messages::Span {
    /// The parent is told to be another system's, or not.
    const TELLS_REMOTE: u32 = 0x100;
    const IS_REMOTE: u32 = 0x200;
    let span = &finished.span;
    let nanos = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let attributes = span.attributes.iter().map(|(key, value)| match value {
        Value::Text(text) => messages::KeyValue::text(key, text),
        Value::Known(text) => messages::KeyValue::text(key, text),
        Value::Number(number) => messages::KeyValue::number(key, *number),
    });
    messages::Span {
        trace_id: span.context.trace.0.to_vec(),
        span_id: span.context.span.0.to_vec(),
        trace_state: span.context.state.as_deref().unwrap_or_default().to_owned(),
        parent_span_id: span.parent.map(|parent| parent.0.to_vec()).unwrap_or_default(),
        name: span.name.to_string(),
        kind: match span.kind {
            Kind::Internal => 1,
            Kind::Server => 2,
            Kind::Client => 3,
        },
        start: nanos(span.start),
        end: nanos(span.end),
        attributes: attributes.collect(),
        attributes_dropped: span.attributes_dropped,
        status: span.failed.then_some(messages::Status { code: 2 }),
        flags: 1 | TELLS_REMOTE | if span.is_remote { IS_REMOTE } else { 0 },
    }
}

mod messages {
    //! Fields by their numbers.

    use prost::{Message, Oneof};

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Span {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) trace_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub(super) span_id: Vec<u8>,
        #[prost(string, tag = "3")]
        pub(super) trace_state: String,
        #[prost(bytes = "vec", tag = "4")]
        pub(super) parent_span_id: Vec<u8>,
        #[prost(string, tag = "5")]
        pub(super) name: String,
        #[prost(int32, tag = "6")]
        pub(super) kind: i32,
        #[prost(fixed64, tag = "7")]
        pub(super) start: u64,
        #[prost(fixed64, tag = "8")]
        pub(super) end: u64,
        #[prost(message, repeated, tag = "9")]
        pub(super) attributes: Vec<KeyValue>,
        #[prost(uint32, tag = "10")]
        pub(super) attributes_dropped: u32,
        #[prost(message, optional, tag = "15")]
        pub(super) status: Option<Status>,
        #[prost(fixed32, tag = "16")]
        pub(super) flags: u32,
    }

    #[derive(Clone, Copy, PartialEq, Message)]
    pub(super) struct Status {
        #[prost(int32, tag = "3")]
        pub(super) code: i32,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Resource {
        #[prost(message, repeated, tag = "1")]
        pub(super) attributes: Vec<KeyValue>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct KeyValue {
        #[prost(string, tag = "1")]
        key: String,
        #[prost(message, optional, tag = "2")]
        value: Option<AnyValue>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct AnyValue {
        #[prost(oneof = "Is", tags = "1, 3")]
        is: Option<Is>,
    }

    #[derive(Clone, PartialEq, Oneof)]
    enum Is {
        #[prost(string, tag = "1")]
        Text(String),
        #[prost(int64, tag = "3")]
        Number(i64),
    }

    impl KeyValue {
        pub(super) fn text(key: &str, text: &str) -> Self {
            Self { key: key.to_owned(), value: Some(AnyValue { is: Some(Is::Text(text.to_owned())) }) }
        }

        pub(super) fn number(key: &str, number: i64) -> Self {
            Self { key: key.to_owned(), value: Some(AnyValue { is: Some(Is::Number(number)) }) }
        }
    }

    pub(super) struct Scope {
        pub(super) name: &'static str,
        pub(super) version: &'static str,
    }

    impl Scope {
        pub(super) fn encode(&self) -> Vec<u8> {
            [super::field(1, self.name.as_bytes()), super::field(2, self.version.as_bytes())].concat()
        }
    }

    /// What a collector says.
    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Answer {
        #[prost(message, optional, tag = "1")]
        pub(super) partial: Option<Partial>,
    }

    #[derive(Clone, Copy, PartialEq, Message)]
    pub(super) struct Partial {
        #[prost(int64, tag = "1")]
        pub(super) rejected: i64,
    }
}
