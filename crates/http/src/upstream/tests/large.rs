//! Large bodies, which go through pipes.

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::spawn_local,
    time::{Duration, sleep},
};

use super::forward;
use crate::h1::tests::{read_until, run};

fn pattern(bytes: usize) -> Vec<u8> {
    (0..=250u8).map(|value| value.wrapping_mul(31)).cycle().take(bytes).collect()
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Reads a request or an answer; its head and its body.
async fn read(stream: &mut TcpStream, step: usize, pause: Duration) -> (String, Vec<u8>) {
    let head = read_head(stream).await;
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let (mut body, mut piece) = (Vec::new(), vec![0; step]);
    while body.len() < length.unwrap_or(0) {
        let count = stream.read(&mut piece).await.unwrap();
        assert!(count > 0, "the end after {} bytes", body.len());
        body.extend_from_slice(&piece[..count]);
        if !pause.is_zero() {
            sleep(pause).await;
        }
    }
    (head, body)
}

async fn write(stream: &mut TcpStream, head: &str, body: &[u8], step: usize) {
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes()).await.unwrap();
    for piece in body.chunks(step) {
        stream.write_all(piece).await.unwrap();
        if step < body.len() {
            sleep(Duration::from_micros(200)).await;
        }
    }
}

/// Sends each body back, larger by one byte.
async fn serve(upstream: TcpListener, step: usize, pause: Duration) {
    let (mut server, _) = upstream.accept().await.unwrap();
    loop {
        let (_, mut body) = read(&mut server, step, pause).await;
        body.push(b'!');
        write(&mut server, "HTTP/1.1 200 OK\r\n", &body, step).await;
    }
}

#[test]
fn bodies_arrive_whole_and_the_connections_go_on() {
    for (step, pause) in [(usize::MAX >> 20, 0), (70_000, 0), (9_000, 300)] {
        run(|budget| async move {
            let (mut client, upstream) = forward(&budget, 1).await;
            spawn_local(serve(upstream, step.min(1 << 20), Duration::from_micros(pause)));
            // Small ones between: sockets wait again as they did before.
            for bytes in [3, 24_575, 24_576, 24_577, 10, 40_000, 0, 100_000, 131_072, 250_000, 7, 1_500_000, 5_000] {
                let body = pattern(bytes);
                let sent = body.clone();
                write(&mut client, "POST / HTTP/1.1\r\nHost: h\r\n", &sent, step).await;
                let (head, mut seen) = read(&mut client, step.min(1 << 20), Duration::from_micros(pause)).await;
                assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{bytes}: {head}");
                assert_eq!(seen.pop(), Some(b'!'));
                assert!(seen == body, "{bytes} in steps of {step}");
            }
        });
    }
}

/// Each side waits for the other to read.
#[test]
fn a_body_on_its_way_does_not_keep_its_answer_from_coming() {
    run(|budget| async move {
        let (mut client, upstream) = forward(&budget, 1).await;
        let server = async {
            let (mut server, _) = upstream.accept().await.unwrap();
            read_head(&mut server).await;
            let (answer, mut body) = (pattern(3_000_000), vec![0; 3_000_000]);
            server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n").await.unwrap();
            server.write_all(&answer[..2_000_000]).await.unwrap();
            server.read_exact(&mut body).await.unwrap();
            server.write_all(&answer[2_000_000..]).await.unwrap();
            body
        };
        let client = async {
            client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n").await.unwrap();
            let (mut reads, mut writes) = client.split();
            let up = async {
                writes.write_all(&pattern(3_000_000)).await.unwrap();
            };
            let down = async {
                let mut all = vec![0; 3_000_000];
                read_head(&mut reads).await;
                reads.read_exact(&mut all).await.unwrap();
                all
            };
            tokio::join!(up, down).1
        };
        let (sent, got) = tokio::join!(server, client);
        assert!(sent == pattern(3_000_000) && got == pattern(3_000_000));
    });
}

#[test]
fn a_body_that_breaks_off_is_no_whole_one() {
    run(|budget| async move {
        let (mut client, upstream) = forward(&budget, 1).await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        let (mut server, _) = upstream.accept().await.unwrap();
        read_until(&mut server, "\r\n\r\n").await;
        server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await.unwrap();
        server.write_all(&pattern(70_000)).await.unwrap();
        sleep(Duration::from_millis(20)).await;
        server.write_all(&pattern(29_999)).await.unwrap();
        drop(server);
        let mut seen = Vec::new();
        client.read_to_end(&mut seen).await.ok();
        let head = seen.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        assert_eq!(seen.len() - head, 99_999);

        // And from the client's side.
        let (mut client, upstream) = forward(&budget, 1).await;
        client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n").await.unwrap();
        client.write_all(&pattern(99_999)).await.unwrap();
        client.shutdown().await.unwrap();
        let (mut server, _) = upstream.accept().await.unwrap();
        let mut seen = Vec::new();
        server.read_to_end(&mut seen).await.ok();
        let head = seen.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        assert_eq!(seen.len() - head, 99_999);
    });
}

/// More bodies at a time than a thread has pipes.
#[test]
fn bodies_without_a_pipe_are_copied() {
    run(|budget| async move {
        let mut all = Vec::new();
        for _ in 0..70 {
            let (mut client, upstream) = forward(&budget, 1).await;
            client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
            let server = spawn_local(async move {
                let (mut server, _) = upstream.accept().await.unwrap();
                read_until(&mut server, "\r\n\r\n").await;
                write(&mut server, "HTTP/1.1 200 OK\r\n", &pattern(12_000_000), 12_000_000).await;
            });
            all.push((client, server));
        }
        // Nobody reads until all have begun and are stuck.
        sleep(Duration::from_millis(300)).await;
        for (mut client, server) in all {
            let (_, body) = read(&mut client, 1 << 20, Duration::ZERO).await;
            assert!(body.len() == 12_000_000 && body == pattern(12_000_000));
            server.await.unwrap();
        }
    });
}
