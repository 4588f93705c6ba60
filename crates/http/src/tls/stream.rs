//! An encrypted connection.

use std::{
    fmt, io,
    task::{Context, Poll, ready},
};

use rustls::{
    ProtocolVersion,
    pki_types::{CertificateDer, ServerName},
};
use tidegate_base::{Budget, Holder, Lease};
use tokio::net::TcpStream;

use super::{
    Client, Server, TlsError,
    drive::{Action, Session},
};

/// What an idle connection holds beside its socket: keys, and the state of `rustls`. The certificates of the other side come
/// on top. Measured: `examples/tls.rs`.
pub const TLS_BYTES: u64 = 4 << 10;
/// What a handshake holds besides, but for parts of messages.
pub(super) const HANDSHAKE_BYTES: u64 = 8 << 10;
/// A lease that is larger than need be by this much is shrunk.
const GRACE: u64 = 4 << 10;

/// TLS over a TCP connection, on either side, after [`accept`](super::accept) or a handshake of a client.
pub struct TlsStream {
    pub(super) stream: TcpStream,
    pub(super) session: Session,
    /// Records as they came that wait for their end, or for room.
    pub(super) held: Vec<u8>,
    /// `held` may have a whole record.
    pub(super) more: bool,
    /// Bytes of a record that was larger than its reader's buffer, from `plain_at` on.
    pub(super) plain: Vec<u8>,
    pub(super) plain_at: usize,
    /// Records that the socket has not taken, from `out_at` on.
    pub(super) out: Vec<u8>,
    pub(super) out_at: usize,
    /// The host that the client asked for.
    pub(super) asked: Option<Box<str>>,
    started: bool,
    /// Nothing has been made of what came so far.
    pub(super) fresh: bool,
    /// The other side has said that no more comes.
    pub(super) peer_closed: bool,
    /// So have we.
    pub(super) closing: bool,
    /// What it holds without buffers.
    base: u64,
    /// `None`: the program is a tool and has no budget.
    lease: Option<Lease>,
}

/// What a handshake has come to.
#[derive(Debug, Clone, Copy)]
pub struct TlsInfo<'a> {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// Host that the client asked for, in lower case.
    pub server_name: Option<&'a str>,
    /// Protocol that both sides have agreed on.
    pub alpn: Option<&'a [u8]>,
    /// Certificate of the client in DER, verified, and its chain; empty where none was asked for.
    pub client_certificates: &'a [CertificateDer<'static>],
    /// Whether an earlier session was resumed.
    pub resumed: bool,
}

/// As [`TlsInfo`], kept beside the connection.
#[derive(Debug)]
pub struct TlsDetails {
    version: &'static str,
    server_name: Option<Box<str>>,
    alpn: Option<Box<[u8]>>,
    client_certificates: Vec<CertificateDer<'static>>,
    resumed: bool,
}

impl TlsDetails {
    /// What its texts and certificates take.
    pub(crate) fn bytes(&self) -> u64 {
        let certificates: usize = self.client_certificates.iter().map(|certificate| certificate.len()).sum();
        let texts = self.server_name.as_ref().map_or(0, |name| name.len());
        (certificates + texts) as u64
    }

    pub fn info(&self) -> TlsInfo<'_> {
        TlsInfo {
            version: self.version,
            server_name: self.server_name.as_deref(),
            alpn: self.alpn.as_deref(),
            client_certificates: &self.client_certificates,
            resumed: self.resumed,
        }
    }
}

impl TlsStream {
    /// The server's side, before its handshake.
    pub(super) fn server(
        stream: TcpStream,
        server: &Server,
        budget: &Budget,
        holder: Holder,
    ) -> Result<Box<Self>, TlsError> {
        let lease = budget.try_lease(holder, TLS_BYTES + HANDSHAKE_BYTES).ok_or(TlsError::NoMemory)?;
        Ok(Self::new(stream, Session::server(server.0.clone())?, Some(lease)))
    }

