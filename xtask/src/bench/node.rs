//! A gateway node under measurement.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use tidegate_tests::{binary, free_ports, until};

use super::http;

pub(super) const START_MAX: Duration = Duration::from_secs(30);

/// A command in a session of its own, which ends with the thread that starts it.
///
/// The kernel gives each session the same share of the processors (`sched_autogroup`): what is compared must not share one, and none may
/// share one with a build beside it.
pub(super) fn alone(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setsid");
    // Both programs become what they start: the number of the process stays.
    command.args(["setpriv", "--pdeathsig", "TERM", "--"]).arg(program);
    command
}

/// A process that is killed when it is dropped.
pub(super) struct Process(Child);

impl Process {
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Self(command.spawn().with_context(|| format!("start {command:?}"))?))
    }

    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    /// The process and what descends from it: nginx works in its children.
    pub(super) fn tree(&self) -> Result<Vec<u32>> {
        let mut found = vec![self.0.id()];
        let mut next = 0;
        while let Some(pid) = found.get(next).copied() {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
            for child in children.split_whitespace() {
                found.push(child.parse()?);
            }
            next += 1;
        }
        Ok(found)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Workers of nginx end by themselves when their master is told to, so it is asked first.
        let asked = Command::new("kill").arg(self.0.id().to_string()).status();
        if asked.is_err() || until(Duration::from_secs(5), || self.0.try_wait().ok().flatten()).is_none() {
            drop(self.0.kill());
        }
        drop(self.0.wait());
    }
}

/// A `tidegate server` of its own directory and ports, without an access log.
pub(super) struct Node {
    process: Process,
    /// Address of the admin API.
    pub(super) api: String,
    dir: PathBuf,
}

impl Node {
    pub(super) fn start(dir: &Path, budget: &str) -> Result<Self> {
        Self::start_build(&binary()?, dir, budget)
    }

    /// Another build than the one that is tested.
    pub(super) fn start_build(program: &Path, dir: &Path, budget: &str) -> Result<Self> {
        let [client, peer, api] = free_ports()?;
        let api = format!("127.0.0.1:{api}");
        let log = fs::File::create(dir.join("tidegate.log"))?;
        let mut command = alone(program);
        command
            .arg("server")
            .arg("--data-dir")
            .arg(dir.join("node"))
            .args(["--api-addr", &api, "--memory-budget", budget, "--disable-access-log"])
            .args(["--listen-client-urls", &format!("http://127.0.0.1:{client}")])
            .args(["--listen-peer-urls", &format!("http://127.0.0.1:{peer}")])
            .stderr(log);
        let node = Self { process: Process::start(&mut command)?, api, dir: dir.to_owned() };
        until(START_MAX, || http::get(&node.api, "/apis/v2/healthz").ok()).with_context(|| node.log())?;
        Ok(node)
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn process(&self) -> &Process {
        &self.process
    }

    /// Where the store keeps its data.
    pub(super) fn store(&self) -> PathBuf {
        self.dir.join("node/store")
    }

    /// What it has said, for an error.
    pub(super) fn log(&self) -> String {
        let log = fs::read_to_string(self.dir.join("tidegate.log")).unwrap_or_default();
        format!("tidegate server:\n{log}")
    }
}
