//! Each exporter against a server that is written apart from it and decodes by other libraries.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{KeyValue, any_value},
    trace::v1::Span,
};
use prost::Message;
use serde_json::{Value as Json, json};
use thrift::protocol::{TBinaryInputProtocol, TCompactInputProtocol, TInputProtocol, TType};

use crate::{Counts, tests::Site};

const WAIT: Duration = Duration::from_secs(20);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// Requests of HTTP/1.1 with their heads in lower case, each answered by `answer`; an empty one never.
fn collector(answer: &'static [u8]) -> (SocketAddr, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = sync_channel(64);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, tell): (_, SyncSender<_>) = (stream.unwrap(), tell.clone());
            thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                loop {
                    let mut head = String::new();
                    while !head.ends_with("\r\n\r\n") {
                        if reader.read_line(&mut head).unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    let head = head.to_ascii_lowercase();
                    let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
                    let mut body = vec![0; length.parse().unwrap()];
                    reader.read_exact(&mut body).unwrap();
                    if tell.send((head, body)).is_err() || answer.is_empty() {
                        // The other side is to give it up.
                        drop(reader.read(&mut [0]));
                        return;
                    }
                    stream.write_all(answer).unwrap();
                }
            });
        }
    });
    (address, told)
}

const ACCEPTED: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";

fn tracing(exporter: &Json) -> Json {
    let limits = json!({"batchTimeout": 3_600_000, "exportTimeout": 10000});
    json!({"serviceName": "shop", "attributes": {"stage": "test"}, "batchLimits": limits, "exporter": exporter})
}

fn sent(told: &Receiver<(String, Vec<u8>)>) -> (String, Vec<u8>) {
    told.recv_timeout(WAIT).unwrap()
}

/// One request of status 503, with its call, below a parent.
fn serve(site: &mut Site) -> String {
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let head = site.serve(&[("traceparent", &parent), ("tracestate", "a=1"), ("User-Agent", "curl/8")], 503);
    site.close();
    String::from_utf8(head.headers.find("traceparent").unwrap().to_vec()).unwrap()
}

fn otlp_spans(request: &ExportTraceServiceRequest) -> &[Span] {
    let [resource] = &request.resource_spans[..] else { panic!("{request:?}") };
    let [scope] = &resource.scope_spans[..] else { panic!("{request:?}") };
    let service = texts(&resource.resource.as_ref().unwrap().attributes);
    assert_eq!(service["service.name"], "shop");
    assert_eq!(service["stage"], "test");
    assert_eq!(scope.scope.as_ref().unwrap().name, "tidegate");
    &scope.spans
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.as_ref().unwrap().value.as_ref().unwrap() {
        any_value::Value::StringValue(text) => text.clone(),
        any_value::Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|pair| (pair.key.clone(), text(pair))).collect()
}

fn check_otlp(bytes: &[u8], passed: &str) {
    let request = ExportTraceServiceRequest::decode(bytes).unwrap();
    let [call, server] = otlp_spans(&request) else { panic!("{request:?}") };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!((hex(&server.trace_id), hex(&server.parent_span_id)), (TRACE.into(), PARENT.into()));
    assert_eq!((&*server.name, server.kind, &*server.trace_state, server.flags), ("server", 2, "a=1", 0x301));
    assert_eq!((&*call.name, call.kind, &call.parent_span_id, call.flags), ("call", 3, &server.span_id, 0x101));
    assert_eq!(passed, format!("00-{TRACE}-{}-01", hex(&call.span_id)));
    for span in [call, server] {
        assert_eq!(span.status.as_ref().unwrap().code, 2);
        assert!(span.start_time_unix_nano > 1_600_000_000_000_000_000);
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
    }
    let expected = [
        ("client.address", "198.51.100.1"),
        ("error.type", "503"),
        ("http.request.method", "GET"),
        ("http.response.status_code", "503"),
        ("network.peer.address", "192.0.2.7"),
        ("network.peer.port", "4711"),
        ("network.protocol.version", "1.1"),
        ("server.address", "shop.test"),
        ("server.port", "8080"),
        ("url.path", "/some/path"),
        ("url.scheme", "https"),
        ("user_agent.original", "curl/8"),
    ];
    assert!(texts(&server.attributes).iter().map(|(key, value)| (&**key, &**value)).eq(expected), "{server:?}");
    let expected = [
        ("error.type", "503"),
        ("http.request.method", "GET"),
        ("http.request.resend_count", "1"),
        ("http.response.status_code", "503"),
        ("server.address", "127.0.0.1"),
        ("server.port", "9095"),
        ("url.full", "http://127.0.0.1:9095/base"),
    ];
    assert!(texts(&call.attributes).iter().map(|(key, value)| (&**key, &**value)).eq(expected), "{call:?}");
}

