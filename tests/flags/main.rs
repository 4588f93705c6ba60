//! The command line, the environment and the configuration file, against the reference: the same arguments start a server
//! or end it with the same code and the same words.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cases;
mod start;

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    sync::{Mutex, PoisonError},
};

use start::{Outcome, Program, Start};
use tidegate_tests::{Kind, Peer, peer};

/// Without the reference there is nothing to compare with.
fn with_reference(test: impl FnOnce()) {
    match peer(Peer::Etcd).unwrap() {
        Some(_) => test(),
        None => eprintln!("left out: TIDEGATE_WITHOUT_PEERS=1"),
    }
}

/// Where a case names no port the reference listens at its own ones before it refuses the rest: one at a time.
static DEFAULT_PORTS: Mutex<()> = Mutex::new(());

fn same(cases: &[Start]) {
    with_reference(|| {
        let _alone = DEFAULT_PORTS.lock().unwrap_or_else(PoisonError::into_inner);
        let differ = |case: &Start| {
            let (theirs, ours) = (case.run(Kind::Etcd), case.run(Kind::Tidegate));
            (theirs != ours).then(|| format!("{case:?}\n  etcd: {theirs:?}\n  ours: {ours:?}"))
        };
        let wrong: Vec<String> = cases.iter().filter_map(differ).collect();
        assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    });
}

#[test]
fn arguments_that_cannot_be_read_end_with_2_and_the_same_words() {
    same(&cases::unreadable());
}

#[test]
fn arguments_that_make_no_server_end_with_1_and_the_same_words() {
    same(&cases::refused());
}

#[test]
fn variables_and_files_are_refused_in_the_same_words() {
    same(&cases::elsewhere());
}

#[test]
fn arguments_of_launchers_start_a_server() {
    same(&cases::running());
}

/// What the reference lists it must know, but for two that it lists and does not know any more.
#[test]
fn every_flag_of_the_reference_is_known() {
    with_reference(|| {
        let flags = |kind| -> BTreeSet<String> {
            let output = Program::new(kind).output(&["--help"]);
            assert_eq!(output.status.code(), Some(0));
            let text = String::from_utf8(output.stdout).unwrap();
            let names = text.lines().filter_map(|line| line.strip_prefix("  --")?.split([' ', '\'']).next());
            names.map(str::to_owned).collect()
        };
        let (theirs, ours) = (flags(Kind::Etcd), flags(Kind::Tidegate));
        assert!(theirs.len() > 80, "{theirs:?}");
        let unknown: Vec<_> = theirs.difference(&ours).collect();
        assert_eq!(unknown, ["discovery", "discovery-proxy"]);
    });
}

#[test]
fn called_etcd_it_is_of_the_reference_version() {
    with_reference(|| {
        let first = |kind| {
            let output = Program::new(kind).output(&["--version"]);
            assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
            let text = String::from_utf8(output.stdout).unwrap();
            (text.lines().next().unwrap().to_owned(), text.lines().count())
        };
        assert_eq!(first(Kind::Tidegate), first(Kind::Etcd));
    });
}

/// The first line that a server says over HTTP.
fn ask(mut stream: impl Read + Write) -> String {
    stream.write_all(b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    // A server without HTTP closes, or says something else first.
    let read = stream.read_to_string(&mut answer);
    if read.is_err() { String::new() } else { answer.lines().next().unwrap_or_default().to_owned() }
}

#[test]
fn http_has_a_place_of_its_own_where_it_is_given_one() {
    let start = Start::new(&["--listen-client-http-urls=http://127.0.0.1:{other}"]).started();
    let running = start.hold(Kind::Tidegate);
    let tcp = |port| TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    assert_eq!(ask(tcp(running.ports.other)), "HTTP/1.1 200 OK");
    assert_eq!(ask(tcp(running.ports.client)), "");
}

#[test]
fn clients_come_over_unix_sockets_too() {
    for url in ["unix://{dir}/client", "unix://client"] {
        let arguments = [format!("--listen-client-urls={url}"), format!("--advertise-client-urls={url}")];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let running = Start::new(&arguments).started().hold(Kind::Tidegate);
        assert_eq!(ask(UnixStream::connect(running.dir.path().join("client")).unwrap()), "HTTP/1.1 200 OK", "{url}");
    }
}

#[test]
fn log_lines_are_json_with_the_keys_of_etcd() {
    let running = Start::new(&["--log-level=debug", "--snapshot-count=5", "--max-concurrent-streams=9"]).started();
    let lines = running.hold(Kind::Tidegate).lines();
    for line in &lines {
        let parsed: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for key in ["level", "ts", "caller", "msg"] {
            assert!(parsed[key].is_string(), "{key}: {line}");
        }
        assert!(!matches!(parsed["level"].as_str(), Some("error" | "fatal")), "{line}");
    }
    // One line each names what has no meaning and what is not enforced.
    for (text, flag) in [("have no meaning here", "snapshot-count=5"), ("not enforced yet", "max-concurrent-streams=9")]
    {
        assert_eq!(lines.iter().filter(|line| line.contains(text) && line.contains(flag)).count(), 1, "{lines:#?}");
    }
    assert!(lines.iter().any(|line| line.contains("\"snapshot-catchup-entries\":5000")));
    assert!(lines.iter().any(|line| line.contains("serving client traffic")));
}

/// A start that fails must not look like one that goes on.
#[test]
fn a_port_that_is_taken_ends_the_process() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", taken.local_addr().unwrap());
    let client = [format!("--listen-client-urls={url}"), format!("--advertise-client-urls={url}")];
    let client: Vec<&str> = client.iter().map(String::as_str).collect();
    match Start::new(&client).started().run(Kind::Tidegate) {
        Outcome::Ended { code: Some(1), .. } => {}
        other => panic!("{other:?}"),
    }
}
