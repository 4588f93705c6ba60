//! The server behind the proxies: as cheap as one can be, so that the machine's time goes to what is measured.
//!
//! One thread, one `epoll`, answers made beforehand. `/` is 1 KiB, `/100k` 100 KiB, `/100kc` the same in chunks; what is posted is read and dropped.
//! It runs in a process of its own, which is this program again (`cargo xtask backend PORT`).

use std::{
    collections::HashMap,
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    process::Stdio,
};

use anyhow::{Context, Result, bail};
use memchr::memmem::find;
use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    fd::OwnedFd,
};
use tidegate_tests::{free_ports, until};

use crate::bench::node::{Process, START_MAX, alone};

/// Most of a request's head; the longest of ours has a twentieth of it.
const HEAD_MAX: usize = 64 << 10;
/// What one turn reads of a connection.
const READ_BYTES: usize = 256 << 10;
const LISTENER: u64 = u64::MAX;

/// The running program.
pub(super) struct Backend {
    pub(super) address: String,
    _process: Process,
}

impl Backend {
    pub(super) fn start() -> Result<Self> {
        let [port] = free_ports()?;
        let address = format!("127.0.0.1:{port}");
        let own = std::env::current_exe().context("path of this program")?;
        let process = Process::start(alone(own).args(["backend", &port.to_string()]).stderr(Stdio::inherit()))?;
        until(START_MAX, || TcpStream::connect(&address).ok()).context("the backend does not listen")?;
        Ok(Self { address, _process: process })
    }
}

/// Serves until the process ends.
pub(crate) fn serve(port: u16) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).context("listen")?;
    listener.set_nonblocking(true)?;
    // The thousand connections of a scenario come at once.
    rustix::net::listen(&listener, 4096)?;
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let answers = Answers::new();
    let mut clients: HashMap<u64, Client> = HashMap::new();
    let mut events = Vec::with_capacity(512);
    let mut scratch = vec![0; READ_BYTES];
    let mut next = 0;
    loop {
        events.clear();
        match epoll::wait(&poll, spare_capacity(&mut events), None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        for event in &events {
            let token = event.data.u64();
            if token == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    epoll::add(&poll, &stream, EventData::new_u64(next), EventFlags::IN)?;
                    clients.insert(next, Client::new(stream));
                    next += 1;
                }
            } else if let Some(client) = clients.get_mut(&token)
                && client.turn(&poll, token, &answers, &mut scratch).is_err()
            {
                clients.remove(&token);
            }
        }
    }
}

struct Answers {
    small: Vec<u8>,
    large: Vec<u8>,
    chunked: Vec<u8>,
}

impl Answers {
    fn new() -> Self {
        let head = |framing: &str| {
            format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nserver: backend\r\n{framing}\r\n\r\n")
        };
        let plain =
            |length: usize| [head(&format!("content-length: {length}")).into_bytes(), vec![b'x'; length]].concat();
        let mut chunked = head("transfer-encoding: chunked").into_bytes();
        for piece in [b'x'; 100 << 10].chunks(8 << 10) {
            chunked.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            chunked.extend_from_slice(piece);
            chunked.extend_from_slice(b"\r\n");
        }
        chunked.extend_from_slice(b"0\r\n\r\n");
        Self { small: plain(1 << 10), large: plain(100 << 10), chunked }
    }

    fn of(&self, target: &[u8]) -> &[u8] {
        match target {
            b"/100k" => &self.large,
            b"/100kc" => &self.chunked,
            _ => &self.small,
        }
    }
}

struct Client {
    stream: TcpStream,
    /// Of a head, or of a body in chunks, that has not come whole.
    input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
    /// Bytes of a body still to come.
    body: usize,
    waits_to_write: bool,
}

impl Client {
    fn new(stream: TcpStream) -> Self {
        Self { stream, input: Vec::new(), output: Vec::new(), sent: 0, body: 0, waits_to_write: false }
    }