fn unpack(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).unwrap();
    out
}

#[test]
fn otlp_over_http() {
    for (compression, path, head_has) in
        [("", "", "post /v1/traces http/1.1\r\n"), ("gzip", "/own/path?key=1", "post /own/path?key=1 http/1.1\r\n")]
    {
        let (address, told) = collector(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let otlp = json!({"protocol": "http", "endpoint": format!("{address}{path}"), "insecure": true, "compression": compression});
        let mut site = Site::new(&tracing(&json!({ "otlp": otlp })));
        let passed = serve(&mut site);
        let (head, body) = sent(&told);
        assert!(head.starts_with(head_has) && head.contains("content-type: application/x-protobuf\r\n"), "{head}");
        assert_eq!(head.contains("content-encoding: gzip\r\n"), compression == "gzip");
        check_otlp(&if compression == "gzip" { unpack(&body) } else { body }, &passed);
        assert_eq!(site.counts(), Counts { exported: 2, ..Counts::default() });
    }
}

/// A server of gRPC that answers with these trailers, behind a message or alone.
fn grpc(alone: bool, status: &'static str) -> (SocketAddr, Receiver<(http::HeaderMap, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let (tell, told) = sync_channel(64);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let tell = tell.clone();
                tokio::spawn(async move {
                    assert_eq!(request.uri().path(), "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
                    let (parts, mut body) = request.into_parts();
                    let mut bytes = Vec::new();
                    while let Some(piece) = body.data().await {
                        let piece = piece.unwrap();
                        body.flow_control().release_capacity(piece.len()).unwrap();
                        bytes.extend_from_slice(&piece);
                    }
                    tell.send((parts.headers, bytes)).unwrap();
                    let answer = http::Response::builder().header("content-type", "application/grpc");
                    if alone {
                        respond.send_response(answer.header("grpc-status", status).body(()).unwrap(), true).unwrap();
                        return;
                    }
                    let mut stream = respond.send_response(answer.body(()).unwrap(), false).unwrap();
                    let partial = ExportTracePartialSuccess { rejected_spans: 1, error_message: "no".into() };
                    let message = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
                    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
                    stream.send_data([&[0], &length[..], &message].concat().into(), false).unwrap();
                    let mut trailers = http::HeaderMap::new();
                    trailers.insert("grpc-status", status.parse().unwrap());
                    stream.send_trailers(trailers).unwrap();
                });
            }
        });
    });
    (address, told)
}

#[test]
fn otlp_over_grpc() {
    for (alone, status, compression, expected) in [
        (false, "0", "", Counts { exported: 1, failed: 1, dropped: 0 }),
        (false, "0", "gzip", Counts { exported: 1, failed: 1, dropped: 0 }),
        (false, "14", "", Counts { failed: 2, ..Counts::default() }),
        (true, "12", "", Counts { failed: 2, ..Counts::default() }),
    ] {
        let (address, told) = grpc(alone, status);
        let otlp = json!({"protocol": "grpc", "endpoint": format!("http://{address}"), "compression": compression});
        let mut site = Site::new(&tracing(&json!({ "otlp": otlp })));
        let passed = serve(&mut site);
        let (headers, body) = told.recv_timeout(WAIT).unwrap();
        assert_eq!(
            (&headers["content-type"], &headers["te"]),
            (&"application/grpc".parse().unwrap(), &"trailers".parse().unwrap())
        );
        let packed = headers.get("grpc-encoding").is_some_and(|coding| coding == "gzip");
        assert_eq!((packed, body[0]), (compression == "gzip", u8::from(packed)));
        assert_eq!(u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize, body.len() - 5);
        check_otlp(&if packed { unpack(&body[5..]) } else { body[5..].to_vec() }, &passed);
        assert_eq!(site.counts(), expected);
    }
}

