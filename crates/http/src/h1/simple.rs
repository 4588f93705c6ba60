//! Handlers of small questions: the admin API, health, metrics.

use std::{borrow::Cow, future::Future, net::SocketAddr};

use bytes::Bytes;

use super::{Exchange, Service};
use crate::message::{BodyError, Headers, Known, Method, RequestHead, Response};

/// A request to a [`Handler`].
pub struct Request<'a> {
    exchange: &'a mut Exchange,
}

impl Request<'_> {
    pub fn method(&self) -> Method {
        self.exchange.head().method
    }

    pub fn head(&self) -> &RequestHead {
        self.exchange.head()
    }

    /// The path as it came, percent-encoding included.
    pub fn path(&self) -> Cow<'_, str> {
        self.exchange.head().path_text()
    }

    /// What follows the `?`, percent-encoding included.
    pub fn query(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.exchange.head().query())
    }

    pub fn headers(&self) -> &Headers {
        &self.exchange.head().headers
    }

    /// First value of a header, when it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    pub fn content_type(&self) -> Option<&str> {
        self.headers().text(Known::ContentType)
    }

    pub fn peer(&self) -> Option<SocketAddr> {
        self.exchange.peer()
    }

    /// Reads the whole body, at most `bytes_max` of it, under a lease that lives as long as the request.
    ///
    /// # Errors
    /// [`BodyError`], whose [`BodyError::status`] is the answer to give.
    pub async fn body(&mut self, bytes_max: u64) -> Result<Bytes, BodyError> {
        self.exchange.limit_body(Some(bytes_max))?;
        self.exchange.body().await
    }
}

/// Answers a request with a response.
pub trait Handler: 'static {
    fn handle(&self, request: Request<'_>) -> impl Future<Output = Response>;
}

/// Makes a [`Service`] of a [`Handler`].
pub struct Simple<H>(pub H);

impl<H: Handler> Service for Simple<H> {
    async fn handle(&self, mut exchange: Exchange) -> Exchange {
        let response = self.0.handle(Request { exchange: &mut exchange }).await;
        // A client that went away needs no answer.
        exchange.respond(response).await.ok();
        exchange
    }
}
