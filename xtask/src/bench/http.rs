//! Enough of HTTP/1.1 to talk to an admin API: one request, one connection.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

/// Most of an answer that is looked at.
const ANSWER_MAX: u64 = 64 << 10;

pub(super) fn post(address: &str, path: &str, body: &str) -> Result<()> {
    send(address, "POST", path, body)
}

pub(super) fn put(address: &str, path: &str, body: &str) -> Result<()> {
    send(address, "PUT", path, body)
}

pub(super) fn get(address: &str, path: &str) -> Result<()> {
    send(address, "GET", path, "")
}

/// The whole answer, head included.
pub(super) fn text(address: &str, path: &str) -> Result<String> {
    ask(address, "GET", path, "")
}

/// Reads an answer of any length and forgets it.
pub(super) fn drain(address: &str, path: &str) -> Result<()> {
    let mut stream = start(address, "GET", path, "")?;
    std::io::copy(&mut stream, &mut std::io::sink())?;
    Ok(())
}

fn send(address: &str, verb: &str, path: &str, body: &str) -> Result<()> {
    ask(address, verb, path, body).map(drop)
}

fn start(address: &str, verb: &str, path: &str, body: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let length = body.len();
    write!(
        stream,
        "{verb} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    Ok(stream)
}

fn ask(address: &str, verb: &str, path: &str, body: &str) -> Result<String> {
    let stream = start(address, verb, path, body)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    ensure!(answer.starts_with("HTTP/1.1 2"), "{verb} {path}: {answer}");
    Ok(answer)
}
