//! One request and the way to answer it.

use std::{
    cell::Cell,
    fmt,
    future::poll_fn,
    net::SocketAddr,
    ops::{Deref, DerefMut},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    task::Poll,
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use tidegate_base::Lease;

use super::{
    buffer::Buffer,
    downstream::Downstream,
    framing::Decoder,
    relay::{Framing, Loaded, Relay},
};
use crate::{
    message::{BodyError, Headers, Known, Length, RequestHead},
    tls::TlsInfo,
};

/// A request, and with it the connection it came on until it is answered. Cheap to move.
pub struct Exchange {
    pub(crate) inner: Held,
}

/// What an exchange holds. Dropped by the panic of a handler, it goes back to its connection, which answers for it.
pub(crate) struct Held(Option<Box<Inner>>);

impl Held {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Some(Box::new(inner)))
    }

    pub(crate) fn take(mut self) -> Option<Inner> {
        self.0.take().map(|inner| *inner)
    }
}

impl Deref for Held {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        self.0.as_deref().expect("it is taken by its drop only")
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut Inner {
        self.0.as_deref_mut().expect("it is taken by its drop only")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(inner) = self.0.take()
            && std::thread::panicking()
        {
            let shared = Rc::clone(&inner.down.shared);
            shared.rescue.put(inner);
        }
    }
}

/// Where the exchange of a handler that panics is kept until the panic is caught. Open only while a handler runs.
#[derive(Default)]
pub(crate) struct Rescue {
    open: Cell<bool>,
    inner: Cell<Option<Box<Inner>>>,
}

impl Rescue {
    /// Runs `work`; where that panics, gives what it held.
    pub(crate) fn run<T>(&self, work: impl FnOnce() -> T) -> Result<T, Option<Exchange>> {
        self.open.set(true);
        let done = catch_unwind(AssertUnwindSafe(work));
        self.open.set(false);
        done.map_err(|_| self.inner.take().map(|inner| Exchange { inner: Held(Some(inner)) }))
    }

    fn put(&self, inner: Box<Inner>) {
        if self.open.get() {
            self.inner.set(Some(inner));
        }
    }
}

impl fmt::Debug for Rescue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rescue").finish_non_exhaustive()
    }
}

pub(crate) struct Inner {
    pub(crate) down: Downstream,
    pub(crate) head: RequestHead,
    pub(crate) peer: Option<SocketAddr>,
    /// The body, when it was read whole.
    pub(crate) buffered: Option<(Bytes, Lease)>,
    /// The client asked for a head only, whatever the method was changed to.
    pub(crate) head_only: bool,
    /// Bytes of the head as it came.
    pub(crate) head_bytes: usize,
    pub(crate) keep_alive: bool,
    pub(crate) answered: bool,
    /// The answer broke off, and only a reset tells it from a whole one.
    pub(crate) cut: bool,
    /// Heads on their way out, towards the client or an upstream.
    pub(crate) tx: BytesMut,
    /// Receive buffer of a call to an upstream, kept from one request to the next.
    pub(crate) up_rx: Buffer,
    /// A used list of headers, for the next answer.
    pub(crate) spare: Headers,
    /// The client's address in text, once somebody has asked for it.
    pub(crate) peer_text: Option<Box<str>>,
}

impl Exchange {
    pub fn head(&self) -> &RequestHead {
        &self.inner.head
    }

    pub fn head_mut(&mut self) -> &mut RequestHead {
        &mut self.inner.head
    }

