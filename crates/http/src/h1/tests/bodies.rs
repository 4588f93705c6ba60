//! Bodies both ways.

use std::time::Duration;

use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{Config, Echo, read_all, read_until, run, start, talk, undated};

#[test]
fn requests_split_anywhere_give_the_same_answers() {
    run(|budget| async move {
        let (address, _shared) = start(Echo, Config::default(), &budget).await;
        let wire: &[u8] = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello\
            PUT /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nT: 1\r\n\r\n\
            GET /c HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        let whole = undated(&talk(address, &[wire]).await);
        for body in ["POST /a [hello]", "PUT /b [abc0123456789]", "GET /c []"] {
            assert!(whole.contains(body), "{whole}");
        }
        for at in 1..wire.len() {
            let (left, right) = wire.split_at(at);
            assert_eq!(undated(&talk(address, &[left, right]).await), whole, "split at {at}");
        }
        let each: Vec<&[u8]> = wire.chunks(1).collect();
        assert_eq!(undated(&talk(address, &each).await), whole, "byte by byte");
    });
}

#[test]
fn malformed_chunks_are_answered_and_the_connection_closes() {
    run(|budget| async move {
        let (address, _shared) = start(Echo, Config::default(), &budget).await;
        for chunks in [
            "x\r\n",
            "5\nhello",
            "5\r\nhelloX",
            "FFFFFFFFFFFFFFFFF\r\n",
            "8000000000000000\r\n",
            "0\r\nbad trailer\r\n\r\n",
        ] {
            let head = "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
            let answer =
                talk(address, &[format!("{head}{chunks}GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()]).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{chunks:?}: {answer}");
            assert!(
                answer.contains("\r\nConnection: close\r\n") && !answer.contains("smuggled"),
                "{chunks:?}: {answer}"
            );
        }
    });
}

#[test]
fn bodies_over_the_limit_are_refused_announced_or_not() {
    run(|budget| async move {
        let (address, _shared) = start(Echo, Config::default(), &budget).await;
        let announced = talk(address, &[b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 20000000\r\n\r\nxxxx"]).await;
        assert!(announced.starts_with("HTTP/1.1 413 "), "{announced}");
        let mut chunked = b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for _ in 0..11 {
            chunked.extend_from_slice(format!("3e8\r\n{}\r\n", "x".repeat(1000)).as_bytes());
        }
        let answer = talk(address, &[&chunked]).await;
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("Connection: close"), "{answer}");
    });
}

#[test]
fn who_waits_for_leave_to_send_gets_it_only_when_the_body_is_wanted() {
    run(|budget| async move {
        let (address, _shared) = start(Echo, Config::default(), &budget).await;
        let head = |path: &str| {
            format!(
                "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
            )
        };
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head("/a").as_bytes()).await.unwrap();
        assert_eq!(read_until(&mut stream, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"hello").await.unwrap();
        assert!(read_all(&mut stream).await.ends_with("POST /a [hello]"));
        let refused = talk(address, &[head("/unread").as_bytes()]).await;
        assert!(refused.starts_with("HTTP/1.1 200 ") && refused.ends_with("unread"), "{refused}");
        assert!(refused.contains("Connection: close"), "nobody can tell what comes next: {refused}");
    });
}

#[test]
fn answers_are_framed_for_their_reader() {
    run(|budget| async move {
        let (address, _shared) = start(Echo, Config::default(), &budget).await;
        let ask = async |line: &str| {
            undated(&talk(address, &[format!("{line}\r\nHost: h\r\nConnection: close\r\n\r\n").as_bytes()]).await)
        };
        let text = "Content-Type: text/plain; charset=utf-8\r\n";
        assert_eq!(
            ask("GET /chunks HTTP/1.1").await,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
        );
        assert_eq!(ask("GET /chunks HTTP/1.0").await, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nonetwo");
        let cut = ask("GET /cut HTTP/1.1").await;
        assert!(cut.ends_with("4\r\nsome"), "a cut body must not look complete: {cut}");
        assert_eq!(
            ask("HEAD /abc HTTP/1.1").await,
            format!("HTTP/1.1 200 OK\r\n{text}Content-Length: 12\r\nConnection: close\r\n\r\n")
        );
        assert_eq!(ask("GET /none HTTP/1.1").await, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        assert_eq!(
            ask("GET /not-modified HTTP/1.1").await,
            "HTTP/1.1 304 Not Modified\r\nETag: x\r\nConnection: close\r\n\r\n"
        );
        assert!(ask("DELETE /a HTTP/1.1").await.starts_with("HTTP/1.1 202 Accepted\r\n"));
    });
}

#[test]
fn slow_heads_and_slow_bodies_are_ended() {
    run(|budget| async move {
        let short = Duration::from_millis(40);
        let config = Config { head_timeout: short, stall_timeout: short, ..Config::default() };
        let (address, shared) = start(Echo, config, &budget).await;
        let head = talk(address, &[b"GET / HTT"]).await;
        assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
        let body = talk(address, &[b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe"]).await;
        assert!(body.starts_with("HTTP/1.1 408 ") && body.contains("Connection: close"), "{body}");
        // One byte now and then is no progress: the rate counts.
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5000\r\n\r\n").await.unwrap();
        let mut ticks = tokio::time::interval(short / 8);
        let mut sent = 0;
        while stream.write_all(b"x").await.is_ok() && sent < 5000 {
            ticks.tick().await;
            sent += 1;
            if stream.try_read(&mut [0; 12]).is_ok_and(|read| read > 0) {
                break;
            }
        }
        assert!(sent < 100, "it was let go on for {sent} bytes");
        assert_eq!(shared.stats().timeouts.load(std::sync::atomic::Ordering::Relaxed), 3);
    });
}
