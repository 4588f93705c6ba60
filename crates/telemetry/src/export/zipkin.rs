//! Zipkin, version 2 of its API. Source: `zipkin2-api.yaml`; how kinds and failures look, the mapping of OpenTelemetry.

use std::{collections::BTreeMap, io::Write, net::SocketAddr, time::Duration};

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{Batch, Buffer, ExportError, Means, Resource, Sent, Site};
use crate::span::{Finished, Kind, Span, Value};

/// Sends to one collector.
pub(crate) struct Zipkin {
    pub(crate) site: Site,
    /// What spans name as their place.
    pub(crate) place: Option<SocketAddr>,
}

impl Zipkin {
    pub(super) async fn send(&self, means: &Means, batch: &Batch) -> Sent {
        let body = self.encode(means, batch).map_err(ExportError::Encode)?;
        self.site.post(means, &[("Content-Type", "application/json")], body.into_parts()).await?;
        Ok(0)
    }

    fn encode(&self, means: &Means, batch: &Batch) -> std::io::Result<Buffer> {
        let mut buffer = Buffer::new(&means.budget);
        for (number, finished) in batch.iter().enumerate() {
            buffer.write_all(if number == 0 { b"[" } else { b"," })?;
            serde_json::to_writer(&mut buffer, &self.message(&means.resource, finished))?;
        }
        buffer.write_all(b"]")?;
        Ok(buffer)
    }

    fn message<'a>(&self, resource: &'a Resource, finished: &'a Finished) -> Message<'a> {
        let span = &finished.span;
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let (ipv4, ipv6) = match self.place {
            Some(SocketAddr::V4(at)) => (Some(at.ip().to_string()), None),
            Some(SocketAddr::V6(at)) => (None, Some(at.ip().to_string())),
            None => (None, None),
        };
        Message {
            trace_id: span.context.trace.to_string(),
            id: span.context.span.to_string(),
            parent_id: span.parent.map(|parent| parent.to_string()),
            name: &span.name,
            kind: match span.kind {
                Kind::Internal => None,
                Kind::Server => Some("SERVER"),
                Kind::Client => Some("CLIENT"),
            },
            timestamp: micros(span.start),
            // Zero would mean that it is not known.
            duration: micros(span.end.saturating_sub(span.start)).max(1),
            debug: span.context.debug,
            local_endpoint: Place { service_name: &resource.service, ipv4, ipv6, port: self.place.map(|at| at.port()) },
            tags: Tags { resource, span },
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    trace_id: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_id: Option<String>,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    timestamp: u64,
    duration: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    debug: bool,
    local_endpoint: Place<'a>,
    tags: Tags<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Place<'a> {
    service_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv4: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

/// Attributes of the span and, where it has none of their name, of its service.
struct Tags<'a> {
    resource: &'a Resource,
    span: &'a Span,
}

impl Serialize for Tags<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let own: BTreeMap<&str, &Value> = self.span.attributes.iter().map(|(key, value)| (*key, value)).collect();
        for (key, value) in &self.resource.attributes {
            if !own.contains_key(key.as_str()) {
                map.serialize_entry(key, value)?;
            }
        }
        for (key, value) in &own {
            match value {
                Value::Text(text) => map.serialize_entry(key, text)?,
                Value::Known(text) => map.serialize_entry(key, text)?,
                Value::Number(number) => map.serialize_entry(key, &number.to_string())?,
            }
        }
        if self.span.failed {
            map.serialize_entry("otel.status_code", "ERROR")?;
            map.serialize_entry("error", "true")?;
        }
        map.end()
    }
}
