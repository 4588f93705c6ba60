//! Passes over what was received, until `rustls` wants more or has nothing to say.

use std::{io, sync::Arc};

use rustls::{
    Error, ServerConfig,
    client::{ClientConnectionData, UnbufferedClientConnection},
    pki_types::ServerName,
    server::{ServerConnectionData, UnbufferedServerConnection},
    unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedConnectionCommon, UnbufferedStatus},
};

/// One side's state. Nothing in it is a buffer.
pub(super) enum Session {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What is to be done once application data may be sent.
pub(super) enum Action<'a> {
    Nothing,
    /// Encrypt these bytes into the second buffer.
    Encrypt(&'a [u8], &'a mut [u8]),
    Close(&'a mut [u8]),
}

/// Where a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// The handshake waits for the other side.
    Handshake,
    /// Application data may be sent; the action was taken. All that was received is processed, but for a part of a record.
    Traffic,
    /// The sink takes no more.
    Full,
    /// Both sides have said that no more comes.
    Closed,
}

/// What a pass came to, failed or not.
pub(super) struct Pass {
    /// Bytes of what was received that are of no more use.
    pub(super) consumed: usize,
    /// Bytes that the action has made.
    pub(super) made: usize,
    /// The other side says that no more comes.
    pub(super) peer_closed: bool,
    pub(super) at: Result<At, Error>,
}

impl Session {
    pub(super) fn server(config: Arc<ServerConfig>) -> Result<Self, Error> {
        UnbufferedServerConnection::new(config).map(Session::Server)
    }

    pub(super) fn client(config: Arc<rustls::ClientConfig>, name: ServerName<'static>) -> Result<Self, Error> {
        UnbufferedClientConnection::new(config, name).map(Session::Client)
    }

    pub(super) fn state(&self) -> &rustls::CommonState {
        match self {
            Session::Server(conn) => conn,
            Session::Client(conn) => conn,
        }
    }

    /// Processes `incoming`, decrypted in place. What is to be sent of the handshake is appended to `out`; plain bytes go to
    /// `sink`, which says whether it takes more.
    pub(super) fn drive(
        &mut self,
        incoming: &mut [u8],
        out: &mut Vec<u8>,
        sink: &mut dyn FnMut(&[u8]) -> bool,
        action: Action<'_>,
    ) -> Pass {
        match self {
            Session::Server(conn) => drive(
                conn,
                UnbufferedConnectionCommon::<ServerConnectionData>::process_tls_records,
                incoming,
                out,
                sink,
                action,
            ),
            Session::Client(conn) => drive(
                conn,
                UnbufferedConnectionCommon::<ClientConnectionData>::process_tls_records,
                incoming,
                out,
                sink,
                action,
            ),
        }
    }
}

fn drive<D>(
    conn: &mut UnbufferedConnectionCommon<D>,
    process: impl for<'c, 'i> Fn(&'c mut UnbufferedConnectionCommon<D>, &'i mut [u8]) -> UnbufferedStatus<'c, 'i, D>,
    incoming: &mut [u8],
    out: &mut Vec<u8>,
    sink: &mut dyn FnMut(&[u8]) -> bool,
    action: Action<'_>,
) -> Pass {
    let mut pass = Pass { consumed: 0, made: 0, peer_closed: false, at: Ok(At::Handshake) };
    let mut failed: Option<Error> = None;
    loop {
        let UnbufferedStatus { mut discard, state } =
            process(conn, incoming.get_mut(pass.consumed..).unwrap_or_default());
        let mut ended = None;
        match state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                let start = out.len();
                if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
                    out.resize(start + size.required_size, 0);
                    // The room is what it asked for.
                    data.encode(out.get_mut(start..).unwrap_or_default()).ok();
                }
            }
            // It is in `out`, which leaves before anything that is encrypted after it.
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            // After an error only its alert is of interest.
            _ if failed.is_some() => ended = Some(At::Closed),
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                let mut room = true;
                while let Some(Ok(record)) = traffic.next_record() {
                    discard += record.discard;
                    room = sink(record.payload);
                }
                ended = (!room).then_some(At::Full);
            }
            Ok(ConnectionState::PeerClosed) => pass.peer_closed = true,
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                let made = match action {
                    Action::Nothing => Ok(0),
                    Action::Encrypt(plain, room) => traffic.encrypt(plain, room),
                    Action::Close(room) => traffic.queue_close_notify(room),
                };
                match made {
                    Ok(made) => (pass.made, pass.at) = (made, Ok(At::Traffic)),
                    Err(EncryptError::EncryptExhausted) => pass.at = Err(Error::EncryptError),
                    Err(error) => pass.at = Err(Error::General(error.to_string())),
                }
                pass.consumed += discard;
                return pass;
            }
            Ok(ConnectionState::BlockedHandshake) => ended = Some(At::Handshake),
            Ok(ConnectionState::Closed) => ended = Some(At::Closed),
            // Early data is never asked for.
            Ok(_) => failed = Some(Error::General("a state that was not asked for".to_owned())),
            Err(error) => failed = Some(error),
        }
        pass.consumed += discard;
        if let Some(at) = ended {
            pass.at = failed.map_or(Ok(at), Err);
            return pass;
        }
    }
}

/// An end that nobody announced: it may have been cut off by somebody on the way.
pub(super) fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended without a close_notify")
}
