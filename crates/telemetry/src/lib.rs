//! Distributed tracing of requests: whose trace a request belongs to, the spans of the gateway's part in it, and their way to collectors.
//!
//! ```text
//!   request ─► extract (traceparent, b3) ─► sampler ─► span of the server ──end──► queue of each exporter ─► task on an I/O thread
//!                                                        └─ span of each call ──┘    spans and bytes           batch, encode, send
//! ```
//! - [`Spec`]: the key `tracing` of a server; [`Setup`]: the same, checked.
//! - [`Tracer`]: makes spans. Not sampled requests have a context, which is passed on, and no span.
//! - [`Counters`]: what became of spans, for each exporter.
//!
//! Why not the SDK of OpenTelemetry: its queue counts spans, and here bytes count. A span is leased from its first attribute on, and the
//! lease goes with it until the last exporter is done with it. Whatever finds no room is dropped and counted; no request waits for it.

mod attributes;
mod context;
mod counters;
mod export;
mod ids;
mod propagation;
mod queue;
mod sampler;
mod setup;
mod span;
mod spec;
#[cfg(test)]
mod tests;
mod tracer;

pub use counters::{Counters, Counts};
pub use setup::Setup;
pub use spec::{
    BatchLimits, Compression, ExporterSpec, HeaderFormat, JaegerMode, JaegerSpec, OldZipkinSpec, OtlpProtocol,
    OtlpSpec, SpanLimits, Spec, ZipkinSpec,
};
pub use tracer::{Incoming, RequestSpan, Tracer};
