use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    rc::Rc,
    sync::OnceLock,
    time::Duration,
};

use futures_util::future::LocalBoxFuture;
use http::{HeaderName, HeaderValue, Method, Request};
use tidegate_base::{Budget, ByteSize, Limits, Profile};

use crate::{
    conn::{Drain, Listener, Net, Served},
    grpc::{Accept, Call, PREFIX_LEN, Service, Status, check_head},
    io::Threads,
};

/// Lines: a method, a target, then names and values of headers in turn.
pub fn grpc_head(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut next = || lines.next().unwrap_or_default();
    let Ok(method) = Method::from_bytes(next()) else { return };
    let Ok(mut request) = Request::builder().method(method).uri(next()).body(()) else { return };
    while let (Ok(name), Ok(value)) = (HeaderName::from_bytes(next()), HeaderValue::from_bytes(next())) {
        request.headers_mut().append(name, value);
    }
    let (parts, ()) = request.into_parts();
    check_head(&parts);
}

const MESSAGE_MAX: usize = 4 << 10;
/// Less than the windows of a new connection, so that a client may send all of it at once.
const STREAM_MAX: usize = 32 << 10;
const ACCEPT: Accept = Accept { message_max: MESSAGE_MAX, decode_cost: |len| len };

/// A length, then the bytes of a call's messages, which come in frames of that length.
///
/// # Panics
/// When the messages that the server sees are not those of the bytes, whatever the frames.
pub fn grpc_messages(data: &[u8]) {
    let Some((step, stream)) = data.split_first() else { return };
    let stream = &stream[..stream.len().min(STREAM_MAX)];
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server = SERVER.get_or_init(Server::start);
    assert_eq!(server.echo(stream, usize::from(*step).max(1)), expected(stream));
    assert_eq!(server.net.stats().panics, 0);
}

/// The whole messages, with their prefixes, up to the first that is refused.
fn expected(stream: &[u8]) -> &[u8] {
    let mut end = 0;
    while let Some([0, a, b, c, d]) = stream.get(end..end + PREFIX_LEN) {
        let len = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        if len > MESSAGE_MAX || stream.len() - end - PREFIX_LEN < len {
            break;
        }
        end += PREFIX_LEN + len;
    }
    &stream[..end]
}

/// Answers each message with itself.
struct Echo;

impl Service for Echo {
    fn call(self: Rc<Self>, call: Call) -> LocalBoxFuture<'static, ()> {
        Box::pin(async move {
            let (mut incoming, mut outgoing) = call.split(ACCEPT);
            let status = loop {
                match incoming.next().await {
                    Ok(Some(message)) => {
                        if outgoing.send_message(message.bytes).await.is_err() {
                            return;
                        }
                    }
                    Ok(None) => break Status::OK,
                    Err(status) => break status,
                }
            };
            outgoing.finish(&status);
        })
    }
}

/// A server on a socket of its own; it ends with the process.
struct Server {
    net: Net,
    path: std::path::PathBuf,
    _threads: Threads,
}

impl Server {
    fn start() -> Self {
        let limits = Limits::new(ByteSize::mib(256), Profile::Store).expect("a budget that is large enough");
        let threads = Threads::start(1, "io").expect("a thread");
        let net = Net::new(&threads.handle(), Budget::new(limits), Drain::new()).expect("a thread");
        let path = std::env::temp_dir().join(format!("tidegate-fuzz-{}", std::process::id()));
        let listener = Listener::bind_unix(&path).expect("a socket in the temporary directory");
        net.listen(listener, |_| Served { grpc: Some(Rc::new(Echo)), http1: None }).expect("a thread");
        Self { net, path, _threads: threads }
    }

    /// What comes back for one call whose body comes in frames of `step` bytes.
    fn echo(&self, stream: &[u8], step: usize) -> Vec<u8> {
        let mut socket = UnixStream::connect(&self.path).expect("the server accepts");
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket has a timeout");
        let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        put_frame(&mut out, SETTINGS, 0, 0, &[]);
        // `:method: POST` and `:scheme: http` by their numbers in the static table, the others as literals.
        let mut head = vec![0x83, 0x86];
        for (name, value) in [(&b"\x01"[..], &b"test"[..]), (b"\x04", b"/a.B/Echo"), (b"\x0f\x10", b"application/grpc")]
        {
            head.extend_from_slice(name);
            head.push(u8::try_from(value.len()).expect("a short value"));
            head.extend_from_slice(value);
        }
        put_frame(&mut out, HEADERS, END_HEADERS, 1, &head);
        let mut frames = stream.chunks(step).peekable();
        while let Some(frame) = frames.next() {
            put_frame(&mut out, DATA, if frames.peek().is_none() { END_STREAM } else { 0 }, 1, frame);
        }
        if stream.is_empty() {
            put_frame(&mut out, DATA, END_STREAM, 1, &[]);
        }
        // The server may have ended the call already: what it said before is read all the same.
        drop(socket.write_all(&out));
        let mut echoed = Vec::new();
        while let Some((kind, flags, id, payload)) = read_frame(&mut socket) {
            match (kind, id) {
                (DATA, 1) => echoed.extend_from_slice(&payload),
                (HEADERS, 1) if flags & END_STREAM != 0 => break,
                (RESET, 1) => break,
                (GO_AWAY, _) => panic!("the connection was ended: {payload:02x?}"),
                _ => {}
            }
        }
        echoed
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GO_AWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn put_frame(out: &mut Vec<u8>, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    let [_, len @ ..] = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    out.extend_from_slice(&len);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(payload);
}

/// The next frame: its kind, flags, stream and payload; `None` at the end.
fn read_frame(socket: &mut UnixStream) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    socket.read_exact(&mut head).ok()?;
    let [a, b, c, kind, flags, id @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    socket.read_exact(&mut payload).ok()?;
    Some((kind, flags, u32::from_be_bytes(id), payload))
}
