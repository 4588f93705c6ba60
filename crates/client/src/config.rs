//! Settings of a client.

use std::time::Duration;

/// Settings of a [`crate::Client`].
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the members listen: `http://host:port` or `host:port`. Taken in turn.
    pub endpoints: Vec<String>,
    /// Connections that calls are spread over.
    pub connections: usize,
    pub connect_timeout: Duration,
    /// Longest that a unary call may take, told to the server. Streams have no limit.
    pub call_timeout: Option<Duration>,
    /// Largest message that is read: an answer beyond it is an error.
    pub message_bytes_max: usize,
    /// Bytes that a server may send ahead of the reader, for one stream and for a connection.
    pub stream_window: u32,
    pub connection_window: u32,
    /// Sent with every call as `token`.
    pub token: Option<String>,
}

impl Config {
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { endpoints: endpoints.into_iter().map(Into::into).collect(), ..Self::default() }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            connections: 1,
            connect_timeout: Duration::from_secs(5),
            call_timeout: Some(Duration::from_secs(10)),
            message_bytes_max: 64 << 20,
            stream_window: 1 << 20,
            connection_window: 4 << 20,
            token: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("no endpoint is given")]
    NoEndpoint,
    #[error("endpoint {0:?}: expected http://host:port")]
    Endpoint(String),
    #[error("endpoint {0:?}: TLS is not supported by this client")]
    Tls(String),
    #[error("the token is not a header value")]
    Token,
}
