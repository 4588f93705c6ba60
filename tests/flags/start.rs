//! One start of one program, and what came of it.

use std::{
    fmt,
    fs::File,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use tidegate_tests::{Kind, Log, Peer, binary, free_ports, peer, scratch, until};

/// Far more than any start needs, so that only one that hangs gets there.
const LIMIT: Duration = Duration::from_secs(120);

/// Arguments, variables and a configuration file. In all of them `{client}`, `{peer}` and `{other}` are free ports, and
/// `{dir}` is the directory that the program runs in, where the file is called `config`.
#[derive(Default, Clone)]
pub(crate) struct Start {
    arguments: Vec<String>,
    variables: Vec<(&'static str, &'static str)>,
    file: Option<&'static str>,
}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.arguments.join(" "))?;
        self.variables.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))?;
        self.file.map_or(Ok(()), |file| write!(f, " file {file:?}"))
    }
}

/// How a start went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Serves,
    Ended { code: Option<i32>, why: String },
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) client: u16,
    pub(crate) peer: u16,
    pub(crate) other: u16,
}

impl Ports {
    fn fill(self, text: &str, dir: &str) -> String {
        self.names().iter().fold(text.replace("{dir}", dir), |text, (name, port)| text.replace(name, port))
    }

    fn names(self) -> [(&'static str, String); 3] {
        [("{client}", self.client), ("{peer}", self.peer), ("{other}", self.other)]
            .map(|(name, port)| (name, port.to_string()))
    }
}

impl Start {
    pub(crate) fn new(arguments: &[&str]) -> Self {
        Self { arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(), ..Self::default() }
    }

    /// Adds what a server needs to run beside others: what was there before wins.
    pub(crate) fn started(mut self) -> Self {
        for (flag, value) in [
            ("--listen-client-urls", "http://127.0.0.1:{client}"),
            ("--advertise-client-urls", "http://127.0.0.1:{client}"),
            ("--listen-peer-urls", "http://127.0.0.1:{peer}"),
            ("--initial-advertise-peer-urls", "http://127.0.0.1:{peer}"),
            ("--initial-cluster", "default=http://127.0.0.1:{peer}"),
            ("--heartbeat-interval", "10"),
            ("--election-timeout", "60"),
        ] {
            if !self.arguments.iter().any(|argument| argument.split('=').next() == Some(flag)) {
                self.arguments.push(format!("{flag}={value}"));
            }
        }
        self
    }

    pub(crate) fn variable(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.push((name, value));
        self
    }

    pub(crate) fn file(mut self, text: &'static str) -> Self {
        self.file = Some(text);
        self
    }

    /// Starts the program, waits until it serves or has ended, and ends it.
    pub(crate) fn run(&self, kind: Kind) -> Outcome {
        let mut running = self.spawn(kind);
        running.outcome()
    }

    /// As [`Start::run`], of a program that must serve and goes on.
    pub(crate) fn hold(&self, kind: Kind) -> Running {
        let mut running = self.spawn(kind);
        let outcome = running.outcome();
        assert_eq!(outcome, Outcome::Serves, "{self:?}");
        running
    }

    fn spawn(&self, kind: Kind) -> Running {
        let program = Program::new(kind);
        let [client, peer, other] = free_ports().unwrap();
        let ports = Ports { client, peer, other };
        let fill = |text: &str| ports.fill(text, &program.dir.path().to_string_lossy());
        if let Some(text) = self.file {
            std::fs::write(program.dir.path().join("config"), fill(text)).unwrap();
        }
        let mut command = program.command();
        command.args(self.arguments.iter().map(|argument| fill(argument)));
        command.envs(self.variables.iter().map(|(name, value)| (*name, fill(value))));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Log::default();
        let file = File::create(program.dir.path().join("output")).unwrap();
        log.follow(child.stderr.take().unwrap(), file.try_clone().unwrap());
        log.follow(child.stdout.take().unwrap(), file);
        Running { child, log, ports, dir: program.dir }
    }
}

/// A program in a directory of its own.
pub(crate) struct Program {
    path: PathBuf,
    dir: tempfile::TempDir,
}

impl Program {
    pub(crate) fn new(kind: Kind) -> Self {
        let dir = scratch().unwrap();
        let path = match kind {
            Kind::Etcd => peer(Peer::Etcd).unwrap().unwrap(),
            Kind::Tidegate => {
                let name = dir.path().join("etcd");
                std::os::unix::fs::symlink(std::fs::canonicalize(binary().unwrap()).unwrap(), &name).unwrap();
                name
            }
        };
        Self { path, dir }
    }

    /// In a poor environment, as launchers give it.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.current_dir(self.dir.path()).stdin(Stdio::null()).env_clear().env("PATH", "/usr/bin:/bin");
        command
    }

    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }
}

/// A program that was started. It is killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    log: Log,
    pub(crate) ports: Ports,
    pub(crate) dir: tempfile::TempDir,
}

impl Running {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.log.lines()
    }

    fn outcome(&mut self) -> Outcome {
        let serves = |line: &String| line.contains("ready to serve client requests");
        let ended = until(LIMIT, || {
            let status = self.child.try_wait().unwrap();
            (status.is_some() || self.log.lines().iter().any(serves)).then_some(status)
        });
        match ended {
            None => panic!("it neither serves nor ends: {:#?}", self.log.lines()),
            Some(None) => Outcome::Serves,
            Some(Some(status)) => {
                assert!(self.log.wait_for_end(LIMIT), "its output ends with it");
                Outcome::Ended { code: status.code(), why: self.why() }
            }
        }
    }

    /// Why it ended, as people and tools see it: the error of the line of the log that says so, or the first line of all,
    /// which is no line of the log. Ports and directory as they were given.
    fn why(&self) -> String {
        let lines = self.log.lines();
        let error = |line: &String| {
            let parsed: serde_json::Value = serde_json::from_str(line).ok()?;
            let text = |key: &str| parsed[key].as_str().unwrap_or_default().to_owned();
            let told = [text("msg"), text("error"), text("environment-variable")].join("|");
            (text("msg") == "failed to verify flags" || text("level") == "fatal").then_some(told)
        };
        let plain = || lines.iter().find(|line| !line.starts_with('{')).cloned().unwrap_or_default();
        let why = lines.iter().rev().find_map(error).unwrap_or_else(plain);
        let why = why.replace(&*self.dir.path().to_string_lossy(), "{dir}");
        self.ports.names().iter().fold(why, |why, (name, port)| why.replace(port, name))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