#[test]
fn zipkin() {
    let (address, told) = collector(ACCEPTED);
    let mut site = Site::new(&tracing(&json!({"zipkin": {"endpoint": format!("http://{address}/")}})));
    let passed = serve(&mut site);
    let (head, body) = sent(&told);
    assert!(head.starts_with("post /api/v2/spans http/1.1\r\n") && head.contains("content-type: application/json\r\n"));
    let spans: Json = serde_json::from_slice(&body).unwrap();
    let (call, server) = (&spans[0], &spans[1]);
    assert_eq!((&server["traceId"], &server["parentId"]), (&json!(TRACE), &json!(PARENT)));
    assert_eq!((&server["name"], &server["kind"]), (&json!("server"), &json!("SERVER")));
    assert_eq!((&call["name"], &call["kind"], &call["parentId"]), (&json!("call"), &json!("CLIENT"), &server["id"]));
    assert_eq!(passed, format!("00-{TRACE}-{}-01", call["id"].as_str().unwrap()));
    assert_eq!(server["localEndpoint"], json!({"serviceName": "shop"}));
    assert!(server["timestamp"].as_u64().unwrap() > 1_600_000_000_000_000 && server["duration"].as_u64().unwrap() > 0);
    let tags = &server["tags"];
    assert_eq!(
        (&tags["stage"], &tags["error"], &tags["http.response.status_code"]),
        (&json!("test"), &json!("true"), &json!("503"))
    );
    assert!(spans.as_array().unwrap().len() == 2 && !String::from_utf8_lossy(&body).contains("secret"));
    assert_eq!(site.counts(), Counts { exported: 2, ..Counts::default() });
}

#[test]
fn the_old_zipkin() {
    let (address, told) = collector(ACCEPTED);
    let zipkin =
        json!({"serverURL": format!("http://{address}/api/v2/spans"), "sampleRate": 1, "hostport": "127.0.0.1:10080"});
    let mut site = Site::new(&json!({"serviceName": "shop", "tags": {"stage": "old"}, "zipkin": zipkin}));
    let head = site.serve(&[("b3", &format!("{TRACE}-{PARENT}-d"))], 200);
    site.close();
    let spans: Json = serde_json::from_slice(&sent(&told).1).unwrap();
    let passed = format!("{TRACE}-{}-d", spans[0]["id"].as_str().unwrap());
    assert_eq!(head.headers.find("b3"), Some(passed.as_bytes()));
    assert!(head.headers.find("traceparent").is_none());
    assert_eq!(spans[1]["debug"], json!(true));
    assert_eq!(spans[1]["localEndpoint"], json!({"serviceName": "shop", "ipv4": "127.0.0.1", "port": 10080}));
    assert_eq!(spans[1]["tags"]["stage"], json!("old"));
    let zipkin = json!({"serverURL": "http://127.0.0.1:1", "sampleRate": 1, "disableReport": true});
    let silent = Site::new(&json!({"serviceName": "shop", "zipkin": zipkin}));
    assert!(silent.serve(&[], 200).headers.find("b3").is_some());
    assert_eq!(silent.counts(), Counts::default());
}

/// What stands in a struct by the numbers of its fields.
type Fields = BTreeMap<i16, Thrift>;

#[derive(Debug, Clone, PartialEq)]
enum Thrift {
    Bool(bool),
    Number(i64),
    Text(String),
    List(Vec<Thrift>),
    Struct(Fields),
}

impl Thrift {
    fn at(&self, field: i16) -> &Thrift {
        let Thrift::Struct(fields) = self else { panic!("{self:?}") };
        fields.get(&field).unwrap_or_else(|| panic!("no {field} in {self:?}"))
    }

    fn list(&self) -> &[Thrift] {
        let Thrift::List(list) = self else { panic!("{self:?}") };
        list
    }

