//! A server with one key in it, which must still be there after each attack.

use std::time::Duration;

use tidegate_api::{
    Kv,
    pb::{PutRequest, RangeRequest},
};
use tidegate_client::Client;
use tidegate_tests::{Kind, Options, Server, scratch};
use tokio::runtime::Runtime;

/// Longest that an answer, or the end of a connection, may take.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(10);

pub(crate) struct Target {
    pub(crate) server: Server,
    pub(crate) runtime: Runtime,
    /// A connection that was there before the attacks, and is to outlive them.
    witness: Client,
    _dir: tempfile::TempDir,
}

impl Target {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let dir = scratch().unwrap();
        let server = Server::start(&Options::new(Kind::Tidegate, dir.path().join("data"))).unwrap();
        let witness = server.client();
        let request = PutRequest { key: "witness".into(), value: "here".into(), ..Default::default() };
        runtime.block_on(witness.put(request)).unwrap();
        Self { server, runtime, witness, _dir: dir }
    }

    /// The process lives, the old connection serves, and so does a new one.
    pub(crate) fn check(&mut self, after: &str) {
        assert!(self.server.runs(), "{after}: the process has ended:\n{}", self.server.log().tail(10));
        for client in [self.witness.clone(), self.server.client()] {
            let request = RangeRequest { key: "witness".into(), ..Default::default() };
            let answer = self.runtime.block_on(client.range(request));
            let answer = answer.unwrap_or_else(|error| panic!("{after}: then a read fails: {error}"));
            assert_eq!(answer.kvs[0].value, "here", "{after}");
        }
    }
}
