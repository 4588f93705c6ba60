//! What filters see of a request.

use std::{net::IpAddr, rc::Rc};

use tidegate_http::{
    h1::Exchange,
    message::{Headers, RequestHead, Response},
};

use crate::Locals;

/// One request on its way through a pipeline. Stays on its thread.
pub struct Context {
    exchange: Exchange,
    /// What the client gets when the flow ends; without one it gets a 503.
    pub response: Option<Response>,
    /// States of filters on this thread.
    pub local: Rc<Locals>,
}

impl Context {
    pub fn new(exchange: Exchange, local: Rc<Locals>) -> Self {
        Self { exchange, response: None, local }
    }

    pub fn request(&self) -> &RequestHead {
        self.exchange.head()
    }

    pub fn request_mut(&mut self) -> &mut RequestHead {
        self.exchange.head_mut()
    }

    /// The request with its body and the client behind it.
    pub fn exchange(&mut self) -> &mut Exchange {
        &mut self.exchange
    }

    /// Address of the client's connection.
    pub fn peer(&self) -> Option<IpAddr> {
        self.exchange.peer().map(|peer| peer.ip().to_canonical())
    }

    /// Answers with `status` and no body, over headers that filters have set already.
    pub fn reject(&mut self, status: u16) -> &mut Headers {
        let headers = self.response.take().map(|response| response.headers).unwrap_or_default();
        let mut rejected = Response::new(status);
        rejected.headers = headers;
        &mut self.response.insert(rejected).headers
    }

    pub fn into_parts(self) -> (Exchange, Option<Response>) {
        (self.exchange, self.response)
    }
}
