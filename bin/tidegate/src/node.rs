//! A running node: its member, its listeners, and how it ends.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use tidegate_base::{Budget, Limits, LimitsError, Profile};
use tidegate_http::{
    conn::{Drain, Listener, Net, Served, Times},
    h1::{self, Http1Service, Simple},
    io::{self as io_threads, SpawnError, Threads},
};
use tidegate_member::{
    Config, DataDir, DataDirError, Handle, Identity, Member, StartError, bootstrap_member_id, cluster_id,
};
use tidegate_rocks::{RocksEngine, Settings};
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    files,
    store::{Address, StoreConfig, Url},
};

/// How long calls in flight may go on after SIGTERM.
const GRACE: Duration = Duration::from_millis(1000);

#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    #[error("memory-budget: {0}")]
    Limits(#[from] LimitsError),
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error("{path}: {error}")]
    Engine { path: PathBuf, error: String },
    #[error(transparent)]
    Member(#[from] StartError),
    #[error("listen on {url}: {error}")]
    Listen { url: String, error: io::Error },
    #[error("start the I/O threads: {0}")]
    Threads(io::Error),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error("wait for signals: {0}")]
    Signals(io::Error),
    #[error("{0}")]
    NotReady(String),
}

/// A member with its listeners.
pub(crate) struct Node {
    pub(crate) handle: Handle<RocksEngine>,
    pub(crate) net: Net,
    pub(crate) budget: Budget,
    pub(crate) member_id: u64,
    member: Member<RocksEngine>,
    threads: Threads,
    drain: Drain,
    pub(crate) signals: Signals,
}

impl Node {
    /// Opens the disk, binds every listener, and returns once the member serves.
    pub(crate) fn start(config: &StoreConfig, profile: Profile) -> Result<Self, NodeError> {
        let open_files_max = files::raise_limit();
        let limits = Limits::new(config.memory_budget, profile)?;
        let budget = Budget::new(limits);
        let mut signals = Signals::new().map_err(NodeError::Signals)?;
        // Ports first: a second process must not touch the data before it finds out that it is one.
        let clients = bind(&config.listen_client)?;
        let peers = bind(&config.listen_peer)?;
        let client_http = bind(&config.listen_client_http)?;
        let metrics = bind(&config.listen_metrics)?;
        let member_id = bootstrap_member_id(&config.advertise_peer, &config.cluster_token);
        let new = Identity { member_id, cluster_id: cluster_id(&[member_id]) };
        let data_dir = DataDir::open(&config.data_dir, new)?;
        let Identity { member_id, cluster_id } = data_dir.identity;
        if member_id != new.member_id {
            tracing::info!(
                member_id = format_args!("{member_id:x}"),
                "the data directory names its member: peer URLs and cluster token of the flags are not looked at"
            );
        }
        if let Some(mode) = data_dir.permissions {
            tracing::warn!(
                path = %config.data_dir.display(), mode = format_args!("{mode:o}"),
                "the data directory can be read by others: 0700 is recommended"
            );
        }
        let path = data_dir.engine();
        let engine = RocksEngine::open(&path, Settings::from(&limits))
            .map_err(|error| NodeError::Engine { path, error: error.to_string() })?;
        let member_config = Config {
            name: config.name.clone(),
            data_dir: config.data_dir.clone(),
            member_id,
            cluster_id,
            peer_urls: config.advertise_peer.clone(),
            client_urls: config.advertise_client.clone(),
            heartbeat: config.heartbeat,
            election_ticks: config.election_ticks,
            request_bytes_max: config.request_bytes_max,
            txn_ops_max: config.txn_ops_max,
            quota_bytes: config.quota_bytes,
            progress_every: config.progress_every,
            log_retention: config.log_retention,
            pin_max: Config::PIN_MAX,
            limits,
            allocator: Some(crate::allocator::stats),
        };
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let threads = Threads::start(cores, "io").map_err(NodeError::Threads)?;
        let io = threads.handle();
        let (member, handle) = Member::start(member_config, budget.clone(), data_dir, Arc::new(engine), &io)?;
        let drain = Drain::new();
        let (ping_after, ping_timeout) = (config.ping_after, config.ping_timeout);
        let times = Times { ping_after, ping_timeout, ..Times::default() };
        let net = Net::with_times(&io, budget.clone(), drain.clone(), times)?;
        let connections_max = net.capacity().connections_max;
        tracing::info!(open_files_max, connections_max, "files that may be open, connections that the budget admits");

        let (tell, told) = tokio::sync::oneshot::channel();
        let waiting = handle.clone();
        io.spawn(0, move || async move {
            // The receiver waits below; if it is gone the process ends anyway.
            tell.send(waiting.ready().await).ok();
        })?;
        let ready = signals.wait_unless(told, Duration::MAX);
        let ready = match ready {
            Some(Ok(ready)) => ready,
            Some(Err(_)) => Err("the member stopped".to_owned()),
            None => Err("ended by a signal before it was ready".to_owned()),
        };
        if let Err(why) = ready {
            member.stop();
            threads.stop();
            return Err(NodeError::NotReady(why));
        }

        for listener in peers {
            net.listen(listener, |_| Served::default())?;
        }
        let both = client_http.is_empty();
        for listener in metrics.into_iter().chain(client_http) {
            let (handle, budget) = (handle.clone(), budget.clone());
            net.listen(listener, move |_| Served { grpc: None, http1: Some(plain(&handle, &budget)) })?;
        }
        let mut addresses = Vec::new();
        for listener in clients {
            addresses.push(listener.address().to_string());
            let (handle, budget) = (handle.clone(), budget.clone());
            net.listen(listener, move |_| Served {
                grpc: Some(handle.grpc()),
                http1: both.then(|| plain(&handle, &budget)),
            })?;
        }
        for address in addresses {
            tracing::info!(address, "serving client traffic insecurely; this is strongly discouraged!");
            tracing::info!(address, "ready to serve client requests");
        }
        Ok(Self { handle, net, budget, member_id, member, threads, drain, signals })
    }

