//! What is compared: ours and the peers, each started with the same job.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tidegate_tests::{CpuTime, proportional_memory, until};

use super::{backend::Backend, ours, peers, pki::Certificate};
use crate::bench::{
    http,
    node::{Node, Process, START_MAX},
};

/// What every proxy is to do: two listeners, one with TLS, that pass everything on to the backend.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) dir: &'a Path,
    pub(super) backend: &'a Backend,
    pub(super) certificate: &'a Certificate,
    /// Prefixes `/svcN/api/` in front of the rule for everything.
    pub(super) routes: usize,
    /// Ours has filters in front of its Proxy.
    pub(super) filters: bool,
    /// Memory of ours.
    pub(super) budget: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    Tidegate,
    Nginx,
    Haproxy,
    Envoy,
    Caddy,
}

impl Kind {
    pub(super) const ALL: [Self; 5] = [Self::Tidegate, Self::Nginx, Self::Haproxy, Self::Envoy, Self::Caddy];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Tidegate => "tidegate",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Caddy => "caddy",
        }
    }
}

/// Who is compared.
#[derive(Debug, Clone)]
pub(super) struct Contender {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// Of ours: a build beside the one that is tested.
    pub(super) build: Option<PathBuf>,
}

impl Contender {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, name: kind.name().to_owned(), build: None }
    }
}

pub(super) struct Proxy {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// `HOST:PORT` of the listener without TLS and of the one with it.
    pub(super) plain: String,
    pub(super) secure: String,
    pub(super) running: Running,
}

pub(super) enum Running {
    Node(Node),
    Peer(Process),
}

impl Proxy {
    /// `None` when the program is not there; the run says so once.
    pub(super) fn start(contender: &Contender, job: Job<'_>) -> Result<Option<Self>> {
        let dir = job.dir.join(format!("{}-{}", contender.name, job.routes));
        std::fs::create_dir_all(&dir).context("make a directory for a proxy")?;
        let job = Job { dir: &dir, ..job };
        let mut proxy = match contender.kind {
            Kind::Tidegate => Some(ours::start(contender.build.as_deref(), job)?),
            peer => peers::start(peer, job)?,
        };
        if let Some(proxy) = &mut proxy {
            proxy.name.clone_from(&contender.name);
        }
        if let Some(proxy) = &proxy {
            until(START_MAX, || http::get(&proxy.plain, "/").ok())
                .with_context(|| format!("{} does not answer on {}: {}", proxy.name, proxy.plain, proxy.log(&dir)))?;
        }
        Ok(proxy)
    }

    pub(super) fn process(&self) -> &Process {
        match &self.running {
            Running::Node(node) => node.process(),
            Running::Peer(process) => process,
        }
    }

    /// Of the whole tree of processes.
    pub(super) fn cpu(&self) -> Result<CpuTime> {
        let mut sum = CpuTime::default();
        for pid in self.process().tree()? {
            let time = CpuTime::of(pid)?;
            sum = CpuTime { user: sum.user + time.user, system: sum.system + time.system };
        }
        Ok(sum)
    }

    /// Of the whole tree of processes; a page that several have counts once.
    pub(super) fn memory(&self) -> Result<u64> {
        self.process().tree()?.into_iter().map(proportional_memory).sum()
    }

    fn log(&self, dir: &Path) -> String {
        match &self.running {
            Running::Node(node) => node.log(),
            Running::Peer(_) => std::fs::read_to_string(dir.join(peers::LOG)).unwrap_or_default(),
        }
    }
}
