//! Requests as no single client would send them, and all of them legal unless they say why not.

use std::fmt::Write;

use crate::{
    plan::Plan,
    random::{self, Random},
    wire,
};

/// What is wrong with a request on purpose, where something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Nobody may take it.
    Malformed,
    /// A reader may take it in a way that others do not: we refuse it.
    Doubtful,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) id: u64,
    pub(crate) plan: Plan,
    pub(crate) method: &'static str,
    /// HTTP/1.0.
    pub(crate) old: bool,
    pub(crate) head: Vec<u8>,
    /// As it goes over the wire, and as it is meant.
    pub(crate) wire_body: Vec<u8>,
    pub(crate) body: Vec<u8>,
    pub(crate) chunked: bool,
    /// It says `Expect: 100-continue`.
    pub(crate) expects: bool,
    /// The client sends the body once it is told to.
    pub(crate) waits: bool,
    pub(crate) flaw: Option<Flaw>,
}

const METHODS: [&str; 12] =
    ["GET", "GET", "GET", "GET", "POST", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "PURGE"];

const PATHS: [&str; 30] = [
    "/exact",
    "/exact?q=1&r=%20",
    "/ex%61ct",
    "/exact/",
    "/Exact",
    "/get",
    "/get?",
    "/a/",
    "/a/b/../c",
    "/a//b",
    "/a/%2e%2E/x",
    "/a%2fb",
    "/a/;v=1,2/:@!$&'()*+=~-._",
    "/any",
    "/any",
    "/any?a=b?c/d",
    "/any?%00%ff",
    "/small/x",
    "/small/x",
    "/stream/x",
    "/stream/y?z",
    "/p%25q/x",
    "/p%q/x",
    "/put",
    "/none",
    "/",
    "/a/b|c",
    "/any%",
    "/%61ny",
    "/a/%C3%A9",
];

const HOSTS: [&str; 10] = [
    "a.test",
    "A.TEST",
    "a.test:80",
    "x.b.test",
    "b.test",
    "other",
    "127.0.0.1:1",
    "[::1]:80",
    "a.test.",
    "x.B.test:8080",
];

/// Headers that any request may have.
const HEADERS: [&str; 26] = [
    "X-A: 1",
    "x-a:2",
    "X-A:\t3 ",
    "X-Empty:",
    "X-Blank:  \t",
    "Cookie: a=b; c=d",
    "Cookie: e=f",
    "Accept: */*",
    "Accept: text/html;q=0.1, x/y",
    "Connection: X-Hop",
    "X-Hop: secret",
    "Connection: ,, keep-alive ,",
    "Keep-Alive: timeout=5",
    "TE: trailers",
    "Upgrade: foo/1",
    "Proxy-Authorization: Basic eA==",
    "Proxy-Connection: keep-alive",
    "X-Forwarded-For: 10.1.2.3",
    "X-Forwarded-For: 8.8.4.4, 10.0.0.1",
    "X-Real-Ip: 9.9.9.9",
    "X-Forwarded-For: nonsense",
    "!#$%&'*+-.^_`|~: token",
    "X-Bytes: \u{e9}\u{ff}",
    "User-Agent: x (y; z) \"q\"",
    "Content-Type: text/plain; charset=\"x\"",
    "Accept-Encoding: gzip;q=0",
];

