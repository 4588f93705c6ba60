use h2::Reason;
use tidegate_base::Holder;
use tidegate_http::grpc::{Code, prefix};

use crate::support::{MESSAGE_MAX, Server, framed};

#[tokio::test]
async fn unary_call_is_echoed() {
    let server = Server::start();
    let client = server.connect().await;
    for len in [0, 1, 256, 4096, 20_000, 70_000, MESSAGE_MAX] {
        let message = vec![b'm'; len];
        let answer = client.call("/t.T/Echo", &message).await;
        assert!(answer.message() == message, "{len} bytes");
    }
    assert_eq!(server.net.stats().calls[0], 7);
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn message_may_be_split_at_any_byte() {
    let server = Server::start();
    let client = server.connect().await;
    let body = framed(b"twenty bytes of text");
    for cut in 1..body.len() {
        let mut stream = client.open("/t.T/Echo", &[]).await;
        stream.write(&body[..cut], false).await;
        tokio::task::yield_now().await;
        stream.write(&body[cut..], true).await;
        assert_eq!(stream.end().await.message(), b"twenty bytes of text", "cut at {cut}");
    }
    // Three messages of one stream, byte by byte.
    let bodies = [framed(b"one"), framed(b""), framed(b"three")].concat();
    let mut stream = client.open("/t.T/Bidi", &[]).await;
    for byte in &bodies {
        stream.write(std::slice::from_ref(byte), false).await;
        tokio::task::yield_now().await;
    }
    stream.finish();
    assert_eq!(stream.end().await.body, bodies);
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn burst_of_small_messages_is_answered_in_order() {
    let server = Server::start();
    let client = server.connect().await;
    let mut stream = client.open("/t.T/Bidi", &[]).await;
    let all: Vec<Vec<u8>> = (0..1000u16).map(|i| framed(&[&[8u8][..], &i.to_be_bytes()].concat())).collect();
    for message in &all {
        stream.write(message, false).await; // a frame each, queued at once
    }
    stream.finish();
    let answer = stream.end().await;
    assert!(answer.is(Code::Ok) && answer.body == all.concat());
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn wrong_requests_get_a_status_and_the_connection_lives() {
    let server = Server::start();
    let client = server.connect().await;
    let ok = framed(b"hello");
    let mut gzip = ok.clone();
    gzip[0] = 1;
    let too_long = [&prefix(MESSAGE_MAX + 1)[..], b"begin"].concat();
    let larger = format!("grpc: received message larger than max ({} vs. {MESSAGE_MAX})", MESSAGE_MAX + 1);
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [u8], Code, &'a str);
    let cases: &[Case<'_>] = &[
        ("/t.T/Echo", &[], &too_long, Code::ResourceExhausted, &larger),
        ("/t.T/Echo", &[], &gzip, Code::Unimplemented, "grpc: Decompressor is not installed for this grpc-encoding"),
        ("/t.T/Echo", &[], b"POST and more", Code::Internal, "grpc: malformed message prefix"),
        ("/t.T/Echo", &[], &ok[..3], Code::Internal, "unexpected EOF"),
        ("/t.T/Echo", &[], &ok[..8], Code::Internal, "unexpected EOF"),
        ("/t.T/Bidi", &[], &ok[..8], Code::Internal, "unexpected EOF"),
        (
            "/t.T/Echo",
            &[("grpc-encoding", "gzip")],
            &ok,
            Code::Unimplemented,
            "grpc: Decompressor is not installed for grpc-encoding \"gzip\"",
        ),
        ("/t.T/Nothing", &[], &ok, Code::Unimplemented, "unknown method Nothing"),
        ("/Echo", &[], &ok, Code::Unimplemented, "malformed method name: \"/Echo\""),
        ("/t.T/Echo", &[("grpc-timeout", "1x")], &ok, Code::Internal, "malformed grpc-timeout"),
    ];
    for (path, headers, body, code, text) in cases {
        let answer = client.raw(path, headers, body).await;
        assert_eq!((answer.code, answer.text.as_str()), (Some(*code), *text), "{path} {headers:?}");
        assert_eq!(answer.body, b"", "{path} {headers:?}");
    }
    let mut missing = client.open("/t.T/Echo", &[]).await;
    missing.finish();
    assert!(missing.end().await.is(Code::Internal));
    let other = client.raw("/t.T/Echo", &[("content-type", "application/json")], b"{}").await;
    assert_eq!((other.http.as_u16(), other.code), (415, None));
    assert_eq!(client.call("/t.T/Echo", b"alive").await.message(), b"alive");
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn metadata_is_found_by_name() {
    let server = Server::start();
    let client = server.connect().await;
    let headers =
        [("authorization", "t1"), ("hasleader", "true"), ("client-api-version", "3.5"), ("grpc-timeout", "9S")];
    let answer = client.raw("/t.T/Head", &headers, &framed(b"")).await;
    assert_eq!(answer.message(), b"Some(\"t1\") true Some(\"3.5\") true");
    let answer = client.raw("/t.T/Head", &[("token", "t2"), ("authorization", "t1")], &framed(b"")).await;
    assert_eq!(answer.message(), b"Some(\"t2\") false None false");
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn long_tokens_are_charged_while_the_call_lives() {
    let server = Server::start();
    let client = server.connect().await;
    let mut first = client.open("/t.T/Forever", &[("token", "short")]).await;
    first.write(&framed(b""), true).await;
    server.until(|server| server.net.stats().streams == 1).await;
    let before = server.budget.used(Holder::Connections);
    let token = "t".repeat(8000);
    let mut second = client.open("/t.T/Forever", &[("token", &token)]).await;
    second.write(&framed(b""), true).await;
    server.until(|server| server.budget.used(Holder::Connections) == before + 8000).await;
    second.send.send_reset(Reason::CANCEL);
    server.until(|server| server.budget.used(Holder::Connections) == before).await;
    let path = format!("/t.T/{}", "x".repeat(300));
    assert_eq!(client.call(&path, b"").await.text, "malformed method name");
    drop((client, first, second));
    server.stop().await;
}

#[tokio::test]
async fn server_may_end_before_the_client_and_after() {
    let server = Server::start();
    let client = server.connect().await;
    // Answered although the client keeps its side open.
    let mut stream = client.open("/t.T/Echo", &[]).await;
    stream.write(&framed(b"open"), false).await;
    assert_eq!(stream.end().await.message(), b"open");
    // A stream whose client has closed its side goes on.
    let mut stream = client.open("/t.T/Bidi", &[]).await;
    stream.write(&framed(b"half"), true).await;
    assert_eq!(stream.end().await.message(), b"half");
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn lease_without_bytes_is_taken_back() {
    let server = Server::start();
    let client = server.connect().await;
    let mut stream = client.open("/t.T/Echo", &[]).await;
    stream.write(&prefix(1 << 20), false).await;
    assert!(stream.end().await.is(Code::DeadlineExceeded));
    assert_eq!(server.net.stats().stalled, 1);
    drop(client);
    server.stop().await;
}
