//! The stores of a run: ours and the reference, side by side.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::Args;
use tidegate_base::clock;
use tidegate_client::{Client, Config};
use tidegate_tests::{Kind, Options, Peer, Server, peer, scratch};

/// What all cases with stores have in common.
#[derive(Args, Clone)]
pub(crate) struct Common {
    /// Only this store: `tidegate` or `etcd`.
    #[arg(long)]
    pub(crate) only: Option<String>,
    /// Memory budget of ours.
    #[arg(long, default_value = "256MiB")]
    pub(crate) budget: String,
    /// One line of JSON for each measurement instead of tables.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Common {
    /// Which stores are measured, ours first.
    pub(crate) fn kinds(&self) -> Result<Vec<Kind>> {
        let mut kinds = vec![Kind::Tidegate, Kind::Etcd];
        if let Some(only) = &self.only {
            kinds.retain(|kind| kind.name() == only);
            anyhow::ensure!(!kinds.is_empty(), "--only {only}: it is tidegate or etcd");
        }
        if kinds.contains(&Kind::Etcd) {
            peer(Peer::Etcd)?.context("the reference is left out by TIDEGATE_WITHOUT_PEERS: use --only tidegate")?;
        }
        Ok(kinds)
    }

    /// Starts a store on new data, with room for large values.
    pub(crate) fn start(&self, kind: Kind) -> Result<Store> {
        self.start_as(kind, None)
    }

    /// As [`Common::start`]; `program` is another build of ours.
    pub(crate) fn start_as(&self, kind: Kind, program: Option<PathBuf>) -> Result<Store> {
        let dir = scratch()?;
        let mut options = Options::new(kind, dir.path().join("data"))
            .flag("max-request-bytes", "4194304")
            .flag("quota-backend-bytes", "8589934592");
        options.memory_budget.clone_from(&self.budget);
        options.program = program;
        Ok(Store { server: Server::start(&options)?, _dir: dir })
    }
}

/// A running store. Its data goes with it.
pub(crate) struct Store {
    pub(crate) server: Server,
    _dir: tempfile::TempDir,
}

impl Store {
    pub(crate) fn kind(&self) -> Kind {
        self.server.kind()
    }

    /// Clients for a load, each with a connection of its own: as many as clients, at most 16.
    pub(crate) fn clients(&self, clients: usize) -> Vec<Client> {
        (0..clients.clamp(1, 16)).map(|_| self.client()).collect()
    }

    /// A client that takes large answers, and waits for slow ones.
    pub(crate) fn client(&self) -> Client {
        self.server.client_with(Config {
            call_timeout: Some(Duration::from_secs(120)),
            message_bytes_max: 1 << 30,
            ..Config::default()
        })
    }

    /// Kills the process and starts it again on its data; tells how long that took and what it needed until it was ready.
    pub(crate) fn crash(mut self) -> Result<(Self, Restart)> {
        self.server.kill()?;
        let begin = clock::now();
        let server = self.server.start_again()?;
        let seconds = begin.elapsed().as_secs_f64();
        let high = server.memory()?.high;
        Ok((Self { server, _dir: self._dir }, Restart { seconds, high }))
    }
}

pub(crate) struct Restart {
    pub(crate) seconds: f64,
    /// Highest resident memory from the start of the process until it was ready.
    pub(crate) high: u64,
}