    pub(crate) fn io(&self) -> io_threads::Handle {
        self.threads.handle()
    }

    /// Waits for SIGTERM or SIGINT and stops in order; `before` runs once nothing new is accepted. A second signal cuts what
    /// is still in flight.
    pub(crate) fn run_until_signal(
        self,
        before: impl FnOnce(&Member<RocksEngine>, &mut Signals),
    ) -> Result<(), NodeError> {
        let Self { handle, net, member, threads, drain, mut signals, .. } = self;
        signals.wait();
        drain.start(GRACE);
        before(&member, &mut signals);
        member.refuse();
        signals.wait_unless(net.finished(), GRACE);
        drop(handle);
        member.stop();
        threads.stop();
        tracing::info!("stopped");
        Ok(())
    }
}

/// SIGTERM and SIGINT, from before the node can be seen.
pub(crate) struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    /// Has log files opened anew, where that is wanted.
    hangup: Option<Signal>,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        drop(entered);
        Ok(Self { runtime, terminate, interrupt, hangup: None })
    }

    /// From now on SIGHUP ends nothing and has log files opened anew.
    pub(crate) fn reopen_on_hangup(&mut self) -> io::Result<()> {
        let _entered = self.runtime.enter();
        self.hangup = Some(signal(SignalKind::hangup())?);
        Ok(())
    }

    fn wait(&mut self) {
        self.wait_unless(std::future::pending::<()>(), Duration::MAX);
    }

    /// What `work` came to; `None` when a signal came first, or `patience` was over.
    pub(crate) fn wait_unless<T>(&mut self, work: impl Future<Output = T>, patience: Duration) -> Option<T> {
        let Self { runtime, terminate, interrupt, hangup } = self;
        runtime.block_on(async {
            let mut work = std::pin::pin!(tokio::time::timeout(patience, work));
            let name = loop {
                let hung_up = async {
                    match hangup {
                        Some(hangup) => hangup.recv().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    done = &mut work => return done.ok(),
                    _ = terminate.recv() => break "terminated",
                    _ = interrupt.recv() => break "interrupt",
                    _ = hung_up => {
                        crate::reopen::reopen();
                        tracing::info!("log files are opened anew");
                    }
                }
            };
            tracing::info!(signal = name, "received signal; shutting down");
            None
        })
    }
}

fn bind(urls: &[Url]) -> Result<Vec<Listener>, NodeError> {
    let bind = |url: &Url| {
        let listener = match &url.address {
            Address::Tcp { host, port } if host.contains(':') => Listener::bind_tcp(&format!("[{host}]:{port}")),
            Address::Tcp { host, port } => Listener::bind_tcp(&format!("{host}:{port}")),
            Address::Unix(path) => Listener::bind_unix(path),
        };
        listener.map_err(|error| NodeError::Listen { url: url.text.clone(), error })
    };
    urls.iter().map(bind).collect()
}

/// The member's small answers behind HTTP/1 connections.
fn plain(handle: &Handle<RocksEngine>, budget: &Budget) -> std::rc::Rc<dyn tidegate_http::conn::Http1> {
    let shared = h1::Shared::new(h1::Config::default(), budget.clone());
    Http1Service::new(Simple(handle.endpoints()), shared)
}
