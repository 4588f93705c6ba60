//! The key `tracing` of a server. Its keys are those of Easegress.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which requests are traced, and where their spans go.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// What the service is called in traces (`service.name`).
    pub service_name: String,
    /// Attributes of the service, which stand beside its name.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// The former name of `attributes`.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Part of the traces that are recorded, 0 (none) to 1 (all), where no parent has decided.
    #[serde(default = "all")]
    pub sample_rate: f64,
    /// Limits of one span.
    #[serde(default)]
    pub span_limits: SpanLimits,
    /// Limits of each exporter.
    #[serde(default)]
    pub batch_limits: BatchLimits,
    /// Where spans go; several at once.
    #[serde(default)]
    pub exporter: Option<ExporterSpec>,
    /// Zipkin as it was configured formerly, without `exporter`; contexts then travel as `b3`.
    #[serde(default)]
    pub zipkin: Option<OldZipkinSpec>,
    /// Headers that contexts travel in.
    #[serde(default)]
    pub header_format: HeaderFormat,
}

const fn all() -> f64 {
    1.0
}

/// Headers of contexts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum HeaderFormat {
    #[default]
    TraceContext,
    B3,
}

/// Limits of one span. Negative: none but those that hold anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SpanLimits {
    /// Characters of an attribute's value; longer ones are cut. At most 4096 bytes in any case.
    pub attribute_value_length_limit: i64,
    /// Attributes of a span; more are dropped, and counted in it.
    pub attribute_count_limit: i64,
    /// Has no effect: spans have no events.
    pub event_count_limit: i64,
    /// Has no effect: spans have no links.
    pub link_count_limit: i64,
    /// Has no effect: spans have no events.
    pub attribute_per_event_count_limit: i64,
    /// Has no effect: spans have no links.
    pub attribute_per_link_count_limit: i64,
}

impl Default for SpanLimits {
    fn default() -> Self {
        Self {
            attribute_value_length_limit: -1,
            attribute_count_limit: 128,
            event_count_limit: 128,
            link_count_limit: 128,
            attribute_per_event_count_limit: 128,
            attribute_per_link_count_limit: 128,
        }
    }
}

/// Limits of each exporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BatchLimits {
    /// Spans that wait, 1 to 65536; more are dropped. At most 4 MiB of them in any case.
    pub max_queue_size: u32,
    /// Longest wait of a span before its batch goes out, in milliseconds.
    pub batch_timeout: u32,
    /// Longest time of an export, in milliseconds.
    pub export_timeout: u32,
    /// Spans of a batch; at most those that may wait, and 1 MiB of them in any case.
    pub max_export_batch_size: u32,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { max_queue_size: 2048, batch_timeout: 5000, export_timeout: 30_000, max_export_batch_size: 512 }
    }
}

/// Where spans go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExporterSpec {
    #[serde(default)]
    pub jaeger: Option<JaegerSpec>,
    #[serde(default)]
    pub zipkin: Option<ZipkinSpec>,
    #[serde(default)]
    pub otlp: Option<OtlpSpec>,
}

/// Jaeger in its own format, Thrift.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JaegerSpec {
    /// Whom spans are sent to: the `agent` beside the gateway, over UDP, or the `collector`, over HTTP.
    pub mode: JaegerMode,
    /// The agent's `HOST:PORT`, or the collector's URL; the path `/api/traces` unless it has one.
    #[serde(default)]
    pub endpoint: String,
    /// For the collector, with `password`.
    #[serde(default)]
    pub username: String,
    #[serde(default)]
    pub password: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum JaegerMode {
    Agent,
    Collector,
}

/// Zipkin, version 2 of its API, in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ZipkinSpec {
    /// URL of the collector; the path `/api/v2/spans` unless it has one.
    pub endpoint: String,
}

/// A collector of OpenTelemetry's protocol.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OtlpSpec {
    /// Protobuf over HTTP, or gRPC.
    pub protocol: OtlpProtocol,
    /// `HOST:PORT` or a URL; over HTTP with the path `/v1/traces` unless it has one.
    pub endpoint: String,
    /// Whether `HOST:PORT` is asked without TLS. Of a URL the scheme counts.
    #[serde(default)]
    pub insecure: bool,
    /// Whether batches are packed.
    #[serde(default)]
    pub compression: Compression,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum OtlpProtocol {
    Http,
    Grpc,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Compression {
    #[default]
    #[serde(rename = "")]
    No,
    #[serde(rename = "gzip")]
    Gzip,
}

/// Zipkin as it was configured formerly.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OldZipkinSpec {
    /// URL of the collector; the path `/api/v2/spans` unless it has one.
    #[serde(rename = "serverURL")]
    pub server_url: String,
    /// As `sampleRate` of the whole, in whose place it stands.
    pub sample_rate: f64,
    /// Address and port that spans name as their place.
    #[serde(default)]
    pub hostport: String,
    /// Whether no span is exported. Contexts are passed on all the same.
    #[serde(default)]
    pub disable_report: bool,
    /// Has no effect: a server's span has a number of its own.
    #[serde(default)]
    pub same_span: bool,
    /// Has no effect: numbers of traces have 128 bits.
    #[serde(default, rename = "id128Bit")]
    pub id_128_bit: bool,
}
