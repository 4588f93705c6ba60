//! Every verb as a script one can read: `tests/scripts/*.txt`.
//!
//! A script says what a node answers, runs commands, and holds what they must ask and print. A line begins with what it is:
//! ```text
//! = GET /objects 200     the node's answer to that request from here on; its body is the `:` lines behind
//! @ demo.yaml            a file `{dir}/demo.yaml`, of the `:` lines behind
//! $ get all              a command; its standard input is the `<` lines behind
//! > GET /objects         a request that it sends, with its body
//! | text                 a line that it prints, `!` one on standard error
//! ? failed               it does not succeed
//! ```
//! `GOLDEN=write cargo test -p tidegate-ctl --test scripts` writes down what commands ask and print: read the difference.
//! Requests are without `/apis/v2` where they begin with it. A request that no `=` line answers gets 404.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use clap::Parser;
use tidegate_ctl::{Ctl, Streams, run};

#[derive(Parser)]
#[command(name = "tidegate ctl")]
struct Cli {
    #[command(flatten)]
    ctl: Ctl,
}

/// What a node answers, and what it was asked.
#[derive(Default)]
struct Told {
    answers: BTreeMap<String, (u16, String)>,
    asked: Vec<String>,
}

/// A node that says what a script makes it say: one connection a request, as the client has it.
struct Node {
    address: SocketAddr,
    told: Arc<Mutex<Told>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Node {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let told = Arc::new(Mutex::new(Told::default()));
        let serving = Arc::clone(&told);
        let thread = thread::spawn(move || while answer(&listener.accept().unwrap().0, &serving) {});
        Self { address, told, thread: Some(thread) }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A connection without a request is the end.
        drop(TcpStream::connect(self.address).unwrap());
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Answers one request; `false` when there is none.
fn answer(stream: &TcpStream, told: &Mutex<Told>) -> bool {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    match reader.read_line(&mut line) {
        Ok(0) => return false,
        Ok(_) => {}
        // A handshake, which this node does not understand.
        Err(_) => return true,
    }
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap().to_owned(), words.next().unwrap());
    let target = target.strip_prefix("/apis/v2").unwrap_or(target);
    let target = if target.is_empty() { "/" } else { target };
    let request = format!("{method} {target}");
    let (mut length, mut secret) = (0, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        match &*name.to_ascii_lowercase() {
            "content-length" => length = value.parse().unwrap(),
            "authorization" => secret = format!(" ({value})"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body = String::from_utf8(body).unwrap();
    let space = if body.is_empty() { "" } else { " " };
    let (status, text) = {
        let mut told = told.lock().unwrap();
        told.asked.push(format!("{request}{secret}{space}{body}"));
        let missing = || (404, "{\"code\": 404, \"message\": \"not found\"}".to_owned());
        told.answers.get(&request).cloned().unwrap_or_else(missing)
    };
    let head = format!("HTTP/1.1 {status} Told\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
    let mut stream = stream;
    stream.write_all(format!("{head}{text}").as_bytes()).unwrap();
    true
}

/// Runs a script; returns it with what came of its commands. With `junk`, that is the body of every answer.
fn play(script: &str, junk: Option<&str>) -> String {
    let node = Node::start();
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_str().unwrap().to_owned();
    let address = node.address.to_string();
    let lines: Vec<&str> = script.lines().collect();
    let mut out = String::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        at += 1;
        let block = |mark: char, at: &mut usize| {
            let mut text = String::new();
            while let Some(line) = lines.get(*at).and_then(|line| line.strip_prefix(mark)) {
                writeln!(text, "{}", line.strip_prefix(' ').unwrap_or(line)).unwrap();
                *at += 1;
            }
            text
        };
        let first = at;
        match line.split_once(' ') {
            Some(("=", rest)) => {
                let (request, status) = rest.rsplit_once(' ').unwrap();
                let text = block(':', &mut at);
                let answer = (status.parse().unwrap(), junk.map_or(text, ToOwned::to_owned));
                node.told.lock().unwrap().answers.insert(request.to_owned(), answer);
            }
            Some(("@", name)) => {
                let path = dir.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, block(':', &mut at)).unwrap();
            }
            Some(("$", command)) => {
                let input = block('<', &mut at);
                for line in &lines[first - 1..at] {
                    writeln!(out, "{line}").unwrap();
                }
                while lines.get(at).is_some_and(|line| line.starts_with(['>', '|', '!', '?'])) {
                    at += 1;
                }
                let filled = command.replace("{dir}", &place).replace("{node}", &address);
                let told = command_output(&filled, &input, &node).replace(&place, "{dir}").replace(&address, "{node}");
                out += &told;
                continue;
            }
            _ => {}
        }
        for line in &lines[first - 1..at] {
            writeln!(out, "{line}").unwrap();
        }
    }
    out
}

/// A command's words are divided by blanks; `_` inside a word in `'` stands for one.
fn command_output(command: &str, input: &str, node: &Node) -> String {
    let words = command.split(' ').map(|word| match word.strip_prefix('\'') {
        Some(word) => word.trim_end_matches('\'').replace('_', " "),
        None => word.to_owned(),
    });
    // Where a file of contexts is named, it names the server.
    let server =
        if command.contains("--config") { None } else { Some(["--server".to_owned(), node.address.to_string()]) };
    let words = ["ctl".to_owned()].into_iter().chain(server.into_iter().flatten()).chain(words);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let done = match Cli::try_parse_from(words) {
        Ok(Cli { ctl }) => run(&ctl, Streams { input: &mut input.as_bytes(), out: &mut out, err: &mut err }),
        Err(error) => {
            err = error.to_string().into_bytes();
            false
        }
    };
    let mut told = String::new();
    for request in node.told.lock().unwrap().asked.drain(..) {
        writeln!(told, "> {request}").unwrap();
    }
    for (mark, bytes) in [('|', out), ('!', err)] {
        for line in String::from_utf8(bytes).unwrap().lines() {
            writeln!(told, "{}", format!("{mark} {line}").trim_end()).unwrap();
        }
    }
    if !done {
        writeln!(told, "? failed").unwrap();
    }
    told
}

fn check(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts").join(format!("{name}.txt"));
    let script = fs::read_to_string(&path).unwrap();
    let played = play(&script, None);
    if env::var("GOLDEN").is_ok_and(|what| what == "write") {
        fs::write(&path, played).unwrap();
        return;
    }
    for (number, (told, expected)) in played.lines().zip(script.lines()).enumerate() {
        assert_eq!(told, expected, "{name}.txt:{}", number + 1);
    }
    assert_eq!(played.lines().count(), script.lines().count(), "{name}.txt");
}

macro_rules! scripts {
    ($($name:ident),*) => {
        $(#[test] fn $name() { check(stringify!($name)); })*

        #[test]
        fn every_script_is_played() {
            let known = [$(stringify!($name)),*].map(|name| format!("{name}.txt"));
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
            for entry in fs::read_dir(folder).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                assert!(known.contains(&name), "{name} is in no test");
            }
        }
    };
}

/// A node of another version, or no node at all: whatever comes, every verb ends, and says what it can.
#[test]
fn answers_that_make_no_sense_end_no_process() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    for junk in
        ["", "null", "3", "\"x\"", "[]", "[1, null, []]", "{}", "[{}]", "[[{}]]", "{\"a\": [3], \"b\": {}}", "\u{0}é"]
    {
        for entry in fs::read_dir(&folder).unwrap() {
            let script = fs::read_to_string(entry.unwrap().path()).unwrap();
            let told = play(&script, Some(junk));
            assert_eq!(told.matches("\n$ ").count(), script.matches("\n$ ").count(), "{junk}");
        }
    }
}

scripts!(apply, contexts, create, delete, describe, diff, edit, explain, get, help, history, node, nginx, old, proxy);

#[test]
fn every_filter_is_explained_field_by_field() {
    let node = Node::start();
    let filters = tidegate_filters::KINDS;
    let names: Vec<_> = filters.iter().map(|filter| filter.name()).collect();
    let list = format!("GET {FILTERS}");
    node.told.lock().unwrap().answers.insert(list, (200, serde_json::to_string(&names).unwrap()));
    for (name, filter) in names.iter().zip(filters) {
        let schema = filter.schema();
        let target = format!("GET {FILTERS}/{name}/schema");
        node.told.lock().unwrap().answers.insert(target, (200, schema.to_string()));
        let told = command_output(&format!("explain {name}"), "", &node);
        let fields = schema["properties"].as_object().into_iter().flatten();
        for (field, _) in fields {
            assert!(told.contains(&format!("| {field} ")), "{name}.{field}: {told}");
            let told = command_output(&format!("explain {name}.{field}"), "", &node);
            assert!(told.contains(&format!("| FIELD      {field}\n")) && !told.contains("? failed"), "{told}");
        }
    }
}

const FILTERS: &str = "/metadata/objects/pipeline/filters";