/// Framings that two readers could take for two things, or that are none.
const FLAWS: [(Flaw, &str); 14] = [
    (Flaw::Doubtful, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
    (Flaw::Doubtful, "Content-Length: 5\r\nContent-Length: 5\r\n"),
    (Flaw::Malformed, "Content-Length: 5\r\nContent-Length: 6\r\n"),
    (Flaw::Malformed, "Content-Length: 5x\r\n"),
    (Flaw::Malformed, "Content-Length: -1\r\n"),
    (Flaw::Doubtful, "Transfer-Encoding: gzip, chunked\r\n"),
    (Flaw::Malformed, "Transfer-Encoding: gzip\r\n"),
    (Flaw::Malformed, "X-A : 1\r\n"),
    (Flaw::Malformed, "X-A: 1\r\n folded\r\n"),
    (Flaw::Malformed, "X-A: \0\r\n"),
    (Flaw::Malformed, "X-A: a\rb\r\n"),
    (Flaw::Doubtful, "X-A: 1\n"),
    (Flaw::Doubtful, "Host: twice\r\n"),
    (Flaw::Malformed, "no colon\r\n"),
];

impl Case {
    pub(crate) fn random(random: &mut Random, id: u64) -> Self {
        let method = random.one(&METHODS);
        let old = random.once_in(15);
        let flaw = (method != "HEAD" && random.once_in(60)).then(|| random.one(&FLAWS));
        let framing = match (method, random.below(10)) {
            _ if flaw.is_some() => None,
            ("GET" | "HEAD" | "OPTIONS" | "PURGE", 0..8) | (_, 0) => None,
            (_, 1..5) if !old => Some(true),
            _ => Some(false),
        };
        let (target, host) = target(random, method);
        let size = match framing {
            None => 0,
            // About the limit of that path.
            Some(_) if target.contains("/small/") && random.once_in(2) => 900 + random.below(900),
            Some(_) => random.size(),
        };
        let body = random::body(!id, size);
        let plan = Plan::random(random, !body.is_empty());
        let mut lines = Vec::new();
        // An old client need not say where to (RFC 9112, 3.2).
        if flaw.is_some() || !(old && random.once_in(3)) {
            lines.push(format!("{}:{}{host}", random.cased("Host"), random.one(&["", " ", "\t "])));
        }
        lines.push(format!("{}: {id}", random.cased("X-Id")));
        lines.push(format!("{}: {plan}", random.cased("X-Plan")));
        for _ in 0..random.below(6) {
            let line = random.one(&HEADERS);
            let (name, value) = line.split_once(':').expect("each has one");
            lines.push(format!("{}:{value}", random.cased(name)));
        }
        let waits = flaw.is_none() && !old && !body.is_empty() && random.once_in(12);
        let expects = waits || flaw.is_none() && !old && !body.is_empty() && random.once_in(20);
        if expects {
            lines.push(format!("{}: 100-{}", random.cased("Expect"), random.one(&["continue", "Continue"])));
        }
        match random.below(12) {
            0 => lines.push(format!("{}: {}", random.cased("Connection"), random.one(&["close", "Close", "x, close"]))),
            1 if old => lines.push("Connection: keep-alive".to_owned()),
            _ => {}
        }
        let mut wire_body = Vec::new();
        match framing {
            None => {}
            Some(false) => {
                lines.push(format!("{}: {}{}", random.cased("Content-Length"), random.one(&["", "0"]), body.len()));
                wire_body.extend_from_slice(&body);
            }
            Some(true) => {
                let coding = random.one(&["chunked", "Chunked", "CHUNKED"]);
                lines.push(format!("{}: {coding}", random.cased("Transfer-Encoding")));
                wire::put_chunks(&mut wire_body, &body, id, "X-Trailer: 1\r\nX-Id: 0\r\n");
            }
        }
        shuffle(random, &mut lines);
        let version = if old { "1.0" } else { "1.1" };
        // An empty line in front is skipped (RFC 9112, 2.2).
        let mut head = random.one(&["", "", "", "", "", "", "", "\r\n"]).to_owned();
        write!(head, "{method} {target} HTTP/{version}\r\n").expect("to a string");
        for line in lines {
            write!(head, "{line}\r\n").expect("to a string");
        }
        if let Some((_, line)) = flaw {
            head.push_str(line);
            if line.contains("-Encoding") || line.contains("-Length") {
                // The end of a body in chunks, and as well one of five bytes: who takes the request has all of it.
                wire_body.extend_from_slice(b"0\r\n\r\n");
            }
        }
        head.push_str("\r\n");
        // A character stands for the byte of its number.
        let head = head.chars().map(|letter| u8::try_from(letter).expect("below 256")).collect();
        let flaw = flaw.map(|(flaw, _)| flaw);
        Self { id, plan, method, old, head, wire_body, body, chunked: framing == Some(true), expects, waits, flaw }
    }

    /// Whether others may go out before its answer is there.
    pub(crate) fn can_be_followed(&self) -> bool {
        !(self.waits || self.plan.early || self.flaw.is_some() || self.old)
    }
}

/// A target, and the host beside it.
fn target(random: &mut Random, method: &str) -> (String, &'static str) {
    let path = random.one(&PATHS);
    let host = if random.once_in(2) { "a.test" } else { random.one(&HOSTS) };
    if method == "OPTIONS" && random.once_in(6) {
        return ("*".to_owned(), host);
    }
    match random.below(12) {
        0 => (format!("{}{}{path}", random.one(&["http://", "HTTP://"]), random.one(&HOSTS)), host),
        1 => (format!("http://{}", random.one(&["x.b.test", "x.b.test?q", "x.b.test:81/"])), host),
        _ => (path.to_owned(), host),
    }
}

fn shuffle(random: &mut Random, lines: &mut [String]) {
    for at in (1..lines.len()).rev() {
        lines.swap(at, random.below(at + 1));
    }
}