    /// The client's side, before its handshake.
    pub(crate) fn client(
        stream: TcpStream,
        client: &Client,
        name: ServerName<'static>,
        budget: Option<(&Budget, Holder)>,
    ) -> Result<Box<Self>, TlsError> {
        let lease = match budget {
            None => None,
            Some((budget, holder)) => {
                Some(budget.try_lease(holder, TLS_BYTES + HANDSHAKE_BYTES).ok_or(TlsError::NoMemory)?)
            }
        };
        Ok(Self::new(stream, Session::client(client.0.clone(), name)?, lease))
    }

    fn new(stream: TcpStream, session: Session, lease: Option<Lease>) -> Box<Self> {
        Box::new(Self {
            stream,
            session,
            held: Vec::new(),
            more: false,
            plain: Vec::new(),
            plain_at: 0,
            out: Vec::new(),
            out_at: 0,
            asked: None,
            started: false,
            fresh: true,
            peer_closed: false,
            closing: false,
            base: TLS_BYTES + HANDSHAKE_BYTES,
            lease,
        })
    }

    /// Ready when the handshake is done. What a client says last in it may still wait, and leaves with its first write.
    pub(crate) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TlsError>> {
        loop {
            if !self.started {
                self.started = true;
                let pass = self.session.drive(&mut [], &mut self.out, &mut |_| true, Action::Nothing);
                pass.at?;
            }
            if !self.session.state().is_handshaking() {
                self.fresh = false;
                let certificates = self.info().client_certificates.iter().map(|cert| cert.len() as u64);
                self.base = TLS_BYTES + certificates.sum::<u64>();
                self.rest();
                return Poll::Ready(self.pay(0));
            }
            ready!(self.poll_flush(cx))?;
            match ready!(self.poll_pull(cx, 0, &mut |_| ())) {
                Err(TlsError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Err(TlsError::Closed));
                }
                done => done?,
            }
            if self.peer_closed {
                return Poll::Ready(Err(TlsError::Closed));
            }
        }
    }

    pub(crate) const fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// The socket, and what pays for it.
    pub(super) fn into_socket(self) -> (TcpStream, Option<Lease>) {
        (self.stream, self.lease)
    }

    /// A copy of [`TlsStream::info`], for requests of a connection that somebody else reads and writes.
    pub fn details(&self) -> TlsDetails {
        let info = self.info();
        TlsDetails {
            version: info.version,
            server_name: info.server_name.map(Into::into),
            alpn: info.alpn.map(Into::into),
            client_certificates: info.client_certificates.to_vec(),
            resumed: info.resumed,
        }
    }

    pub fn info(&self) -> TlsInfo<'_> {
        let state = self.session.state();
        let of_client = matches!(self.session, Session::Server(_));
        TlsInfo {
            version: match state.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            },
            server_name: self.asked.as_deref(),
            alpn: state.alpn_protocol(),
            client_certificates: state.peer_certificates().filter(|_| of_client).unwrap_or_default(),
            resumed: state.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        }
    }

    /// What the other side has shown.
    #[cfg(test)]
    pub(super) fn session_certificates(&self) -> &[CertificateDer<'static>] {
        self.session.state().peer_certificates().unwrap_or_default()
    }

    /// Gives memory and bytes back that it does not need now: it rests, or a request has ended.
    pub(crate) fn rest(&mut self) {
        if self.held.is_empty() {
            self.held = Vec::new();
        }
        let needed = self.base + self.buffers();
        if let Some(lease) = &mut self.lease
            && lease.bytes() > needed + GRACE
        {
            lease.shrink_to(needed);
        }
    }

    fn buffers(&self) -> u64 {
        (self.held.capacity() + self.plain.capacity() + self.out.capacity()) as u64
    }

    /// Pays for what it holds and `more` bytes.
    pub(super) fn pay(&mut self, more: usize) -> Result<(), TlsError> {
        let needed = self.base + self.buffers() + more as u64;
        match &mut self.lease {
            Some(lease) if lease.bytes() < needed => {
                let missing = needed - lease.bytes();
                if lease.try_grow(missing) { Ok(()) } else { Err(TlsError::NoMemory) }
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("stream", &self.stream).field("info", &self.info()).finish_non_exhaustive()
    }
}
