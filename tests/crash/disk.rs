//! A disk that fails.

use std::{process::Command, time::Duration};

use tidegate_tests::{Kind, Log, Options, Server, scratch};

use crate::history::{History, write_until_failure};

/// `strace` makes the next `fdatasync` of each thread fail once. A store that tries again would acknowledge what the
/// kernel has thrown away: this one ends, and says which file.
#[test]
fn a_failed_fdatasync_ends_the_process_and_acknowledges_nothing_more() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let dir = scratch().unwrap();
    let mut server = Server::start(&Options::new(Kind::Tidegate, dir.path().join("data"))).unwrap();
    let history = History::default();
    let mut strace = None;
    let errors = runtime.block_on(async {
        let writers: Vec<_> = (0..4)
            .map(|writer| tokio::spawn(write_until_failure(server.client(), writer, 0, history.clone())))
            .collect();
        while history.len() < 200 {
            assert!(writers.iter().all(|writer| !writer.is_finished()), "a writer failed too early");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        strace = Some(fail_next_sync(server.pid(), dir.path()));
        let mut errors = Vec::new();
        for writer in writers {
            errors.push(tokio::time::timeout(Duration::from_secs(60), writer).await.expect("writers fail").unwrap());
        }
        errors
    });
    let status = server.wait(Duration::from_secs(10)).unwrap();
    drop(strace);
    assert!(!status.success(), "ended with {status}");
    assert!(server.log().wait_for_end(Duration::from_secs(10)));
    let lines = server.log().lines();
    let last = lines.last().map(String::as_str).unwrap_or_default();
    let named = last.starts_with("tidegate: ") && last.contains(".log: ");
    assert!(named, "the last line names no file:\n{}", server.log().tail(5));
    assert!(!errors.is_empty());

    let server = server.start_again().unwrap();
    runtime.block_on(history.check(&server.client(), 0));
}

/// Attaches to the server; returns once the next sync will fail.
fn fail_next_sync(pid: u32, dir: &std::path::Path) -> Strace {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=1", "-o"])
        .arg(dir.join("strace"))
        .args(["-p", &pid.to_string()])
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("strace is installed: `make test` sees to it");
    let log = Log::default();
    log.follow(child.stderr.take().unwrap(), std::io::sink());
    assert!(log.wait_for("attached", Duration::from_secs(20)), "strace did not attach: {}", log.tail(5));
    Strace(child)
}

struct Strace(std::process::Child);

impl Drop for Strace {
    fn drop(&mut self) {
        // It ends with the process that it is attached to.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