    /// Tags by their keys.
    fn tags(&self) -> BTreeMap<String, Thrift> {
        let tag = |tag: &Thrift| {
            let (Thrift::Text(key), Thrift::Number(of)) = (tag.at(1), tag.at(2)) else { panic!("{tag:?}") };
            let value = [(0, 3), (2, 5), (3, 6)].into_iter().find(|(known, _)| known == of).unwrap().1;
            (key.clone(), tag.at(value).clone())
        };
        self.list().iter().map(tag).collect()
    }
}

fn read(input: &mut dyn TInputProtocol, of: TType) -> Thrift {
    match of {
        TType::Bool => Thrift::Bool(input.read_bool().unwrap()),
        TType::I32 => Thrift::Number(input.read_i32().unwrap().into()),
        TType::I64 => Thrift::Number(input.read_i64().unwrap()),
        TType::String => Thrift::Text(input.read_string().unwrap()),
        TType::List => {
            let list = input.read_list_begin().unwrap();
            Thrift::List((0..list.size).map(|_| read(input, list.element_type)).collect())
        }
        TType::Struct => {
            let mut fields = Fields::new();
            input.read_struct_begin().unwrap();
            loop {
                let field = input.read_field_begin().unwrap();
                if field.field_type == TType::Stop {
                    input.read_struct_end().unwrap();
                    return Thrift::Struct(fields);
                }
                let value = read(input, field.field_type);
                assert!(fields.insert(field.id.unwrap(), value).is_none());
            }
        }
        other => panic!("{other}"),
    }
}

fn check_jaeger(batch: &Thrift, passed: &str) {
    let text = |text: &str| Thrift::Text(text.into());
    let process = batch.at(1);
    assert_eq!((process.at(1), &process.at(2).tags()["stage"]), (&text("shop"), &text("test")));
    let [call, server] = batch.at(2).list() else { panic!("{batch:?}") };
    let number = |hex: &str| Thrift::Number(u64::from_str_radix(hex, 16).unwrap().cast_signed());
    assert_eq!((server.at(2), server.at(1)), (&number(&TRACE[..16]), &number(&TRACE[16..])));
    assert_eq!((server.at(4), server.at(5), server.at(7)), (&number(PARENT), &text("server"), &Thrift::Number(1)));
    assert_eq!((call.at(4), call.at(5)), (server.at(3), &text("call")));
    assert_eq!(call.at(3), &number(&passed[36..52]));
    assert!(
        matches!(server.at(8), Thrift::Number(1_600_000_000_000_000..)) && matches!(server.at(9), Thrift::Number(0..))
    );
    let tags = server.at(10).tags();
    assert_eq!((&tags["span.kind"], &tags["error"]), (&text("server"), &Thrift::Bool(true)));
    assert_eq!((&tags["http.response.status_code"], &tags["url.path"]), (&Thrift::Number(503), &text("/some/path")));
}

#[test]
fn jaegers_collector() {
    let (address, told) = collector(ACCEPTED);
    let jaeger = json!({"mode": "collector", "endpoint": format!("http://{address}/api/traces"), "username": "u", "password": "p"});
    let mut site = Site::new(&tracing(&json!({ "jaeger": jaeger })));
    let passed = serve(&mut site);
    let (head, body) = sent(&told);
    assert!(head.starts_with("post /api/traces?format=jaeger.thrift http/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/vnd.apache.thrift.binary\r\n"), "{head}");
    assert!(head.contains("authorization: basic dtpw\r\n"), "{head}");
    let mut rest = &body[..];
    check_jaeger(&read(&mut TBinaryInputProtocol::new(&mut rest, true), TType::Struct), &passed);
    assert!(rest.is_empty());
    assert_eq!(site.counts(), Counts { exported: 2, ..Counts::default() });
}

fn packet(socket: &UdpSocket) -> (Thrift, usize) {
    let mut bytes = vec![0; 70_000];
    let length = socket.recv(&mut bytes).unwrap();
    let mut rest = &bytes[..length];
    let mut input = TCompactInputProtocol::new(&mut rest);
    assert_eq!(input.read_message_begin().unwrap().name, "emitBatch");
    let arguments = read(&mut input, TType::Struct);
    drop(input);
    assert!(rest.is_empty());
    (arguments.at(1).clone(), length)
}

