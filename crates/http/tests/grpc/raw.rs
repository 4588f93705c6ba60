//! HTTP/2 frames written and read by hand: what no client library would send, in any pieces.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::Server;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RESET: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) struct Raw {
    pub(crate) io: TcpStream,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[a, b, c, kind, flags][..], &stream.to_be_bytes(), payload].concat()
}

/// Header fields as literals that enter no table. Source: RFC 7541, 6.2.2.
pub(crate) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            out.push(u8::try_from(text.len()).ok().filter(|len| *len < 127).expect("short texts only"));
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

/// The head of a gRPC call.
pub(crate) fn head(path: &str, authority: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", authority)];
    let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
    fields(&[&pseudo[..], &grpc, more].concat())
}

impl Raw {
    /// A connection after preface and settings, with a window as large as can be.
    pub(crate) async fn connect(server: &Server) -> Self {
        let mut io = TcpStream::connect(server.tcp()).await.unwrap();
        io.set_nodelay(true).unwrap();
        io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let window = ((1u32 << 31) - 1).to_be_bytes();
        let settings = [&[0, 4][..], &window].concat(); // SETTINGS_INITIAL_WINDOW_SIZE
        io.write_all(&frame(SETTINGS, 0, 0, &settings)).await.unwrap();
        let more = ((1u32 << 31) - 1 - 65_535).to_be_bytes();
        io.write_all(&frame(WINDOW_UPDATE, 0, 0, &more)).await.unwrap();
        io.write_all(&frame(SETTINGS, 1, 0, &[])).await.unwrap();
        Self { io }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.unwrap();
    }

    /// The next frame that says anything of a stream; `None` when the server has closed the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            self.io.read_exact(&mut head).await.ok()?;
            let [a, b, c, kind, flags, s @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.io.read_exact(&mut payload).await.ok()?;
            if matches!(kind, DATA | HEADERS | RESET) {
                return Some(Frame { kind, flags, stream: u32::from_be_bytes(s), payload });
            }
        }
    }

    /// Data of a stream until it ends.
    ///
    /// # Panics
    /// When it was reset.
    pub(crate) async fn body(&mut self, stream: u32) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let frame = self.next().await.expect("the connection lives");
            assert_eq!(frame.stream, stream, "{frame:?}");
            assert_ne!(frame.kind, RESET, "{frame:?}");
            if frame.kind == DATA {
                body.extend_from_slice(&frame.payload);
            }
            if frame.flags & END_STREAM != 0 {
                return body;
            }
        }
    }
}