    /// Reads once, unless an answer still waits to leave, and writes what there is to write.
    fn turn(&mut self, poll: &OwnedFd, token: u64, answers: &Answers, scratch: &mut [u8]) -> Result<()> {
        if self.output.is_empty() {
            match self.stream.read(scratch) {
                Ok(0) => bail!("closed"),
                Ok(length) if self.input.is_empty() => self.take(&scratch[..length], answers)?,
                Ok(length) => {
                    self.input.extend_from_slice(&scratch[..length]);
                    let input = std::mem::take(&mut self.input);
                    self.take(&input, answers)?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        if !self.output.is_empty() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(length) => self.sent += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            if self.sent == self.output.len() {
                self.output.clear();
                self.sent = 0;
            }
        }
        let waits = !self.output.is_empty();
        if waits != self.waits_to_write {
            let wanted = if waits { EventFlags::OUT } else { EventFlags::IN };
            epoll::modify(poll, &self.stream, EventData::new_u64(token), wanted)?;
            self.waits_to_write = waits;
        }
        Ok(())
    }

    /// Answers each request of `data`, and keeps what is not whole.
    fn take(&mut self, mut data: &[u8], answers: &Answers) -> Result<()> {
        loop {
            if self.body > 0 {
                let part = self.body.min(data.len());
                data = &data[part..];
                self.body -= part;
                if self.body > 0 {
                    return Ok(());
                }
                self.output.extend_from_slice(&answers.small);
            }
            let Some(end) = find(data, b"\r\n\r\n") else { break };
            let (head, rest) = data.split_at(end + 4);
            let target = head.split(|byte| *byte == b' ').nth(1).context("no target")?;
            match framing(head)? {
                Framing::Length(0) => self.output.extend_from_slice(answers.of(target)),
                Framing::Length(length) => self.body = length,
                Framing::Chunked => match find(data, b"\r\n0\r\n\r\n") {
                    Some(end) => {
                        self.output.extend_from_slice(&answers.small);
                        data = &data[end + 7..];
                        continue;
                    }
                    None => break,
                },
            }
            data = rest;
        }
        if data.len() > HEAD_MAX + READ_BYTES {
            bail!("too much for one request");
        }
        self.input.extend_from_slice(data);
        Ok(())
    }
}

#[derive(Debug, PartialEq)]
enum Framing {
    Length(usize),
    Chunked,
}

/// Heads of requests without a body, which are most, are looked through for two words and no more.
fn framing(head: &[u8]) -> Result<Framing> {
    if head.starts_with(b"GET ") {
        return Ok(Framing::Length(0));
    }
    for line in head.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            return Ok(Framing::Length(std::str::from_utf8(value)?.parse()?));
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            return Ok(Framing::Chunked);
        }
    }
    Ok(Framing::Length(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Client::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap())
    }

    /// Bytes of the answers to `input`, however it is cut.
    fn check(input: &[u8], expected: usize) {
        let answers = Answers::new();
        for at in 0..input.len() {
            let mut client = client();
            for part in [&input[..at], &input[at..]] {
                let whole = [std::mem::take(&mut client.input).as_slice(), part].concat();
                client.take(&whole, &answers).unwrap();
            }
            assert_eq!(client.output.len(), expected, "cut at {at}");
            assert!(client.input.is_empty() && client.body == 0, "cut at {at}");
        }
    }

    #[test]
    fn requests_are_answered_wherever_they_are_cut() {
        let answers = Answers::new();
        check(
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /100k HTTP/1.1\r\n\r\n",
            answers.small.len() + answers.large.len(),
        );
        check(b"GET /100kc HTTP/1.1\r\n\r\n", answers.chunked.len());
        check(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n", 2 * answers.small.len());
        check(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", answers.small.len());
    }

    #[test]
    fn a_length_that_is_none_is_an_error() {
        assert!(framing(b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n").is_err());
        assert_eq!(framing(b"PUT / HTTP/1.1\r\ncontent-length: 12\r\n\r\n").unwrap(), Framing::Length(12));
    }
}
