//! New TLS connections with one request each, one after the other from each of a few threads.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, StreamOwned,
    client::Resumption,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tidegate_base::clock;
use tidegate_testkit::pki::Pair;

use super::{load::Outcome, pki::Certificate};
use crate::bench::histogram::Histogram;

const THREADS: usize = 8;
/// Longer than any answer takes on a machine that works.
const PATIENCE: Duration = Duration::from_secs(20);

/// One client's connections: full handshakes, or such as resume the session of an earlier one.
pub(super) fn run(address: &str, certificate: &Certificate, resume: bool, seconds: u64) -> Result<Outcome> {
    let end = clock::now() + Duration::from_secs(seconds);
    let start = clock::now();
    let mut threads = Vec::new();
    for _ in 0..THREADS {
        let resumption = if resume { Resumption::in_memory_sessions(32) } else { Resumption::disabled() };
        let (config, address) = (certificate.client(b"http/1.1", resumption)?, address.to_owned());
        threads.push(std::thread::spawn(move || {
            let mut part = Part::default();
            while clock::now() < end {
                part.one(&address, &config, resume);
            }
            part
        }));
    }
    let mut sum = Part::default();
    for thread in threads {
        let part = thread.join().ok().context("a client panicked")?;
        sum.latencies.add(&part.latencies);
        sum.done += part.done;
        sum.failed += part.failed;
        sum.other = sum.other.or(part.other);
    }
    if let Some(error) = &sum.other {
        eprintln!("{address}: {error:#}");
    }
    #[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
    Ok(Outcome {
        requests: sum.done as f64,
        seconds: start.elapsed().as_secs_f64(),
        p50: sum.latencies.percentile(50),
        p99: sum.latencies.percentile(99),
        failed: sum.failed,
    })
}

#[derive(Default)]
struct Part {
    latencies: Histogram,
    done: u64,
    failed: u64,
    /// The first error.
    other: Option<anyhow::Error>,
}

impl Part {
    fn one(&mut self, address: &str, config: &Arc<ClientConfig>, resume: bool) {
        let start = clock::now();
        match once(address, config) {
            // The first connection of a client has nothing to resume.
            Ok(kind) if self.done == 0 || (kind == HandshakeKind::Resumed) == resume => {
                self.latencies.record(start.elapsed())
            }
            Ok(kind) => self.fail(anyhow::anyhow!("a handshake was {kind:?}")),
            Err(error) => self.fail(error),
        }
        self.done += 1;
    }

    fn fail(&mut self, error: anyhow::Error) {
        self.failed += 1;
        self.other.get_or_insert(error);
    }
}

fn once(address: &str, config: &Arc<ClientConfig>) -> Result<HandshakeKind> {
    let mut stream = connect(address, config)?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    // Who ends without a close_notify is not to blame once the answer is whole.
    let ended = stream.read_to_end(&mut answer);
    ensure!(answer.starts_with(b"HTTP/1.1 200") && answer.len() > 1 << 10, "{ended:?} after {} bytes", answer.len());
    stream.conn.handshake_kind().context("no handshake")
}

/// A connection whose handshake is done with the first bytes that are written.
pub(super) fn connect(address: &str, config: &Arc<ClientConfig>) -> Result<StreamOwned<ClientConnection, TcpStream>> {
    let socket = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let name = ServerName::try_from("localhost").context("a name")?;
    Ok(StreamOwned::new(ClientConnection::new(Arc::clone(config), name)?, socket))
}

/// Whether a new connection gets this certificate.
pub(super) fn serves(address: &str, config: &Arc<ClientConfig>, pair: &Pair) -> Result<bool> {
    let mut stream = connect(address, config)?;
    stream.conn.complete_io(&mut stream.sock)?;
    let wanted = CertificateDer::from_pem_slice(pair.cert.as_bytes()).context("read a certificate")?;
    Ok(stream.conn.peer_certificates().and_then(<[_]>::first) == Some(&wanted))
}
