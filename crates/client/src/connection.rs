//! Connections: made when a call needs one, and made anew after they broke.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::uri::Authority;
use tidegate_api::{Code, Error};
use tokio::net::TcpStream;

use crate::{Config, ConfigError, address, status};

/// An open connection to one member.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) requests: SendRequest<Bytes>,
    pub(crate) authority: Authority,
}

/// One place for a connection.
#[derive(Default)]
struct Slot {
    open: Mutex<Option<Connection>>,
    /// Held while the place is being filled, so that many calls make one connection.
    opening: tokio::sync::Mutex<()>,
}

/// The connections of a client.
pub(crate) struct Connections {
    slots: Vec<Slot>,
    next_slot: AtomicUsize,
    authorities: Vec<Authority>,
    next_endpoint: AtomicUsize,
    connect_timeout: Duration,
    builder: Builder,
}

impl Connections {
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        let mut authorities = Vec::with_capacity(config.endpoints.len());
        for endpoint in &config.endpoints {
            let authority: Result<Authority, _> = address::parse(endpoint)?.parse();
            authorities.push(authority.map_err(|_| ConfigError::Endpoint(endpoint.clone()))?);
        }
        if authorities.is_empty() {
            return Err(ConfigError::NoEndpoint);
        }
        let mut builder = Builder::new();
        builder
            .initial_window_size(config.stream_window)
            .initial_connection_window_size(config.connection_window)
            .max_header_list_size(16 << 10)
            .enable_push(false);
        Ok(Self {
            slots: (0..config.connections.max(1)).map(|_| Slot::default()).collect(),
            next_slot: AtomicUsize::new(0),
            authorities,
            next_endpoint: AtomicUsize::new(0),
            connect_timeout: config.connect_timeout,
            builder,
        })
    }

    pub(crate) fn endpoints(&self) -> usize {
        self.authorities.len()
    }

    /// A connection that takes one more stream; which of the open ones, goes in turn.
    pub(crate) async fn ready(&self) -> Result<Connection, Error> {
        let slot = &self.slots[self.next_slot.fetch_add(1, Ordering::Relaxed) % self.slots.len()];
        if let Some(connection) = slot.usable().await {
            return Ok(connection);
        }
        let _opening = slot.opening.lock().await;
        if let Some(connection) = slot.usable().await {
            return Ok(connection);
        }
        let connection = self.connect().await?;
        slot.put(Some(connection.clone()));
        Ok(connection)
    }

    /// Connects to the next member that accepts.
    async fn connect(&self) -> Result<Connection, Error> {
        let mut last = None;
        for _ in 0..self.authorities.len() {
            let turn = self.next_endpoint.fetch_add(1, Ordering::Relaxed);
            let authority = &self.authorities[turn % self.authorities.len()];
            match tokio::time::timeout(self.connect_timeout, self.handshake(authority)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => last = Some(error),
                Err(_) => last = Some(unavailable(authority, "no answer")),
            }
        }
        Err(last.expect("a client has at least one endpoint"))
    }

    async fn handshake(&self, authority: &Authority) -> Result<Connection, Error> {
        let stream = TcpStream::connect(authority.as_str()).await.map_err(|error| unavailable(authority, error))?;
        stream.set_nodelay(true).map_err(|error| unavailable(authority, error))?;
        let (requests, driver) = self.builder.handshake(stream).await.map_err(|error| status::from_h2(&error))?;
        tokio::spawn(async move {
            // The calls on this connection have seen the error, and the next one makes a new connection.
            drop(driver.await);
        });
        Ok(Connection { requests, authority: authority.clone() })
    }
}

impl Slot {
    /// The open connection, once it has room for a stream; forgets it when it is closed.
    async fn usable(&self) -> Option<Connection> {
        let open = self.open.lock().expect("no panic under the lock").clone()?;
        let Connection { requests, authority } = open;
        if let Ok(requests) = requests.ready().await {
            return Some(Connection { requests, authority });
        }
        self.put(None);
        None
    }

    fn put(&self, connection: Option<Connection>) {
        *self.open.lock().expect("no panic under the lock") = connection;
    }
}

fn unavailable(authority: &Authority, why: impl std::fmt::Display) -> Error {
    Error::other(Code::Unavailable, format!("connect to {authority}: {why}"))
}
