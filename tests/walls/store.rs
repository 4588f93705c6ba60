//! A store under a budget, and values that one can check.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tidegate_api::{
    Kv,
    pb::{PutRequest, RangeRequest},
};
use tidegate_client::{Client, Config};
use tidegate_tests::{Kind, Options, Server, scratch, setting};
use tokio::runtime::Runtime;

pub(crate) const MIB: usize = 1 << 20;

pub(crate) struct Store {
    pub(crate) server: Server,
    pub(crate) runtime: Runtime,
    budget: u64,
    _dir: tempfile::TempDir,
}

impl Store {
    /// Budget in MiB from `TIDEGATE_BUDGET_MIB`, else 256.
    pub(crate) fn start() -> Self {
        let mib: u64 = setting("TIDEGATE_BUDGET_MIB").unwrap_or(256);
        let dir = scratch().unwrap();
        let options = Options {
            memory_budget: format!("{mib}MiB"),
            ..Options::new(Kind::Tidegate, dir.path().join("data")).flag("max-request-bytes", "4194304")
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { server: Server::start(&options).unwrap(), runtime, budget: mib << 20, _dir: dir }
    }

    /// A client whose calls may take long and whose answers may be large.
    pub(crate) fn client(&self) -> Client {
        self.server.client_with(Config {
            call_timeout: Some(Duration::from_secs(600)),
            message_bytes_max: 1 << 30,
            ..Config::default()
        })
    }

    /// Since it started, the process has never held more than its budget.
    pub(crate) fn check_peak(&self, what: &str) {
        let peak = self.server.memory().unwrap().high;
        eprintln!("{what}: peak {:.1} MiB of {} MiB", peak as f64 / MIB as f64, self.budget >> 20);
        assert!(peak <= self.budget, "{what}: peak of {peak} bytes is above the budget of {}", self.budget);
    }

    /// Kills the process and starts it again on its data.
    pub(crate) fn crash(&mut self) {
        self.server.kill().unwrap();
        self.restart();
    }

    pub(crate) fn restart(&mut self) {
        let options = Options {
            memory_budget: format!("{}MiB", self.budget >> 20),
            ..Options::new(Kind::Tidegate, self.server.data_dir()).flag("max-request-bytes", "4194304")
        };
        let (client, peer) = (self.server.client_port(), self.server.peer_port());
        self.server = Server::start_on(&options, client, peer).unwrap();
    }
}

/// `length` bytes that do not compress and that follow from `seed`.
pub(crate) fn value(seed: u64, length: usize) -> Bytes {
    let mut bytes = BytesMut::with_capacity(length + 8);
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.put_u64(state);
    }
    bytes.truncate(length);
    bytes.freeze()
}

pub(crate) async fn put(client: &Client, key: impl Into<Bytes>, value: Bytes) -> i64 {
    let request = PutRequest { key: key.into(), value, ..Default::default() };
    client.put(request).await.unwrap().header.unwrap_or_default().revision
}

/// Number of keys in a range, and the revision of the store.
pub(crate) async fn count(client: &Client, key: Bytes, range_end: Bytes) -> (i64, i64) {
    let request = RangeRequest { key, range_end, count_only: true, ..Default::default() };
    let answer = client.range(request).await.unwrap();
    (answer.count, answer.header.unwrap_or_default().revision)
}