    /// Address of the client; none on a unix socket.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.inner.peer
    }

    /// What the handshake of the client's connection has come to; none without TLS.
    pub fn tls(&self) -> Option<TlsInfo<'_>> {
        self.inner.down.socket.tls()
    }

    /// Scheme that the client speaks: that of an absolute target, else what `X-Forwarded-Proto` says, else the connection's.
    pub fn scheme(&self) -> &str {
        let head = self.head();
        let told = head.headers.text(Known::XForwardedProto).filter(|told| !told.is_empty());
        let own = if self.tls().is_some() { "https" } else { "http" };
        head.scheme().or(told).unwrap_or(own)
    }

    /// The client's IP address in text; empty on a unix socket. Written once a connection.
    pub fn peer_text(&mut self) -> &str {
        let peer = self.inner.peer;
        let text = || peer.map(|peer| peer.ip().to_canonical().to_string()).unwrap_or_default().into_boxed_str();
        self.inner.peer_text.get_or_insert_with(text)
    }

    pub fn is_answered(&self) -> bool {
        self.inner.answered
    }

    /// Length of the request's body, as far as it is announced.
    pub fn body_length(&self) -> Length {
        match (&self.inner.buffered, self.inner.down.decoder) {
            (Some((bytes, _)), _) => Length::Known(bytes.len() as u64),
            (None, Decoder::Done) => Length::Known(0),
            (None, Decoder::Length(bytes)) => Length::Known(bytes),
            (None, _) => Length::Unknown,
        }
    }

    /// Bytes of the request so far: its head, and its body without framing.
    pub fn received_bytes(&self) -> u64 {
        self.inner.head_bytes as u64 + self.inner.down.received
    }

    /// Bytes of the answer so far, as they were written to the socket.
    pub fn sent_bytes(&self) -> u64 {
        self.inner.down.written
    }

    /// Sets the most bytes of this request's body; `None`: no limit.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] when the announced length is larger already: nothing of it has been read.
    pub fn limit_body(&mut self, bytes_max: Option<u64>) -> Result<(), BodyError> {
        self.inner.down.limit = bytes_max.unwrap_or(u64::MAX);
        match self.body_length() {
            Length::Known(bytes) if bytes > self.inner.down.limit => Err(BodyError::TooLarge),
            _ => Ok(()),
        }
    }

    /// Puts `bytes` in the place of the body, under a lease that lives as long as the request. What came is read first: the next
    /// request stands behind it.
    ///
    /// # Errors
    /// As [`Exchange::body`].
    pub async fn set_body(&mut self, bytes: impl Into<Bytes>) -> Result<(), BodyError> {
        self.body().await?;
        let bytes = bytes.into();
        let inner = &mut *self.inner;
        let lease = inner.down.shared.budget.try_lease(inner.down.shared.config.holder, bytes.len() as u64);
        inner.buffered = Some((bytes, lease.ok_or(BodyError::NoMemory)?));
        Ok(())
    }

    /// Most bytes of this request's body; `None`: no limit.
    pub fn body_limit(&self) -> Option<u64> {
        Some(self.inner.down.limit).filter(|limit| *limit < u64::MAX)
    }

    /// Whether all of the body is here, so that it can be sent more than once.
    pub fn has_whole_body(&self) -> bool {
        self.inner.buffered.is_some() || self.body_length() == Length::Known(0)
    }

    /// The body, when it was read whole. Cheap: the bytes are shared.
    pub fn whole_body(&self) -> Option<Bytes> {
        match &self.inner.buffered {
            Some((bytes, _)) => Some(bytes.clone()),
            None => self.has_whole_body().then(Bytes::new),
        }
    }

    /// Waits, while nothing of the body is being read: true at `until`, false as soon as the client has closed its side. It
    /// may then still read an answer.
    pub async fn pause(&mut self, until: Instant) -> bool {
        let down = &mut self.inner.down;
        poll_fn(|cx| {
            if down.poll_gone(cx).is_ready() || down.closed {
                return Poll::Ready(false);
            }
            down.timer.poll(cx, until).map(|()| true)
        })
        .await
    }

    /// Reads the whole body, under a lease that lives as long as the request. The second call gives the same bytes.
    ///
    /// # Errors
    /// [`BodyError`]: the body is lost, and the connection closes behind the answer.
    pub async fn body(&mut self) -> Result<Bytes, BodyError> {
        let inner = &mut *self.inner;
        if let Some((bytes, _)) = &inner.buffered {
            return Ok(bytes.clone());
        }
        let holder = inner.down.shared.config.holder;
        let mut lease = inner.down.shared.budget.empty(holder);
        let mut out = Vec::new();
        if let Decoder::Length(bytes) = inner.down.decoder {
            if bytes > inner.down.limit {
                return Err(BodyError::TooLarge);
            }
            // All of it at once: who holds a part and waits for the rest holds others up.
            let room = usize::try_from(bytes).map_err(|_| BodyError::TooLarge)?;
            if !lease.try_grow(bytes) {
                return Err(BodyError::NoMemory);
            }
            out.reserve_exact(room);
        }
        let mut relay = Relay::new(BytesMut::new(), Framing::Plain);
        let down = &mut inner.down;
        poll_fn(|cx| {
            loop {
                match down.poll_load(cx, &mut relay) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Ready(Ok(Loaded::End)) => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(Loaded::More | Loaded::Data(_))) => {
                        let mut paid = true;
                        relay.take(&mut down.rx.bytes, |data| {
                            let needed = out.len() + data.len();
                            if needed > out.capacity() {
                                let target = needed.max(out.capacity() * 2);
                                paid = lease.try_grow((target - out.capacity()) as u64);
                                if paid {
                                    out.reserve_exact(target - out.len());
                                }
                            }
                            if paid {
                                out.extend_from_slice(data);
                            }
                        });
                        if !paid {
                            return Poll::Ready(Err(BodyError::NoMemory));
                        }
                        if relay.ended() {
                            return Poll::Ready(Ok(()));
                        }
                    }
                }
            }
        })
        .await?;
        let bytes = Bytes::from(out);
        inner.buffered = Some((bytes.clone(), lease));
        Ok(bytes)
    }
}
