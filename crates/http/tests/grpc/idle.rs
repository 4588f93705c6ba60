//! What a connection is charged: little while it is idle, and what it holds while it is busy.

use h2::Reason;
use tidegate_base::{Holder, Lease};
use tidegate_http::{
    conn::{CONNECTION_BYTES, STREAM_BYTES},
    grpc::{Code, prefix},
};
use tokio::io::AsyncWriteExt;

use crate::{
    raw::{CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Raw, frame, head},
    support::{Client, Server, Stream, framed},
};

fn used(server: &Server) -> u64 {
    server.budget.used(Holder::Connections)
}

async fn idle_streams(client: &Client, count: usize) -> Vec<Stream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = client.open("/t.T/Bidi", &[]).await;
        stream.write(&framed(b"watch"), false).await;
        streams.push(stream);
    }
    for stream in &mut streams {
        assert_eq!(stream.read(10).await.unwrap(), framed(b"watch"));
    }
    streams
}

#[tokio::test]
async fn a_connection_is_charged_its_idle_value_again_after_each_burst() {
    let server = Server::start();
    let client = server.connect().await;
    let mut watch = idle_streams(&client, 1).await.remove(0);
    let idle = |server: &Server| used(server) == CONNECTION_BYTES;
    server.until(idle).await;

    let mut burst = idle_streams(&client, 200).await;
    assert!(used(&server) > 200 * STREAM_BYTES / 2, "{}", used(&server));
    for stream in &mut burst {
        stream.finish();
    }
    for stream in burst {
        assert!(stream.end().await.is(Code::Ok));
    }
    server.until(idle).await;

    let large = vec![5; 2 << 20];
    for _ in 0..4 {
        assert!(client.call("/t.T/Echo", &large).await.message() == large);
    }
    server.until(idle).await;

    // The last of many streams stays while those before it go.
    let mut many = idle_streams(&client, 200).await;
    let mut last = many.pop().unwrap();
    many.iter_mut().for_each(|stream| stream.send.send_reset(Reason::CANCEL));
    server.until(|server| used(server) <= CONNECTION_BYTES + (8 << 10)).await;
    last.finish();
    assert!(last.end().await.is(Code::Ok));
    server.until(idle).await;

    watch.finish();
    assert!(watch.end().await.is(Code::Ok));
    drop(client);
    server.stop().await;
}

/// `h2` remembers the streams that it reset, and forgets them when it is polled: nobody polled an idle connection.
#[tokio::test]
async fn streams_that_were_reset_are_forgotten_though_nothing_more_comes() {
    let server = Server::start();
    let client = server.connect().await;
    let mut refused = Vec::new();
    for _ in 0..100 {
        // Refused before its body has ended, which `h2` answers by a reset behind the answer.
        refused.push(client.open("/t.T/Echo", &[("content-type", "text/plain")]).await);
    }
    server.until(|server| used(server) > CONNECTION_BYTES + (16 << 10)).await;
    server.until(|server| used(server) == CONNECTION_BYTES).await;
    drop((refused, client));
    server.stop().await;
}

#[tokio::test]
async fn what_comes_byte_by_byte_is_read() {
    let server = Server::start();
    let mut raw = Raw::connect(&server).await;
    let block = head("/t.T/Echo", "test", &[("some", "thing")]);
    let mut bytes = frame(HEADERS, 0, 1, &block[..10]);
    for piece in block[10..].chunks(25) {
        bytes.extend(frame(CONTINUATION, 0, 1, piece));
    }
    bytes.extend(frame(CONTINUATION, END_HEADERS, 1, &[]));
    bytes.extend(frame(DATA, END_STREAM, 1, &framed(b"slowly")));
    for byte in bytes {
        let before = server.net.stats().bytes_in;
        raw.write(&[byte]).await;
        server.until(|server| server.net.stats().bytes_in > before).await;
    }
    assert_eq!(raw.body(1).await, framed(b"slowly"));
    server.until(|server| used(server) == CONNECTION_BYTES).await;
    drop(raw);
    server.stop().await;
}

#[tokio::test]
async fn incomplete_frames_and_heads_are_charged_while_they_are() {
    let server = Server::start();
    let mut raw = Raw::connect(&server).await;
    let text = "x".repeat(120);
    let many: Vec<_> = (0..60).map(|_| ("some-name", text.as_str())).collect();
    let block = head("/t.T/Echo", "test", &many);
    // All but the end of a head: 60 fields of 160 bytes.
    raw.write(&frame(HEADERS, 0, 1, &block)).await;
    server.until(|server| used(server) > CONNECTION_BYTES + (8 << 10)).await;
    raw.write(&frame(CONTINUATION, END_HEADERS, 1, &[])).await;
    server.until(|server| used(server) == CONNECTION_BYTES).await;

    // All but the end of a frame of data.
    let message = [&prefix(16_000)[..], &[7; 16_000]].concat();
    let (data, rest) = (frame(DATA, END_STREAM, 1, &message), 100);
    raw.write(&data[..data.len() - rest]).await;
    server.until(|server| used(server) > CONNECTION_BYTES + (12 << 10)).await;
    raw.write(&data[data.len() - rest..]).await;
    assert!(raw.body(1).await == message);
    server.until(|server| used(server) == CONNECTION_BYTES).await;
    drop(raw);
    server.stop().await;
}

