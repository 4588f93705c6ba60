use std::time::Duration;

use h2::Reason;
use tidegate_base::Holder;
use tidegate_http::grpc::Code;

use crate::support::{Server, Stream, framed};

#[tokio::test]
async fn status_texts_are_percent_encoded() {
    let server = Server::start();
    let client = server.connect().await;
    let answer = client.call("/t.T/Fail", "etcdserver: 100% \u{fc}ber\n".as_bytes()).await;
    assert_eq!((answer.code, answer.text.as_str()), (Some(Code::OutOfRange), "etcdserver: 100%25 %C3%BCber%0A"));
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_panic_is_one_calls_error() {
    let server = Server::start();
    let client = server.connect().await;
    let mut other = client.open("/t.T/Bidi", &[]).await;
    other.write(&framed(b"before"), false).await;
    other.read(11).await.unwrap();
    for path in ["/t.T/Panic", "/t.T/PanicAtOnce", "/t.T/Silent"] {
        assert!(client.call(path, b"").await.is(Code::Internal), "{path}");
    }
    other.write(&framed(b"after"), true).await;
    assert_eq!(other.end().await.message(), b"after");
    assert_eq!(server.net.stats().panics, 2);
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn deadline_of_the_client_ends_the_call() {
    let server = Server::start();
    let client = server.connect().await;
    let answer = client.raw("/t.T/Forever", &[("grpc-timeout", "20m")], &framed(b"")).await;
    assert_eq!((answer.code, answer.text.as_str()), (Some(Code::DeadlineExceeded), "context deadline exceeded"));
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn error_inside_of_a_message_resets_the_stream() {
    let server = Server::start();
    let client = server.connect().await;
    let mut stream = client.open("/t.T/Torn", &[]).await;
    stream.write(&framed(b""), true).await;
    assert_eq!(stream.try_end().await.unwrap_err().reason(), Some(Reason::INTERNAL_ERROR));
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn large_answer_holds_no_more_than_the_window() {
    let server = Server::start();
    let client = server.connect().await;
    let len = 4u32 << 20;
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut stream = client.open("/t.T/Big", &[]).await;
        stream.write(&framed(&len.to_be_bytes()), true).await;
        streams.push(stream);
    }
    // Nobody reads: the connection's window is used up and nothing is held.
    server.until(|server| server.net.stats().bytes_out > 65_000).await;
    server.until(|server| server.budget.used(Holder::Answers) == 0).await;
    for answer in futures_util::future::join_all(streams.into_iter().map(Stream::end)).await {
        assert!(answer.message().len() == len as usize);
    }
    let answers = server.budget.usage()[Holder::Answers.index()];
    assert!(answers.peak <= 1 << 20, "{answers:?}");
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn reset_drops_the_call() {
    let server = Server::start();
    let client = server.connect().await;
    let mut streams = Vec::new();
    for _ in 0..50 {
        let mut stream = client.open("/t.T/Forever", &[]).await;
        stream.write(&framed(&[1; 9000]), true).await;
        streams.push(stream);
    }
    server.until(|server| server.net.stats().streams == 50).await;
    for stream in &mut streams {
        stream.send.send_reset(Reason::CANCEL);
    }
    server.until(|server| server.net.stats().streams == 0).await;
    assert_eq!(server.budget.used(Holder::Requests), 0);
    assert_eq!(server.net.stats().calls[usize::from(Code::Cancelled.number())], 50);
    assert_eq!(client.call("/t.T/Echo", b"alive").await.message(), b"alive");
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn drain_answers_what_is_open_and_refuses_what_is_new() {
    let server = Server::start();
    let client = server.connect().await;
    let mut open = client.open("/t.T/Bidi", &[]).await;
    open.write(&framed(b"before"), false).await;
    open.read(11).await.unwrap();
    server.drain.start(Duration::from_secs(20));
    server.until(|server| std::net::TcpStream::connect(server.tcp()).is_err()).await;
    open.write(&framed(b"during"), true).await;
    assert_eq!(open.end().await.message(), b"during");
    let closed = async {
        while client.h2.clone().ready().await.is_ok() {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(Duration::from_secs(20), closed).await.expect("the connection ends with its last stream");
    server.stop().await;
}
