//! HTTP/1 on the listeners that sniff the protocol.

use std::rc::Rc;

use bytes::BytesMut;
use futures_util::future::LocalBoxFuture;

use super::{Service, Shared, Socket, serve};
use crate::conn::{Http1, Peer, Stream};

/// A service behind the listeners of [`crate::conn`].
pub struct Http1Service<S> {
    service: Rc<S>,
    shared: Rc<Shared>,
}

impl<S: Service> Http1Service<S> {
    pub fn new(service: S, shared: Rc<Shared>) -> Rc<Self> {
        Rc::new(Self { service: Rc::new(service), shared })
    }
}

impl<S: Service> Http1 for Http1Service<S> {
    fn serve(self: Rc<Self>, stream: Stream, already_read: BytesMut, peer: Peer) -> LocalBoxFuture<'static, ()> {
        let peer = match peer {
            Peer::Tcp(address) => Some(address),
            Peer::Unix => None,
        };
        let (service, shared) = (Rc::clone(&self.service), Rc::clone(&self.shared));
        Box::pin(serve(stream, already_read, peer, service, shared))
    }
}

impl From<Stream> for Socket {
    fn from(stream: Stream) -> Self {
        match stream {
            Stream::Tcp(stream) => Socket::Tcp(stream),
            Stream::Unix(stream) => Socket::Unix(stream),
            Stream::Tls(stream) => Socket::Tls(stream),
        }
    }
}
