//! Running etcdctl.

use std::{
    io::Write,
    path::PathBuf,
    process::{Child, ChildStdin, Stdio},
    time::Duration,
};

use tidegate_tests::{Log, Server, until};

use crate::{normal::Names, script::Command};

/// Longest that a command may take: an expiring lease takes some seconds.
const COMMAND_MAX: Duration = Duration::from_secs(60);

pub(crate) struct Ctl {
    program: PathBuf,
    endpoint: String,
    names: Names,
}

impl Ctl {
    pub(crate) fn new(program: PathBuf, server: &Server) -> Self {
        Self { program, endpoint: server.endpoint(), names: Names::of(server) }
    }

    pub(crate) fn run(&mut self, command: &Command) -> Command {
        let mut process = std::process::Command::new(&self.program);
        process
            .env_clear()
            .args(["--endpoints", &self.endpoint])
            .args(command.args.iter().map(|arg| self.names.resolve(arg)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = process.spawn().unwrap();
        let (output, complaints) = (Log::default(), Log::default());
        output.follow(child.stdout.take().unwrap(), std::io::sink());
        complaints.follow(child.stderr.take().unwrap(), std::io::sink());
        let input = child.stdin.take().unwrap();
        let code = match command.lines {
            Some(lines) => until_printed(&mut child, input, command, &output, lines),
            None => to_end(&mut child, input, command),
        };
        assert!(output.wait_for_end(COMMAND_MAX) && complaints.wait_for_end(COMMAND_MAX), "{command}: still prints");
        let printed = output.lines();
        self.names.learn(&printed);
        // Lines of JSON are etcdctl's own log.
        let complaints = complaints.lines().into_iter().filter(|line| !line.starts_with('{')).collect::<Vec<_>>();
        Command {
            output: self.names.normal(&printed),
            complaints: self.names.normal(&complaints),
            code,
            ..command.clone()
        }
    }
}

fn feed(mut input: ChildStdin, command: &Command) -> ChildStdin {
    for line in &command.input {
        // A command that does not read its input has ended: its exit code tells.
        drop(writeln!(input, "{line}"));
    }
    input
}

fn to_end(child: &mut Child, input: ChildStdin, command: &Command) -> i32 {
    drop(feed(input, command));
    let Some(status) = until(COMMAND_MAX, || child.try_wait().unwrap()) else {
        drop(child.kill());
        panic!("{command}: did not end");
    };
    status.code().unwrap_or(-1)
}

fn until_printed(child: &mut Child, input: ChildStdin, command: &Command, output: &Log, lines: usize) -> i32 {
    let input = feed(input, command);
    let printed = until(COMMAND_MAX, || (output.lines().len() >= lines).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    drop(input);
    assert!(printed.is_some(), "{command}: printed only\n{}", output.tail(lines));
    0
}
