use h2::Reason;
use tidegate_base::Holder;
use tidegate_http::{
    conn::CONNECTION_BYTES,
    grpc::{Code, prefix},
};

use crate::support::{Client, Server, Stream, framed};

async fn keepalive(client: &Client) -> Stream {
    let mut stream = client.open("/t.T/Bidi", &[]).await;
    beat(&mut stream).await;
    stream
}

async fn beat(stream: &mut Stream) {
    stream.write(&framed(b"keepalive"), false).await;
    assert_eq!(stream.read(14).await.unwrap(), framed(b"keepalive"));
}

#[tokio::test]
async fn streams_that_announce_and_send_nothing_delay_nobody() {
    let server = Server::start();
    let client = server.connect().await;
    let mut alive = keepalive(&client).await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        let mut stream = client.open("/t.T/Echo", &[]).await;
        stream.write(&prefix(2 << 20), false).await;
        idle.push(stream);
    }
    // A quarter of the holder is one connection's: two such messages and what decoding them may cost.
    server.until(|server| server.net.requests().waiting() == 198).await;
    beat(&mut alive).await;
    assert_eq!(client.call("/t.T/Echo", b"small").await.message(), b"small");
    assert!(!idle.iter_mut().any(Stream::is_answered), "the idle ones were answered first");
    let other = server.connect().await;
    let large = vec![1; 1 << 20];
    assert!(other.call("/t.T/Echo", &large).await.message() == large, "another connection has its own share");
    idle.iter_mut().for_each(|stream| stream.send.send_reset(Reason::CANCEL));
    server.until(|server| server.budget.used(Holder::Requests) == 0).await;
    assert_eq!(server.net.requests().waiting(), 0);
    beat(&mut alive).await;
    alive.finish();
    assert!(alive.end().await.is(Code::Ok));
    drop((client, other));
    server.stop().await;
}

#[tokio::test]
async fn waiting_uploads_leave_the_connection_open_to_others() {
    // Small calls have their lane, so only what is above the reserve is filled.
    let server = Server::with(|limits| limits.pool = 0);
    let client = server.connect().await;
    let mut alive = keepalive(&client).await;
    let reserve = server.budget.limits().floor(Holder::Requests) / 8;
    let full = server.budget.try_lease(Holder::Requests, server.budget.room(Holder::Requests) - reserve).unwrap();
    let message = vec![b'u'; 1 << 20];
    let uploads: Vec<_> = (0..64)
        .map(|_| {
            let (h2, body) = (Client { h2: client.h2.clone() }, framed(&message));
            tokio::spawn(async move { h2.raw("/t.T/Echo", &[], &body).await })
        })
        .collect();
    server.until(|server| server.net.requests().waiting() == 64).await;
    // Until the uploads have sent all that they may.
    server.until(|server| server.budget.used(Holder::Connections) > 900 << 10).await;
    for _ in 0..20 {
        beat(&mut alive).await;
        assert_eq!(client.call("/t.T/Echo", b"small").await.message(), b"small");
    }
    assert!(!uploads.iter().any(|upload| upload.is_finished()));
    assert!(server.budget.used(Holder::Connections) < 3 << 20, "2 MiB are held at most");
    drop(full);
    for upload in uploads {
        assert!(upload.await.unwrap().message() == message);
    }
    alive.finish();
    assert!(alive.end().await.is(Code::Ok));
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn who_waits_too_long_gets_etcds_error() {
    let server = Server::start();
    let client = server.connect().await;
    let full = server.fill();
    let answer = client.raw("/t.T/Echo", &[("grpc-timeout", "30m")], &framed(b"small")).await;
    assert_eq!((answer.code, answer.text.as_str()), (Some(Code::ResourceExhausted), "etcdserver: too many requests"));
    assert_eq!(server.net.stats().waited, 1);
    drop(full);
    assert_eq!(client.call("/t.T/Echo", b"small").await.message(), b"small");
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn reset_while_waiting_gives_the_place_back() {
    let server = Server::start();
    let client = server.connect().await;
    let full = server.fill();
    let mut streams = Vec::new();
    for _ in 0..100 {
        let mut stream = client.open("/t.T/Echo", &[]).await;
        stream.write(&framed(&[3; 3000]), true).await;
        streams.push(stream);
    }
    server.until(|server| server.net.requests().waiting() == 100).await;
    streams.iter_mut().for_each(|stream| stream.send.send_reset(Reason::CANCEL));
    server.until(|server| server.net.requests().waiting() == 0).await;
    server.until(|server| server.net.stats().streams == 0).await;
    drop(full);
    assert_eq!(server.budget.used(Holder::Requests), 0);
    assert_eq!(client.call("/t.T/Echo", b"alive").await.message(), b"alive");
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn client_that_vanishes_while_waiting_leaves_nothing() {
    let server = Server::start();
    let full = server.fill();
    let client = server.connect().await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = client.open("/t.T/Echo", &[]).await;
        stream.write(&framed(&[3; 3000]), false).await;
        streams.push(stream);
    }
    server.until(|server| server.net.requests().waiting() == 20).await;
    drop((streams, client));
    server.until(|server| server.net.stats().connections == 0).await;
    drop(full);
    server.stop().await;
}

#[tokio::test]
async fn unread_bytes_of_a_stream_do_not_close_the_connection_to_others() {
    let server = Server::start();
    let client = server.connect().await;
    let mut deaf = client.open("/t.T/Deaf", &[]).await;
    deaf.write(&framed(b"first"), false).await;
    deaf.read(10).await.unwrap();
    // A whole window that nobody reads.
    let rest = vec![0; 65_536 - 10];
    deaf.write(&rest, false).await;
    server.until(|server| server.budget.used(Holder::Connections) > 70 << 10).await;
    let message = vec![5; 200_000];
    assert!(client.call("/t.T/Echo", &message).await.message() == message);
    deaf.send.send_reset(Reason::CANCEL);
    server.until(|server| server.net.stats().streams == 0).await;
    server.until(|server| server.budget.used(Holder::Connections) == CONNECTION_BYTES).await;
    drop(client);
    server.stop().await;
}

/// Once a call waits, its connection's streams get smaller windows, also those whose bytes were all given back: `h2` does
/// not look again by itself whether such a window is due, and the upload stopped for ever.
#[tokio::test]
async fn windows_that_shrink_under_an_upload_open_again() {
    let server = Server::start();
    let message = vec![b'u'; 1900 << 10];
    let mut uploads = Vec::new();
    for _ in 0..32 {
        let (client, body) = (server.connect().await, framed(&message));
        uploads.push(tokio::spawn(async move {
            for _ in 0..4 {
                let answer = client.raw("/t.T/Echo", &[], &body).await;
                assert!(answer.is(Code::Ok), "{:?} {}", answer.code, answer.text);
            }
        }));
    }
    for upload in uploads {
        upload.await.unwrap();
    }
    server.stop().await;
}
