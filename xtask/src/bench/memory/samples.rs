//! What a store holds while it is attacked, looked at every 50 ms: as the kernel counts it, and what ours cannot account for.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;
use tidegate_tests::{Kind, Memory};

use super::super::load::{AVAILABLE_LEAST, available};
use crate::bench::stores::Store;

const PERIOD: Duration = Duration::from_millis(50);

/// Highest figures seen, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// `VmHWM`: the kernel misses no peak.
    pub(super) high: u64,
    pub(super) anon: u64,
    /// What the allocator has handed out, less the holders and the program. Ours only.
    pub(super) unaccounted: i64,
    /// The machine had no memory left, so the store was killed.
    pub(super) killed: bool,
}

pub(super) struct Samples {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Seen>>,
}

impl Samples {
    pub(super) fn start(store: &Store) -> Self {
        let (pid, address, ours) = (store.server.pid(), store.server.address(), store.kind() == Kind::Tidegate);
        let stop = Arc::new(AtomicBool::new(false));
        let signal = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut seen = Seen { unaccounted: i64::MIN, ..Seen::default() };
            let mut report = ours.then(|| Report::connect(&address));
            while !signal.load(Ordering::Relaxed) {
                if let Ok(memory) = Memory::of(pid) {
                    (seen.high, seen.anon) = (seen.high.max(memory.high), seen.anon.max(memory.anon));
                }
                match &mut report {
                    Some(Ok(open)) => match open.unaccounted() {
                        Ok(bytes) => seen.unaccounted = seen.unaccounted.max(bytes),
                        Err(_) => report = Some(Report::connect(&address)),
                    },
                    Some(Err(_)) => report = Some(Report::connect(&address)),
                    None => {}
                }
                if available() < AVAILABLE_LEAST {
                    seen.killed = true;
                    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
                        // Gone already is as good.
                        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                    }
                    break;
                }
                tidegate_tests::pause(PERIOD);
            }
            seen
        });
        Self { stop, thread: Some(thread) }
    }

    pub(super) fn finish(mut self) -> Seen {
        self.end().unwrap_or_default()
    }

    fn end(&mut self) -> Option<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take()?.join().ok()
    }
}

impl Drop for Samples {
    fn drop(&mut self) {
        self.end();
    }
}

/// A connection that asks for the memory report again and again.
struct Report(BufReader<TcpStream>);

impl Report {
    fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(Self(BufReader::new(stream)))
    }

    fn unaccounted(&mut self) -> Result<i64> {
        let request = b"GET /debug/memory HTTP/1.1\r\nHost: store\r\n\r\n";
        self.0.get_mut().write_all(request)?;
        let mut length = None;
        let mut line = String::new();
        loop {
            line.clear();
            anyhow::ensure!(self.0.read_line(&mut line)? > 0, "the connection has ended");
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = Some(value.trim().parse::<usize>()?);
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length.context("an answer without a length")?];
        self.0.read_exact(&mut body)?;
        let report: Value = serde_json::from_slice(&body)?;
        report["unaccounted"].as_i64().context("a report without the unaccounted bytes")
    }
}