#[test]
fn jaegers_agent() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(WAIT)).unwrap();
    let jaeger = json!({"mode": "agent", "endpoint": socket.local_addr().unwrap().to_string()});
    let mut site = Site::new(&tracing(&json!({ "jaeger": jaeger })));
    let passed = serve(&mut site);
    check_jaeger(&packet(&socket).0, &passed);
    assert_eq!(site.counts(), Counts { exported: 2, ..Counts::default() });
}

#[test]
fn many_spans_take_several_packets() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(WAIT)).unwrap();
    let jaeger = json!({"mode": "agent", "endpoint": socket.local_addr().unwrap().to_string()});
    let mut spec = tracing(&json!({ "jaeger": jaeger }));
    spec["batchLimits"] = json!({"batchTimeout": 3_600_000});
    let mut site = Site::new(&spec);
    let agent = "x".repeat(4000);
    (0..40).for_each(|_| site.begin(&[("User-Agent", &agent)]).end(200));
    site.close();
    let (mut seen, mut packets) = (0, 0);
    while seen < 40 {
        let (batch, length) = packet(&socket);
        assert!(length <= 65_000, "{length}");
        seen += batch.at(2).list().len();
        packets += 1;
    }
    assert_eq!((seen, packets), (40, 3));
    assert_eq!(site.counts(), Counts { exported: 40, ..Counts::default() });
}

#[test]
fn cloudflares_part_is_a_span_around_the_servers() {
    let (address, told) = collector(ACCEPTED);
    let mut site = Site::new(&tracing(&json!({"zipkin": {"endpoint": format!("http://{address}")}})));
    site.begin(&[("CF-Ray", "ray-1"), ("x-ts-sec", "1700000000"), ("x-ts-msec", "123")]).end(200);
    site.begin(&[("CF-Ray", "ray-2"), ("x-ts-sec", "x"), ("x-ts-msec", "123")]).end(200);
    site.close();
    let mut spans: Vec<Json> = Vec::new();
    while spans.len() < 3 {
        spans.extend(serde_json::from_slice::<Vec<Json>>(&sent(&told).1).unwrap());
    }
    let [server, outer, other] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(
        (&outer["name"], &outer["timestamp"], &outer["tags"]["cf.ray"]),
        (&json!("cloudflare"), &json!(1_700_000_000_123_000_u64), &json!("ray-1"))
    );
    assert_eq!((&server["parentId"], outer.get("parentId"), outer.get("kind")), (&outer["id"], None, None));
    assert_eq!((other.get("parentId"), &other["name"]), (None, &json!("server")));
}

#[test]
fn what_goes_wrong_is_counted_and_over_in_time() {
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (refusing, _kept) = collector(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
    let (silent, asked) = collector(b"");
    for address in [dead, refusing] {
        let mut site = Site::new(&tracing(&json!({"zipkin": {"endpoint": format!("http://{address}")}})));
        serve(&mut site);
        assert_eq!(site.counts(), Counts { failed: 2, ..Counts::default() });
    }
    // An export that hangs ends by its own timeout.
    let mut spec = tracing(&json!({"zipkin": {"endpoint": format!("http://{silent}")}}));
    spec["batchLimits"]["exportTimeout"] = json!(50);
    let mut site = Site::new(&spec);
    serve(&mut site);
    sent(&asked);
    assert_eq!(site.counts(), Counts { failed: 2, ..Counts::default() });
    // Or because its server is gone: then what waits is dropped.
    spec["batchLimits"] = json!({"batchTimeout": 3_600_000, "exportTimeout": 3_600_000, "maxExportBatchSize": 2});
    let mut site = Site::new(&spec);
    site.serve(&[], 200);
    sent(&asked);
    site.serve(&[], 200);
    site.close();
    assert_eq!(site.counts(), Counts { failed: 2, dropped: 2, ..Counts::default() });
}
