//! Sends cases to one proxy and says what came of each.

use std::{
    collections::VecDeque,
    io::{BufReader, Write},
    net::{Shutdown, SocketAddr, TcpStream},
};

use crate::{
    WAIT,
    backend::{Backend, Received},
    generate::Case,
    random::Random,
    wire::{self, Body, Headers, Length},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    pub(crate) body: Body,
    pub(crate) length: Length,
}

/// What came of one case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// `100 Continue`s that came before the answer.
    pub(crate) granted: usize,
    /// Other interim answers.
    pub(crate) interim: usize,
    pub(crate) answer: Option<Answer>,
    /// Whether the answer says that the connection goes on.
    pub(crate) goes_on: bool,
    /// It did not go on, whatever the answer says.
    pub(crate) closed: bool,
    /// What the backend saw of it.
    pub(crate) received: Vec<Received>,
}

struct Connection {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Connection {
    fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader }
    }

    /// Sends in pieces. A proxy that has refused may not take them all.
    fn send(&mut self, bytes: &[u8], cuts: &mut Random) {
        let mut rest = bytes;
        for _ in 0..cuts.below(5) {
            let (piece, behind) = rest.split_at(cuts.below(rest.len() + 1));
            if self.stream.write_all(piece).is_err() {
                return;
            }
            rest = behind;
        }
        drop(self.stream.write_all(rest));
    }
}

/// Sends all `cases` in order and as many at once as `cuts` decides; whenever the proxy ends a connection, those without an
/// answer are sent on a new one.
pub(crate) fn run(cases: &[Case], address: SocketAddr, backend: &Backend, mut cuts: Random) -> Vec<Outcome> {
    let mut waiting: VecDeque<&Case> = cases.iter().collect();
    let mut outcomes: Vec<Outcome> = Vec::new();
    let (mut connection, mut used) = (Connection::new(address), false);
    while !waiting.is_empty() {
        let most = 1 + cuts.below(6);
        let alone = usize::from(!waiting[0].can_be_followed());
        let many = waiting.iter().take(most).take_while(|case| case.can_be_followed()).count().max(alone);
        let mut wire = Vec::new();
        for case in waiting.iter().take(many) {
            wire.extend_from_slice(&case.head);
            if !case.waits {
                wire.extend_from_slice(&case.wire_body);
            }
        }
        connection.send(&wire, &mut cuts);
        for _ in 0..many {
            let case = waiting.pop_front().expect("as many wait");
            let outcome = receive(&mut connection, case, backend, &mut cuts);
            let untouched = outcome.answer.is_none() && outcome.received.is_empty();
            if untouched && std::mem::take(&mut used) {
                // The connection ended between this one and the one before it.
                outcomes.last_mut().expect("one used it").closed = true;
                waiting.push_front(case);
                connection = Connection::new(address);
                break;
            }
            used = outcome.goes_on && case.flaw.is_none() && !untold(case, &outcome);
            outcomes.push(outcome);
            if !used {
                connection = Connection::new(address);
                break;
            }
        }
    }
    outcomes
}

/// Tells which case it was, where a wait for its answer panics.
struct OnPanic<'a>(&'a Case);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Case { id, plan, head, body, .. } = self.0;
            eprintln!("{id}: {plan:?}, {} bytes of body, {:?}", body.len(), String::from_utf8_lossy(head));
        }
    }
}

fn receive(connection: &mut Connection, case: &Case, backend: &Backend, cuts: &mut Random) -> Outcome {
    let _told = OnPanic(case);
    let mut outcome =
        Outcome { granted: 0, interim: 0, answer: None, goes_on: false, closed: false, received: Vec::new() };
    while let Some((line, headers)) = wire::read_head(&mut connection.reader) {
        let status: u16 =
            line.get(9..12).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no status: {line:?}"));
        match status {
            100 => {
                outcome.granted += 1;
                if case.waits && outcome.granted == 1 {
                    connection.send(&case.wire_body, cuts);
                }
            }
            101..=199 => outcome.interim += 1,
            _ => {
                let length = Length::of_answer(&headers, status, case.method == "HEAD" && case.flaw.is_none());
                let body = wire::read_body(&mut connection.reader, length);
                let option = |option: &str| {
                    let values = headers.iter().filter(|(name, _)| name == "connection");
                    values
                        .flat_map(|(_, value)| value.split(','))
                        .any(|member| member.trim().eq_ignore_ascii_case(option))
                };
                let old = case.old || line.starts_with("HTTP/1.0");
                outcome.goes_on =
                    body.complete && length != Length::UntilClose && !option("close") && (!old || option("keep-alive"));
                outcome.answer = Some(Answer { status, headers, body, length });
                break;
            }
        }
    }
    if untold(case, &outcome) {
        // Who still waits for the body is told that none comes.
        connection.stream.shutdown(Shutdown::Both).ok();
    }
    outcome.received = backend.take(case.id);
    outcome
}

/// Whether the client was answered without leave to send its body: then it did not, and goes.
fn untold(case: &Case, outcome: &Outcome) -> bool {
    case.waits && outcome.granted == 0
}
