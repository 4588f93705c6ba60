//! One server process.

use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tidegate_client::{Client, Config};

use crate::{Log, Memory, Peer, binary, peer, until};

/// What a log says when a server answers clients.
const READY: &str = "ready to serve client requests";
const READY_MAX: Duration = Duration::from_secs(120);

/// Which store is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Tidegate,
    Etcd,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Tidegate => "tidegate",
            Kind::Etcd => "etcd",
        }
    }
}

/// How a server is started.
#[derive(Debug, Clone)]
pub struct Options {
    pub kind: Kind,
    pub data_dir: PathBuf,
    /// Of ours only.
    pub memory_budget: String,
    /// Another build of ours than the one that is tested.
    pub program: Option<PathBuf>,
    /// Further flags of the store, the same for both kinds.
    pub flags: Vec<String>,
}

impl Options {
    pub fn new(kind: Kind, data_dir: impl Into<PathBuf>) -> Self {
        Self { kind, data_dir: data_dir.into(), memory_budget: "256MiB".to_owned(), program: None, flags: Vec::new() }
    }

    #[must_use]
    pub fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.push(format!("--{name}={value}"));
        self
    }
}

/// A running server. Dropping it kills the process.
pub struct Server {
    child: Child,
    log: Log,
    options: Options,
    client_port: u16,
    peer_port: u16,
}

impl Server {
    /// Starts a server on free ports and waits until it answers clients.
    ///
    /// # Errors
    /// When the program is missing, ends, or is not ready in two minutes; the message has the end of its log.
    pub fn start(options: &Options) -> Result<Self> {
        // Between the choice of a port and its use another process may take it.
        let mut last = None;
        for _ in 0..3 {
            let [client, peer] = free_ports()?;
            match Self::start_on(options, client, peer) {
                Err(error) if format!("{error:#}").to_lowercase().contains("address already in use") => {
                    last = Some(error);
                }
                outcome => return outcome,
            }
        }
        Err(last.expect("there was an attempt"))
    }

    /// As [`Server::start`], on ports that are known to be free.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_on(options: &Options, client_port: u16, peer_port: u16) -> Result<Self> {
        let server = Self::spawn(options, client_port, peer_port)?;
        if server.log.wait_for(READY, READY_MAX) {
            return Ok(server);
        }
        bail!("{} did not get ready:\n{}", options.kind.name(), server.log.tail(20))
    }

    /// Starts a server and does not wait for it.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(options: &Options, client_port: u16, peer_port: u16) -> Result<Self> {
        let mut command = match options.kind {
            Kind::Tidegate => {
                let program = options.program.clone().map_or_else(binary, Ok)?;
                let mut command = Command::new(program);
                command.arg("store").arg(format!("--memory-budget={}", options.memory_budget));
                command
            }
            Kind::Etcd => Command::new(peer(Peer::Etcd)?.context("this needs etcd")?),
        };
        let client_url = format!("http://127.0.0.1:{client_port}");
        let peer_url = format!("http://127.0.0.1:{peer_port}");
        command
            .args(["--name", "s1", "--data-dir"])
            .arg(&options.data_dir)
            .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
            .args(["--initial-cluster", &format!("s1={peer_url}")])
            .args(&options.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("ETCD_")) {
                command.env_remove(&name);
            }
        }
        let mut child = command.spawn().with_context(|| format!("start {command:?}"))?;
        let log = Log::default();
        let path = options.data_dir.with_extension("log");
        let file = File::options().create(true).append(true).open(&path);
        let file = file.with_context(|| format!("open {}", path.display()))?;
        log.follow(child.stderr.take().context("stderr is piped")?, file.try_clone()?);
        log.follow(child.stdout.take().context("stdout is piped")?, file);
        Ok(Self { child, log, options: options.clone(), client_port, peer_port })
    }

    /// Starts the same server again, on the same ports and data, after it has ended.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_again(self) -> Result<Self> {
        let (options, client, peer) = (self.options.clone(), self.client_port, self.peer_port);
        drop(self);
        Self::start_on(&options, client, peer)
    }

    /// A client with one connection of its own.
    ///
    /// # Panics
    /// Never: the endpoint is a good one.
    pub fn client(&self) -> Client {
        self.client_with(Config::default())
    }

    /// A client with these settings; its endpoint is this server.
    ///
    /// # Panics
    /// When the settings cannot be used.
    pub fn client_with(&self, config: Config) -> Client {
        let config = Config { endpoints: vec![self.endpoint()], ..config };
        Client::new(&config).expect("the settings of a test are good")
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// `host:port` for clients.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    pub const fn client_port(&self) -> u16 {
        self.client_port
    }

    pub const fn peer_port(&self) -> u16 {
        self.peer_port
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub const fn kind(&self) -> Kind {
        self.options.kind
    }

    pub fn data_dir(&self) -> &Path {
        &self.options.data_dir
    }

    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// # Errors
    /// When the process has ended.
    pub fn memory(&self) -> Result<Memory> {
        Memory::of(self.pid())
    }

    /// Whether the process still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends the process without warning (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.child.kill().context("kill")?;
        self.child.wait().context("wait for the killed process")
    }

    /// Asks the process to end (SIGTERM) and waits for that.
    ///
    /// # Errors
    /// When it has not ended within `limit`.
    pub fn stop(&mut self, limit: Duration) -> Result<ExitStatus> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("process id")?;
        kill_process(pid, Signal::TERM).context("SIGTERM")?;
        self.wait(limit)
    }

    /// Waits until the process has ended by itself.
    ///
    /// # Errors
    /// When it has not ended within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let child = &mut self.child;
        until(limit, || child.try_wait().ok().flatten()).with_context(|| format!("still runs after {limit:?}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Ports that nobody listens on, for programs that must be told their port.
///
/// # Errors
/// When the system has none.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}
