//! The client against a server that plays a script for each stream.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::{BufMut, Bytes, BytesMut};
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, Request, Response};
use tidegate_api::{
    Code, Error, Kv, Message, Method,
    pb::{
        LeaseKeepAliveRequest, LeaseKeepAliveResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
        ResponseHeader, WatchCreateRequest, WatchResponse,
    },
};
use tokio::net::TcpListener;

use crate::{Client, Config, frame};

/// What the server does with a stream.
#[derive(Clone, Copy, Debug)]
enum Script {
    /// Answers a put in pieces of this size.
    Answer(usize),
    /// Ends with this status, in the headers.
    Fail(&'static str, &'static str),
    HttpStatus(u16),
    TwoAnswers,
    NoAnswer,
    NoStatus,
    CutOff,
    Reset(h2::Reason),
    /// Closes the connection.
    Hangup,
    /// Echoes keepalives.
    KeepAlive,
    /// Creates a watch, or refuses it with this reason.
    Watch(&'static str),
    Silent,
}

/// Starts a server; stream `n` plays the `n`-th script, the last one for ever.
async fn serve(scripts: &'static [Script]) -> (Client, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(socket).await.unwrap();
                while let Some(Ok((request, respond))) = connection.accept().await {
                    let number = count.fetch_add(1, Ordering::SeqCst).min(scripts.len() - 1);
                    if matches!(scripts[number], Script::Hangup) {
                        return;
                    }
                    tokio::spawn(play(scripts[number], request, respond));
                }
            });
        }
    });
    let config = Config { message_bytes_max: 1 << 20, ..Config::new([endpoint]) };
    (Client::new(&config).unwrap(), seen)
}

fn ok() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    trailers
}

fn put_answer() -> PutResponse {
    PutResponse { header: Some(ResponseHeader { revision: 7, ..Default::default() }), prev_kv: None }
}

async fn play(script: Script, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let grpc = || Response::builder().status(200).header("content-type", "application/grpc");
    let answer = frame::encode(&put_answer()).unwrap();
    let mut body = request.into_body();
    match script {
        Script::Answer(piece) => {
            while let Some(Ok(data)) = body.data().await {
                body.flow_control().release_capacity(data.len()).unwrap();
            }
            let mut stream = respond.send_response(grpc().body(()).unwrap(), false).unwrap();
            for piece in answer.chunks(piece) {
                stream.send_data(Bytes::copy_from_slice(piece), false).unwrap();
            }
            stream.send_trailers(ok()).unwrap();
        }
        Script::Fail(code, text) => {
            let response = grpc().header("grpc-status", code).header("grpc-message", text).body(()).unwrap();
            respond.send_response(response, true).unwrap();
        }
        Script::HttpStatus(status) => {
            respond.send_response(Response::builder().status(status).body(()).unwrap(), true).unwrap();
        }
        Script::TwoAnswers | Script::NoAnswer | Script::NoStatus => {
            let mut stream = respond.send_response(grpc().body(()).unwrap(), false).unwrap();
            match script {
                Script::TwoAnswers => stream.send_data([answer.clone(), answer].concat().into(), false).unwrap(),
                Script::NoStatus => return stream.send_data(answer, true).unwrap(),
                _ => {}
            }
            stream.send_trailers(ok()).unwrap();
        }
        Script::CutOff => {
            let mut stream = respond.send_response(grpc().body(()).unwrap(), false).unwrap();
            stream.send_data(answer.slice(..answer.len() - 1), false).unwrap();
            stream.send_trailers(ok()).unwrap();
        }
        Script::Reset(reason) => respond.send_reset(reason),
        Script::KeepAlive => {
            let mut stream = respond.send_response(grpc().body(()).unwrap(), false).unwrap();
            let mut decoder = frame::Decoder::new(1 << 10);
            while let Some(Ok(data)) = body.data().await {
                decoder.feed(data);
                while let Some(message) = decoder.message().unwrap() {
                    let id = LeaseKeepAliveRequest::decode(message).unwrap().id;
                    let answer = LeaseKeepAliveResponse { header: None, id, ttl: id * 2 };
                    stream.send_data(frame::encode(&answer).unwrap(), false).unwrap();
                }
            }
            stream.send_trailers(ok()).unwrap();
        }
        Script::Watch(reason) => {
            let mut stream = respond.send_response(grpc().body(()).unwrap(), false).unwrap();
            let canceled = !reason.is_empty();
            let created = WatchResponse { created: true, canceled, cancel_reason: reason.into(), ..Default::default() };
            let events = WatchResponse { events: vec![Default::default(); 3], ..Default::default() };
            let end = WatchResponse { canceled: true, compact_revision: 5, ..Default::default() };
            for answer in [created, events, end] {
                stream.send_data(frame::encode(&answer).unwrap(), false).unwrap();
            }
            std::future::pending::<()>().await;
        }
        Script::Silent => std::future::pending().await,
        Script::Hangup => unreachable!("handled by the connection"),
    }
}

fn request() -> PutRequest {
    PutRequest { key: "k".into(), value: vec![1; 100_000].into(), ..Default::default() }
}

#[tokio::test]
async fn an_answer_in_any_pieces_is_read() {
    let (client, _) = serve(&[Script::Answer(1), Script::Answer(3), Script::Answer(6), Script::Answer(1 << 20)]).await;
    for _ in 0..4 {
        assert_eq!(client.put(request()).await, Ok(put_answer()));
    }
}

