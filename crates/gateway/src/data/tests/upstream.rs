//! A server written apart from the code under test: one thread a connection, blocking, as plain as can be.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::WAIT;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// Counted over all connections, and on this one, from 0.
    pub(crate) number: usize,
    pub(crate) on_connection: usize,
    pub(crate) line: String,
    /// In lower case, with their line ends off.
    pub(crate) headers: Vec<String>,
    pub(crate) body: String,
}

/// What to do after an answer.
pub(crate) enum Then {
    Keep,
    Close,
}

/// Answers requests by `answer`, whose text is sent as it is.
pub(crate) fn upstream(answer: impl Fn(Received) -> (String, Then) + Send + Sync + 'static) -> SocketAddr {
    let answer = Arc::new(answer);
    let number = AtomicUsize::new(0);
    let number = Arc::new(number);
    raw(move |stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        for on_connection in 0.. {
            let Some(mut received) = read_request(&mut reader) else { return };
            received.number = number.fetch_add(1, Ordering::SeqCst);
            received.on_connection = on_connection;
            let (text, then) = answer(received);
            let mut stream = &stream;
            if stream.write_all(text.as_bytes()).is_err() || matches!(then, Then::Close) {
                return;
            }
        }
    })
}

/// Gives each connection to `serve`, on a thread of its own.
pub(crate) fn raw(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, serve) = (stream.unwrap(), Arc::clone(&serve));
            stream.set_read_timeout(Some(WAIT)).unwrap();
            stream.set_nodelay(true).unwrap();
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Says what came, in a body of known length.
pub(crate) fn echo() -> SocketAddr {
    upstream(|received| {
        let text = format!("{} [{}]", received.line, received.body);
        let body = if received.line.starts_with("HEAD") { "" } else { &text };
        (format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nX-Up: 1\r\n\r\n{body}", text.len()), Then::Keep)
    })
}

pub(crate) fn read_request(reader: &mut impl BufRead) -> Option<Received> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let line = lines.remove(0);
    let headers: Vec<String> = lines.iter().map(|line| line.to_ascii_lowercase()).collect();
    let header = |name: &str| headers.iter().find_map(|line| line.strip_prefix(name).map(str::trim));
    let mut body = Vec::new();
    if let Some(length) = header("content-length:") {
        body.resize(length.parse().unwrap(), 0);
        reader.read_exact(&mut body).ok()?;
    } else if header("transfer-encoding:") == Some("chunked") {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).ok()?;
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).ok()?;
            assert!(chunk.ends_with(b"\r\n"));
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    }
    let body = String::from_utf8(body).unwrap();
    Some(Received { number: 0, on_connection: 0, line, headers, body })
}
