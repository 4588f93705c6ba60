//! Kept connections of one thread.

use std::{
    cell::{Cell, OnceCell, RefCell},
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use tidegate_base::{Budget, Holder, Lease, clock};
use tokio::{net::TcpStream, task::unconstrained};

use super::{
    Endpoint, Protocol,
    shared::{Slot, Slots},
};
use crate::{
    h1::Socket,
    tls::{self, TlsError, TlsStream},
};

/// A connection: its entry here, in the reactor, and the kernel's least.
const CONNECTION_BYTES: u64 = 1 << 10;

/// An open connection, and what pays for it.
pub(crate) struct Conn {
    pub(crate) socket: Socket,
    pub(crate) paid: Lease,
}

/// Limits of a pool.
#[derive(Debug, Clone, Copy)]
pub struct PoolLimits {
    /// Most connections kept for one endpoint.
    pub per_endpoint_max: usize,
    /// Most connections kept in all.
    pub total_max: usize,
    /// How long one is kept unused.
    pub idle: Duration,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self { per_endpoint_max: 1024, total_max: 10_240, idle: Duration::from_secs(90) }
    }
}

struct Kept {
    conn: Conn,
    since: Instant,
}

/// Connections to the endpoints of one owner, numbered by it, on one thread. When a limit is reached
/// a connection is closed instead of kept.
pub struct Pools {
    kept: RefCell<Vec<Vec<Kept>>>,
    count: Cell<usize>,
    limits: PoolLimits,
    budget: Budget,
    holder: Holder,
    tls: Option<tls::Client>,
    /// The same, offering HTTP/2 alone, and both.
    offering: [OnceCell<tls::Client>; 2],
    /// Connections that several calls share.
    slots: Slots,
}

impl Pools {
    /// `tls` is for endpoints of https, which without it have no answer.
    pub fn new(
        endpoints: usize,
        limits: PoolLimits,
        budget: Budget,
        holder: Holder,
        tls: Option<tls::Client>,
    ) -> Rc<Self> {
        let kept = RefCell::new((0..endpoints).map(|_| Vec::new()).collect());
        let slots = RefCell::new((0..endpoints).map(|_| None).collect());
        Rc::new(Self { kept, count: Cell::new(0), limits, budget, holder, tls, offering: Default::default(), slots })
    }

    /// What a new connection to `endpoint` becomes: itself, or with its handshake to be made.
    pub(crate) fn secure(
        &self,
        endpoint: &Endpoint,
        stream: TcpStream,
        protocol: Protocol,
    ) -> Result<Socket, TlsError> {
        let Some(name) = endpoint.tls_name() else { return Ok(Socket::Tcp(stream)) };
        let none = || TlsError::Tls(rustls::Error::General("there are no settings for it".to_owned()));
        let tls = self.tls.as_ref().ok_or_else(none)?;
        let [only, both] = &self.offering;
        let tls = match protocol {
            Protocol::Http1 => tls,
            Protocol::Http2 => only.get_or_init(|| tls.offering(&[b"h2"])),
            Protocol::Auto => both.get_or_init(|| tls.offering(&[b"h2", b"http/1.1"])),
        };
        TlsStream::client(stream, tls, name.clone(), Some((&self.budget, self.holder))).map(Socket::Tls)
    }

    /// What pays.
    pub(crate) fn account(&self) -> (&Budget, Holder) {
        (&self.budget, self.holder)
    }

    /// Connections to a server that several calls share.
    pub(crate) fn slot(&self, endpoint: usize) -> Option<Rc<Slot>> {
        Slot::of(&self.slots, endpoint)
    }

    /// Connections kept now, those that are shared left out.
    pub fn len(&self) -> usize {
        self.count.get()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The connection used last that is still silent and open.
    pub(crate) fn take(&self, endpoint: usize) -> Option<Conn> {
        let mut kept = self.kept.borrow_mut();
        let list = kept.get_mut(endpoint)?;
        while let Some(mut entry) = list.pop() {
            self.count.set(self.count.get() - 1);
            if is_silent(&mut entry.conn.socket) {
                return Some(entry.conn);
            }
        }
        None
    }

    /// Pays for a new connection.
    pub(crate) fn pay(&self) -> Option<Lease> {
        self.budget.try_lease(self.holder, CONNECTION_BYTES)
    }

    pub(crate) fn put(&self, endpoint: usize, mut conn: Conn) {
        let mut kept = self.kept.borrow_mut();
        let Some(list) = kept.get_mut(endpoint) else { return };
        let full = list.len() >= self.limits.per_endpoint_max || self.count.get() >= self.limits.total_max;
        if full || !is_silent(&mut conn.socket) {
            return;
        }
        conn.socket.rest();
        list.push(Kept { conn, since: clock::now() });
        self.count.set(self.count.get() + 1);
    }

    /// Closes what was kept too long, and what the other side has closed.
    pub fn sweep(&self, now: Instant) {
        for slot in self.slots.borrow().iter().flatten() {
            slot.sweep(now, self.limits.idle);
        }
        for list in self.kept.borrow_mut().iter_mut() {
            let before = list.len();
            list.retain_mut(|entry| {
                now.saturating_duration_since(entry.since) < self.limits.idle && is_silent(&mut entry.conn.socket)
            });
            if list.is_empty() {
                *list = Vec::new();
            }
            self.count.set(self.count.get() - (before - list.len()));
        }
    }
}

/// Nothing came on the socket, not even its end, as far as the reactor has been told. Asked without the task's budget of
/// polls: with none left every socket would look silent.
fn is_silent(socket: &mut Socket) -> bool {
    let readable = unconstrained(poll_fn(|cx| socket.poll_readable(cx)));
    pin!(readable).poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpListener, task::coop};

    use super::*;
    use crate::h1::tests::run;

    #[test]
    fn a_closed_connection_is_not_taken_by_a_task_that_used_its_budget_up() {
        run(|budget| async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            let pools = Pools::new(1, PoolLimits::default(), budget, Holder::Connections, None);
            pools.put(0, Conn { socket: Socket::Tcp(client), paid: pools.pay().unwrap() });
            assert_eq!(pools.len(), 1);
            drop(server);
            tokio::task::spawn_local(async move {
                for _ in 0..10 {
                    tokio::task::yield_now().await; // the reactor hears of the end
                }
                while coop::has_budget_remaining() {
                    coop::consume_budget().await;
                }
                assert!(pools.take(0).is_none());
            })
            .await
            .unwrap();
        });
    }
}