#[tokio::test]
async fn bad_ends_of_a_unary_call_are_told() {
    for (script, code, text) in [
        (
            &[Script::Fail("3", "etcdserver: key is not provided")] as &'static [Script],
            Code::InvalidArgument,
            "etcdserver: key",
        ),
        (&[Script::Fail("14", "a%20b")], Code::Unavailable, "a b"),
        (&[Script::HttpStatus(404)], Code::Unimplemented, "unexpected HTTP status 404"),
        (&[Script::HttpStatus(503)], Code::Unavailable, "unexpected HTTP status 503"),
        (&[Script::TwoAnswers], Code::Internal, "the server answered more than once"),
        (&[Script::NoAnswer], Code::Internal, "the server answered without a message"),
        (&[Script::NoStatus], Code::Internal, "the server ended the call without a status"),
        (&[Script::CutOff], Code::Internal, "the answer ended inside a message"),
        (&[Script::Reset(h2::Reason::CANCEL)], Code::Canceled, "connection: "),
        (&[Script::Reset(h2::Reason::ENHANCE_YOUR_CALM)], Code::ResourceExhausted, "connection: "),
    ] {
        let (client, _) = serve(script).await;
        let error = client.put(request()).await.unwrap_err();
        assert_eq!(error.code(), code, "{script:?}: {error}");
        assert!(error.text().starts_with(text), "{script:?}: {error}");
    }
}

#[tokio::test]
async fn a_write_is_sent_again_only_when_the_server_refused_it() {
    let (client, seen) = serve(&[Script::Reset(h2::Reason::REFUSED_STREAM), Script::Answer(99)]).await;
    assert_eq!(client.put(request()).await, Ok(put_answer()));
    assert_eq!(seen.load(Ordering::SeqCst), 2);

    let (client, seen) = serve(&[Script::Hangup, Script::Answer(99)]).await;
    assert_eq!(client.put(request()).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    // The next call makes a new connection.
    assert_eq!(client.put(request()).await, Ok(put_answer()));
}

#[tokio::test]
async fn a_read_is_sent_again_when_the_member_went_away() {
    let (client, seen) = serve(&[Script::Hangup, Script::Answer(99)]).await;
    let answer: RangeResponse = client.range(RangeRequest::default()).await.unwrap();
    assert_eq!(answer.header, put_answer().header);
    assert_eq!(seen.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_unreachable_member_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = Client::new(&Config::new([address.to_string()])).unwrap();
    let error = client.put(request()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.text().starts_with(&format!("connect to {address}: ")), "{error}");
}

#[tokio::test]
async fn a_silent_server_ends_in_a_deadline() {
    let (client, _) = serve(&[Script::Answer(99), Script::Silent]).await;
    assert_eq!(client.put(request()).await, Ok(put_answer()));
    // The connection is made: from here on only the timer can end the call, so time may jump.
    tokio::time::pause();
    assert_eq!(client.put(request()).await, Err(Error::ContextDeadlineExceeded));
}

#[tokio::test]
async fn answers_above_the_limit_are_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(socket).await.unwrap();
        let mut open = Vec::new();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            let mut prefix = BytesMut::new();
            prefix.put_u8(0);
            prefix.put_u32(1001);
            stream.send_data(prefix.freeze(), false).unwrap();
            open.push(stream);
        }
    });
    let client = Client::new(&Config { message_bytes_max: 1000, ..Config::new([endpoint]) }).unwrap();
    let error = client.put(request()).await.unwrap_err();
    assert_eq!(error.row(), (Code::ResourceExhausted, "grpc: received message larger than max (1001 vs. 1000)"));
}

#[tokio::test]
async fn keepalives_are_answered_in_order() {
    let (client, _) = serve(&[Script::KeepAlive]).await;
    let mut stream = client.keep_alive().await.unwrap();
    for id in 1..100 {
        let answer = stream.renew(id).await.unwrap();
        assert_eq!((answer.id, answer.ttl), (id, id * 2));
    }
    let mut raw = client.stream::<LeaseKeepAliveRequest, LeaseKeepAliveResponse>(Method::LeaseKeepAlive).await.unwrap();
    raw.finish().unwrap();
    assert_eq!(raw.next().await, Ok(None));
}

#[tokio::test]
async fn a_watch_ends_with_the_answer_that_cancels_it() {
    let (client, _) = serve(&[Script::Watch("")]).await;
    let mut watcher = client.watcher(WatchCreateRequest::default()).await.unwrap();
    assert_eq!(watcher.next().await.unwrap().unwrap().events.len(), 3);
    assert_eq!(watcher.next().await.unwrap().unwrap().compact_revision, 5);
    assert!(watcher.next().await.is_none());
}

#[tokio::test]
async fn a_refused_watch_tells_why() {
    for (script, expected) in [
        (
            &[Script::Watch("rpc error: code = PermissionDenied desc = etcdserver: permission denied")]
                as &'static [Script],
            Error::PermissionDenied,
        ),
        (&[Script::Watch("mvcc: watcher range is empty")], Error::other(Code::Unknown, "mvcc: watcher range is empty")),
    ] {
        let (client, _) = serve(script).await;
        assert_eq!(client.watcher(WatchCreateRequest::default()).await.err(), Some(expected));
    }
}
