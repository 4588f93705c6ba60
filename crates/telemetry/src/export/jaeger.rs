//! Jaeger's own format, Thrift: binary to the collector over HTTP, compact to the agent over UDP. Source: `jaeger.thrift` and `agent.thrift`
//! of jaeger-idl; how kinds and failures look, the mapping of OpenTelemetry.

use std::{
    io::{self, Write},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use thrift::protocol::{
    TBinaryOutputProtocol, TCompactOutputProtocol, TFieldIdentifier, TListIdentifier, TMessageIdentifier, TMessageType,
    TOutputProtocol, TStructIdentifier, TType,
};

use super::{Batch, Buffer, ExportError, Means, Resource, Sent, Site, udp};
use crate::span::{Finished, Kind, Value};

/// Most bytes of a packet. Source: clients of Jaeger, which leave room below the 65,535 of UDP.
const PACKET_BYTES_MAX: usize = 65_000;

type Written = thrift::Result<()>;
/// Makes the protocol that writes to these bytes.
type Format = for<'a> fn(&'a mut Vec<u8>) -> Box<dyn TOutputProtocol + 'a>;

const BINARY: Format = |bytes| Box::new(TBinaryOutputProtocol::new(bytes, true));
const COMPACT: Format = |bytes| Box::new(TCompactOutputProtocol::new(bytes));

/// Sends to one collector.
pub(crate) struct Collector {
    pub(crate) site: Site,
    authorization: Option<String>,
}

impl Collector {
    /// Without a user's name nobody is named.
    pub(crate) fn new(site: Site, username: &str, password: &str) -> Self {
        let encoded = || format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{password}")));
        Self { site, authorization: (!username.is_empty()).then(encoded) }
    }

    pub(super) async fn send(&self, means: &Means, batch: &Batch) -> Sent {
        let body = encode(means, batch).map_err(ExportError::Encode)?;
        let mut headers = vec![("Content-Type", "application/vnd.apache.thrift.binary")];
        headers.extend(self.authorization.as_deref().map(|user| ("Authorization", user)));
        self.site.post(means, &headers, body.into_parts()).await?;
        Ok(0)
    }
}

/// Sends to one agent.
pub(crate) struct Agent {
    pub(crate) site: Site,
}

impl Agent {
    pub(super) async fn send(&self, means: &Means, batch: &Batch) -> Sent {
        let address = self.site.endpoint.addresses().first().copied().ok_or(ExportError::NoAddress)?;
        let head = |count| frame(COMPACT, &means.resource, count, true).map_err(encoding);
        let most = PACKET_BYTES_MAX.saturating_sub(head(batch.len())?.len() + ENDS.len());
        let socket = udp::open(address).await.map_err(ExportError::Udp)?;
        let (mut packet, mut spans, mut refused) = (Buffer::new(&means.budget), 0, 0);
        let mut one = Vec::new();
        for finished in batch {
            one.clear();
            span(&mut *COMPACT(&mut one), finished).map_err(encoding)?;
            if one.len() > most {
                refused += 1;
                continue;
            }
            if packet.bytes.len() + one.len() > most {
                send(&socket, &mut packet, &head(spans)?).await?;
                spans = 0;
            }
            packet.write_all(&one).map_err(ExportError::Encode)?;
            spans += 1;
        }
        if spans > 0 {
            send(&socket, &mut packet, &head(spans)?).await?;
        }
        Ok(refused)
    }
}

/// Ends of the batch and of the arguments that it is in.
const ENDS: [u8; 2] = [0, 0];

async fn send(socket: &tokio::net::UdpSocket, packet: &mut Buffer, head: &[u8]) -> Result<(), ExportError> {
    packet.begin_with(head).and_then(|()| packet.write_all(&ENDS)).map_err(ExportError::Encode)?;
    socket.send(&packet.bytes).await.map_err(ExportError::Udp)?;
    packet.bytes.clear();
    Ok(())
}

fn encoding(error: thrift::Error) -> ExportError {
    ExportError::Encode(io::Error::other(error))
}

fn encode(means: &Means, batch: &Batch) -> io::Result<Buffer> {
    let mut buffer = Buffer::new(&means.budget);
    buffer.write_all(&frame(BINARY, &means.resource, batch.len(), false).map_err(io::Error::other)?)?;
    let mut one = Vec::new();
    for finished in batch {
        one.clear();
        span(&mut *BINARY(&mut one), finished).map_err(io::Error::other)?;
        buffer.write_all(&one)?;
    }
    buffer.write_all(&ENDS[..1])?;
    Ok(buffer)
}