#[tokio::test]
async fn what_the_socket_does_not_take_is_charged_until_it_does() {
    let server = Server::start();
    let mut raw = Raw::connect(&server).await;
    // More than any socket buffers.
    let len = 32u32 << 20;
    raw.write(&frame(HEADERS, END_HEADERS, 1, &head("/t.T/Big", "test", &[]))).await;
    raw.write(&frame(DATA, END_STREAM, 1, &framed(&len.to_be_bytes()))).await;
    server.until(|server| used(server) > CONNECTION_BYTES + (8 << 10)).await;
    assert_eq!(raw.body(1).await.len(), len as usize + 5);
    server.until(|server| used(server) == CONNECTION_BYTES).await;
    drop(raw);
    server.stop().await;
}

/// A server whose connections can have 200 KiB, and 25 KiB above that.
fn small() -> Server {
    Server::with(|limits| {
        limits.pool = 0;
        limits.floors[Holder::Connections.index()] = 200 << 10;
    })
}

fn take_the_rest(server: &Server) -> Lease {
    server.budget.try_lease(Holder::Connections, server.budget.room(Holder::Connections)).unwrap()
}

#[tokio::test]
async fn streams_beyond_the_budget_are_refused() {
    let server = small();
    let (first, second) = (server.connect().await, server.connect().await);
    let watches = [idle_streams(&first, 1).await, idle_streams(&second, 1).await];
    let mut open = Vec::new();
    server.until(|server| used(server) == 2 * CONNECTION_BYTES).await;
    let rest = take_the_rest(&server);
    for _ in 0..100 {
        open.push(first.open("/t.T/Bidi", &[]).await);
    }
    let refused = |server: &Server| server.net.stats().calls[usize::from(Code::ResourceExhausted.number())];
    server.until(|server| server.net.stats().streams + refused(server) == 102).await;
    assert!((80..98).contains(&refused(&server)), "{} of 100", refused(&server));
    assert!(used(&server) <= 225 << 10, "{}", used(&server));
    // What the many refusals took for a moment may leave room for one or two more.
    let answer = loop {
        let answer = first.call("/t.T/Echo", b"one more").await;
        if !answer.is(Code::Ok) {
            break answer;
        }
        open.push(first.open("/t.T/Bidi", &[]).await);
        assert!(open.len() < 110, "the limit is nowhere");
    };
    assert_eq!((answer.code, answer.text.as_str()), (Some(Code::ResourceExhausted), "etcdserver: too many requests"));
    // The other is charged for a call or two already.
    assert_eq!(second.call("/t.T/Echo", b"mine").await.message(), b"mine");
    let opened = (open.len() + watches.len()) as u64;
    server.until(|server| server.net.stats().streams + refused(server) - 1 == opened).await;
    open.retain_mut(|stream| !stream.is_answered());
    assert_eq!((open.len() + watches.len()) as u64, server.net.stats().streams);
    for mut stream in open {
        stream.finish();
        assert!(stream.end().await.is(Code::Ok));
    }
    drop((watches, rest));
    server.until(|server| used(server) == 2 * CONNECTION_BYTES).await;
    assert_eq!(first.call("/t.T/Echo", b"again").await.message(), b"again");
    drop((first, second));
    server.stop().await;
}

#[tokio::test]
async fn connections_whose_buffers_find_no_room_are_closed() {
    let server = small();
    let client = server.connect().await;
    let mut slow = Vec::new();
    for _ in 0..5 {
        slow.push(Raw::connect(&server).await);
    }
    server.until(|server| used(server) == 6 * CONNECTION_BYTES).await;
    let rest = take_the_rest(&server);
    let data = frame(DATA, END_STREAM, 1, &framed(&[7; 16_000]));
    for raw in &mut slow {
        raw.write(&frame(HEADERS, END_HEADERS, 1, &head("/t.T/Echo", "test", &[]))).await;
        raw.write(&data[..data.len() - 1]).await;
    }
    // One of them fits above the limit, and mostly one more when two have gone.
    server.until(|server| server.net.stats().connections <= 3).await;
    assert!(used(&server) <= 225 << 10, "{}", used(&server));
    assert_eq!(client.call("/t.T/Echo", b"alive").await.message(), b"alive");
    let mut answered = 0;
    for mut raw in slow {
        if raw.io.write_all(&data[data.len() - 1..]).await.is_ok() && raw.next().await.is_some() {
            answered += 1;
        }
    }
    assert!((1..=2).contains(&answered), "{answered}");
    drop((rest, client));
    server.stop().await;
}

/// etcdctl 3.4 sends the URL of its endpoint as the authority of some calls.
#[tokio::test]
async fn an_authority_that_is_a_url_is_ignored() {
    let server = Server::start();
    let mut raw = Raw::connect(&server).await;
    for (stream, authority) in [(1, "http://127.0.0.1:2379"), (3, "#initially=[http://127.0.0.1:2379]"), (5, "a b")] {
        raw.write(&frame(HEADERS, END_HEADERS, stream, &head("/t.T/Echo", authority, &[]))).await;
        raw.write(&frame(DATA, END_STREAM, stream, &framed(authority.as_bytes()))).await;
        assert_eq!(raw.body(stream).await, framed(authority.as_bytes()));
    }
    drop(raw);
    server.stop().await;
}
