//! Memory of connections that wait for their next request.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use rustls::{ClientConfig, ClientConnection, StreamOwned, client::Resumption};
use tidegate_tests::pause;

use super::{fleet::Proxy, handshakes::connect, pki::Certificate};

/// Connections that are open before the first look: pools and tables of the first ones are not theirs.
const FIRST: usize = 200;
/// For allocators to give back what the last requests took.
const SETTLE: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Protocol {
    Http1,
    Tls,
    Http2,
}

enum Connection {
    Plain(#[expect(dead_code, reason = "it is open until it is dropped")] TcpStream),
    Secure(
        #[expect(dead_code, reason = "it is open until it is dropped")] Box<StreamOwned<ClientConnection, TcpStream>>,
    ),
}

/// Bytes for each of `count` connections of which each has had one request.
#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
pub(super) fn bytes_each(proxy: &Proxy, protocol: Protocol, certificate: &Certificate, count: usize) -> Result<f64> {
    let alpn: &[u8] = if protocol == Protocol::Http2 { b"h2" } else { b"http/1.1" };
    let config = certificate.client(alpn, Resumption::disabled())?;
    let mut connections = Vec::new();
    let mut open = |number: usize| -> Result<u64> {
        for _ in 0..number {
            connections.push(one(proxy, protocol, &config)?);
        }
        pause(SETTLE);
        proxy.memory()
    };
    let before = open(FIRST)?;
    let after = open(count)?;
    Ok((after as f64 - before as f64) / count as f64)
}

fn one(proxy: &Proxy, protocol: Protocol, config: &Arc<ClientConfig>) -> Result<Connection> {
    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    match protocol {
        Protocol::Http1 => {
            let mut socket = TcpStream::connect(&proxy.plain)?;
            socket.write_all(GET)?;
            whole(&mut socket)?;
            Ok(Connection::Plain(socket))
        }
        Protocol::Tls => {
            let mut stream = connect(&proxy.secure, config)?;
            stream.write_all(GET)?;
            whole(&mut stream)?;
            Ok(Connection::Secure(Box::new(stream)))
        }
        Protocol::Http2 => {
            let mut stream = connect(&proxy.secure, config)?;
            ask(&mut stream)?;
            Ok(Connection::Secure(Box::new(stream)))
        }
    }
}

/// Reads an answer of 1 KiB to its end.
fn whole(stream: &mut impl Read) -> Result<()> {
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let length = stream.read(&mut part)?;
        ensure!(length > 0, "the connection closed");
        answer.extend_from_slice(&part[..length]);
        if let Some(end) = memchr::memmem::find(&answer, b"\r\n\r\n")
            && answer.len() >= end + 4 + (1 << 10)
        {
            ensure!(answer.starts_with(b"HTTP/1.1 200"), "no success");
            return Ok(());
        }
    }
}

/// One GET over HTTP/2, in bytes: what a library keeps for a connection must not take the place of this program's other work.
fn ask(stream: &mut (impl Read + Write)) -> Result<()> {
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const END_STREAM: u8 = 1;
    // RFC 7541: indexed `:method GET`, `:scheme https`, `:path /`, and `:authority` as a literal.
    let block = [&[0x82, 0x87, 0x84, 0x01, 9][..], b"localhost"].concat();
    let settings = frame(SETTINGS, 0, 0, &[]);
    let request = frame(HEADERS, END_STREAM | 4, 1, &block);
    stream.write_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", settings.as_slice(), request.as_slice()].concat())?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length)?];
        stream.read_exact(&mut payload)?;
        let (kind, flags) = (head[3], head[4]);
        match kind {
            SETTINGS if flags == 0 => stream.write_all(&frame(SETTINGS, 1, 0, &[]))?,
            3 | 7 => bail!("the connection ends: frame {kind} {payload:?}"),
            // DATA or HEADERS of the one stream.
            0 | HEADERS if flags & END_STREAM != 0 => return Ok(()),
            _ => {}
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("frames here are short");
    [&[0, 0, length, kind, flags, 0, 0, 0, stream][..], payload].concat()
}
