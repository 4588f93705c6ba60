//! The service behind both proxies: one thread a connection, blocking, and a reader of its own.

use std::{
    collections::BTreeMap,
    io::{BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
};

use crate::{
    WAIT,
    plan::{End, Frame, HEADERS, Plan},
    random,
    wire::{self, Headers},
};

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) line: String,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
    /// Whether it came to its end.
    pub(crate) complete: bool,
}

#[derive(Default)]
struct Told {
    /// By the number that the client gave it; what has none is under 0.
    received: BTreeMap<u64, Vec<Received>>,
    /// Requests that are being read.
    open: BTreeMap<u64, usize>,
}

/// What a backend was asked.
#[derive(Clone)]
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    /// Of the proxy in front of it.
    name: &'static str,
    told: Arc<(Mutex<Told>, Condvar)>,
}

impl Backend {
    pub(crate) fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let backend = Self { address: listener.local_addr().unwrap(), name, told: Arc::default() };
        let mine = backend.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, mine) = (stream.unwrap(), mine.clone());
                stream.set_nodelay(true).unwrap();
                thread::spawn(move || mine.serve(&stream));
            }
        });
        backend
    }

    /// Takes what came under this number, once it was read to its end.
    pub(crate) fn take(&self, id: u64) -> Vec<Received> {
        let (told, ended) = &*self.told;
        let told = told.lock().unwrap();
        let (mut told, waited) = ended.wait_timeout_while(told, WAIT, |told| told.open.contains_key(&id)).unwrap();
        assert!(!waited.timed_out(), "{}: request {id} was never read to its end", self.name);
        told.received.remove(&id).unwrap_or_default()
    }

    fn serve(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        while let Some((line, headers)) = wire::read_head(&mut reader) {
            let id = wire::find(&headers, "x-id").and_then(|text| text.parse().ok()).unwrap_or(0);
            let plan = wire::find(&headers, "x-plan").and_then(|text| Plan::parse(&text));
            let body = wire::Length::of_request(&headers);
            let open = |told: &mut Told| *told.open.entry(id).or_default() += 1;
            open(&mut self.told.0.lock().unwrap());
            let early = plan.is_some_and(|plan| plan.early);
            let mut goes_on = true;
            if early {
                goes_on = answer(stream, plan, id, &line);
            }
            let read = wire::read_body(&mut reader, body);
            let complete = read.complete;
            self.note(id, Received { line: line.clone(), headers, body: read.bytes, complete });
            if !complete || !goes_on || !early && !answer(stream, plan, id, &line) {
                return;
            }
        }
    }

    fn note(&self, id: u64, received: Received) {
        let (told, ended) = &*self.told;
        let mut told = told.lock().unwrap();
        told.received.entry(id).or_default().push(received);
        let left = told.open.get_mut(&id).expect("it was opened");
        *left -= 1;
        if *left == 0 {
            told.open.remove(&id);
        }
        drop(told);
        ended.notify_all();
    }
}

/// Whether the connection goes on.
fn answer(mut stream: &TcpStream, plan: Option<Plan>, id: u64, line: &str) -> bool {
    let Some(plan) = plan else {
        return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nno plan").is_ok();
    };
    if plan.end == End::Silent {
        return false;
    }
    let mut wire = Vec::new();
    if plan.interim {
        wire.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
    }
    wire.extend_from_slice(format!("HTTP/1.1 {} Some Reason\r\n", plan.status).as_bytes());
    for (bit, headers) in HEADERS.iter().enumerate() {
        if plan.headers >> bit & 1 == 1 {
            wire.extend_from_slice(headers.as_bytes());
        }
    }
    let closes = plan.end != End::Keep || plan.frame == Frame::Close;
    if closes {
        wire.extend_from_slice(b"Connection: close\r\n");
    }
    match plan.frame {
        // 304 may tell the length of what it does not send (RFC 9110, 8.6), 204 must not.
        Frame::Length if plan.status != 204 => {
            wire.extend_from_slice(format!("Content-Length: {}\r\n", plan.size).as_bytes());
        }
        Frame::Chunked if plan.has_body() => wire.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        _ => {}
    }
    wire.extend_from_slice(b"\r\n");
    let head = wire.len();
    if plan.has_body() && !line.starts_with("HEAD ") {
        let body = random::body(id, plan.size);
        match plan.frame {
            Frame::Chunked => wire::put_chunks(&mut wire, &body, id, "X-T: 1\r\n"),
            Frame::Length | Frame::Close => wire.extend_from_slice(&body),
        }
    }
    if plan.end == End::Cut {
        wire.truncate(head + (wire.len() - head) / 2);
    }
    // In up to three pieces.
    let at = wire.len() * (usize::try_from(id).unwrap_or(0) % 4) / 4;
    let (first, second) = wire.split_at(at);
    stream.write_all(first).and_then(|()| stream.write_all(second)).is_ok() && !closes
}