/// What stands in front of so many spans: in a call to the agent, and in a batch.
fn frame(format: Format, resource: &Resource, spans: usize, call: bool) -> thrift::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut out = format(&mut bytes);
    if call {
        out.write_message_begin(&TMessageIdentifier::new("emitBatch", TMessageType::OneWay, 0))?;
        begin(&mut *out)?;
        field(&mut *out, TType::Struct, 1)?;
    }
    begin(&mut *out)?;
    field(&mut *out, TType::Struct, 1)?;
    begin(&mut *out)?;
    text(&mut *out, 1, &resource.service)?;
    list(&mut *out, 2, resource.attributes.len())?;
    for (key, value) in &resource.attributes {
        tag(&mut *out, key, &Tag::Text(value))?;
    }
    end(&mut *out)?;
    list(&mut *out, 2, spans)?;
    drop(out);
    Ok(bytes)
}

enum Tag<'a> {
    Text(&'a str),
    Bool(bool),
    Number(i64),
}

fn span(out: &mut dyn TOutputProtocol, finished: &Finished) -> Written {
    let span = &finished.span;
    let (high, low) = span.context.trace.halves();
    let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    begin(out)?;
    number(out, 1, low.cast_signed())?;
    number(out, 2, high.cast_signed())?;
    number(out, 3, span.context.span.number().cast_signed())?;
    number(out, 4, span.parent.map_or(0, |parent| parent.number().cast_signed()))?;
    text(out, 5, &span.name)?;
    field(out, TType::I32, 7)?;
    out.write_i32(1 | if span.context.debug { 2 } else { 0 })?;
    number(out, 8, micros(span.start))?;
    number(out, 9, micros(span.end.saturating_sub(span.start)))?;
    let kind = match span.kind {
        Kind::Internal => None,
        Kind::Server => Some("server"),
        Kind::Client => Some("client"),
    };
    let more = usize::from(kind.is_some()) + if span.failed { 2 } else { 0 };
    list(out, 10, span.attributes.len() + more)?;
    for (key, value) in &span.attributes {
        let value = match value {
            Value::Text(text) => Tag::Text(text),
            Value::Known(text) => Tag::Text(text),
            Value::Number(number) => Tag::Number(*number),
        };
        tag(out, key, &value)?;
    }
    if let Some(kind) = kind {
        tag(out, "span.kind", &Tag::Text(kind))?;
    }
    if span.failed {
        tag(out, "otel.status_code", &Tag::Text("ERROR"))?;
        tag(out, "error", &Tag::Bool(true))?;
    }
    end(out)
}

/// The value stands in a field of its type, and the type in another.
fn tag(out: &mut dyn TOutputProtocol, key: &str, value: &Tag<'_>) -> Written {
    begin(out)?;
    text(out, 1, key)?;
    field(out, TType::I32, 2)?;
    match value {
        Tag::Text(value) => {
            out.write_i32(0)?;
            text(out, 3, value)?;
        }
        Tag::Bool(value) => {
            out.write_i32(2)?;
            field(out, TType::Bool, 5)?;
            out.write_bool(*value)?;
        }
        Tag::Number(value) => {
            out.write_i32(3)?;
            number(out, 6, *value)?;
        }
    }
    end(out)
}

fn begin(out: &mut dyn TOutputProtocol) -> Written {
    out.write_struct_begin(&TStructIdentifier::new(""))
}

fn end(out: &mut dyn TOutputProtocol) -> Written {
    out.write_field_stop()?;
    out.write_struct_end()
}

fn field(out: &mut dyn TOutputProtocol, of: TType, id: i16) -> Written {
    out.write_field_begin(&TFieldIdentifier::new("", of, id))
}

fn text(out: &mut dyn TOutputProtocol, id: i16, text: &str) -> Written {
    field(out, TType::String, id)?;
    out.write_string(text)
}

fn number(out: &mut dyn TOutputProtocol, id: i16, number: i64) -> Written {
    field(out, TType::I64, id)?;
    out.write_i64(number)
}

fn list(out: &mut dyn TOutputProtocol, id: i16, structs: usize) -> Written {
    field(out, TType::List, id)?;
    out.write_list_begin(&TListIdentifier::new(TType::Struct, i32::try_from(structs).unwrap_or(i32::MAX)))
}
