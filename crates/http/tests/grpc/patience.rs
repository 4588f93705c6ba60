//! Clients that take nothing, and clients that are gone.

use std::time::Duration;

use tidegate_base::Holder;
use tidegate_http::{conn::Times, grpc::Code};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Client, Server, Stream, framed};

fn times() -> Times {
    let short = Duration::from_millis(50);
    Times { blocked: short, ping_after: short, ping_timeout: short }
}

#[tokio::test]
async fn a_reply_without_window_waits_in_its_call_and_leaves_in_pieces() {
    let server = Server::start();
    let client = Client::with_window(TcpStream::connect(server.tcp()).await.unwrap(), 100).await;
    let mut stream = client.open("/t.T/Echo", &[]).await;
    stream.write(&framed(&[3; 20_000]), true).await;
    server.until(|server| server.budget.used(Holder::Answers) > 20_000).await;
    assert_eq!(server.net.stats().streams, 1, "the stream counts while its answer waits");
    assert!(stream.end().await.message() == [3; 20_000]);
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_reply_that_is_not_taken_is_given_up_when_others_wait() {
    let server = Server::with_times(Times { ping_after: Duration::from_secs(3600), ..times() });
    let deaf = Client::with_window(TcpStream::connect(server.tcp()).await.unwrap(), 0).await;
    let mut streams = Vec::new();
    for _ in 0..10 {
        let mut stream = deaf.open("/t.T/Echo", &[]).await;
        stream.write(&framed(&[1; 30_000]), true).await;
        streams.push(stream);
    }
    server.until(|server| server.budget.used(Holder::Answers) > 300_000).await;
    // Ten times as long, and nobody needs the bytes.
    tokio::time::sleep(times().blocked * 10).await;
    assert_eq!(server.net.stats().streams, 10);
    let rest = server.budget.try_lease(Holder::Answers, server.budget.room(Holder::Answers)).unwrap();
    let client = server.connect().await;
    assert!(client.call("/t.T/Echo", &[2; 4000]).await.message() == [2; 4000]);
    drop(rest);
    server.until(|server| server.net.stats().calls[usize::from(Code::ResourceExhausted.number())] > 0).await;
    assert!(deaf.call("/t.T/Fail", b"no window needed").await.is(Code::OutOfRange), "the connection lives");
    drop((client, deaf, streams));
    server.stop().await;
}

#[tokio::test]
async fn window_is_not_kept_while_a_lease_is_waited_for() {
    let server = Server::start();
    let client = server.connect().await;
    let full = server.budget.try_lease(Holder::Answers, server.budget.room(Holder::Answers) - (16 << 10)).unwrap();
    // Three large answers that find no lease would be assigned all of the connection's window.
    let mut large = Vec::new();
    for _ in 0..3 {
        let mut stream = client.open("/t.T/Big", &[]).await;
        stream.write(&framed(&200_000u32.to_be_bytes()), true).await;
        large.push(stream);
    }
    server.until(|server| server.net.answers().waiting() == 3).await;
    assert!(client.call("/t.T/Echo", &[2; 4000]).await.message() == [2; 4000]);
    drop(full);
    for answer in futures_util::future::join_all(large.into_iter().map(Stream::end)).await {
        assert_eq!(answer.message().len(), 200_000);
    }
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_answer_is_gone() {
    let server = Server::with_times(times());
    // It speaks HTTP/2, as far as it speaks at all: preface, and empty settings.
    let mut silent = TcpStream::connect(server.tcp()).await.unwrap();
    silent.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut seen = Vec::new();
    silent.read_to_end(&mut seen).await.unwrap();
    assert!(seen.windows(9).any(|frame| frame == b"\0\0\x08\x06\0\0\0\0\0"), "it was asked: {seen:?}");
    server.until(|server| server.net.stats().connections == 0).await;
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_answers_stays() {
    let server = Server::with_times(Times { ping_timeout: Duration::from_secs(20), ..times() });
    let client = server.connect().await;
    let before = server.net.stats().bytes_in;
    server.until(|server| server.net.stats().bytes_in >= before + 3 * 17).await;
    assert_eq!(client.call("/t.T/Echo", b"here").await.message(), b"here");
    drop(client);
    server.stop().await;
}
