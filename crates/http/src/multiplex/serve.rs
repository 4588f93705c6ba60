//! The life of an HTTP/2 connection.

use std::{future::poll_fn, net::SocketAddr, pin::pin, rc::Rc, task::Poll, time::Duration};

use bytes::BytesMut;
use futures_util::stream::{FuturesUnordered, StreamExt};
use h2::server;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    account::{Account, CONNECTION_BYTES},
    driver::{Driver, RESET_KEPT, WINDOW, streams_max},
    substream::{Piece, Substream},
    wire::{Meter, Wire},
};
use crate::{
    h1::{Exchange, Service, Shared, Stats, handle},
    message::{Response, reason},
    tls::TlsDetails,
};

/// Read from the socket before the streams have their turn.
const READ_PER_TURN: usize = 32 << 10;
/// Payloads up to this are copied behind the frames before them: one write for several answers.
const COPY_MAX: usize = 4 << 10;
/// Table of compression of heads that come.
const HEADER_TABLE: u32 = 4 << 10;
/// Shortage (256 bytes less its length) that unread small frames may add up to before `h2` ends the connection.
const DATA_FRAME_BUDGET: usize = 256 << 10;
/// A client that does not finish the exchange of settings is not kept.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Serves one connection until it ends, whose handshake came to `tls`; `first` is what was read of it already, from its preface on. Cancel safe: its requests are
/// then dropped with it.
pub async fn serve<T, S>(
    io: T,
    first: BytesMut,
    peer: Option<SocketAddr>,
    service: Rc<S>,
    shared: Rc<Shared>,
    tls: Option<TlsDetails>,
) where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Service,
{
    Stats::add(&shared.stats.connections);
    let bytes = CONNECTION_BYTES + tls.as_ref().map_or(0, TlsDetails::bytes);
    let Some(lease) = shared.budget.try_lease(shared.config.holder, bytes) else {
        Stats::add(&shared.stats.no_memory);
        return;
    };
    let account = Rc::new(Account::new(lease, tls));
    let meter = Rc::new(Meter::default());
    meter.allowance.set(READ_PER_TURN);
    let handshake = settings(&shared).handshake::<_, Piece>(Wire::new(io, first, Rc::clone(&meter)));
    // In a box of its own: else the task keeps its room for the connection's life.
    let handshake = Box::pin(tokio::time::timeout(HANDSHAKE_MAX, poll_allowed(handshake, &meter)));
    let Ok(Ok(h2)) = handshake.await else { return };
    let mut driver = Driver::new(h2, account, meter, peer, Rc::clone(&shared));
    let mut streams = FuturesUnordered::new();
    let mut drain = pin!(shared.drain.started());
    poll_fn(|cx| {
        if !driver.draining && drain.as_mut().poll(cx).is_ready() {
            driver.drain();
        }
        driver.meter.allowance.set(READ_PER_TURN);
        loop {
            match driver.h2.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    if let Some((exchange, stream)) = driver.begin(request, respond, streams.len()) {
                        streams.push(run(exchange, stream, Rc::clone(&service)));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(%error, "an HTTP/2 connection ended");
                    return Poll::Ready(());
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        while let Poll::Ready(Some(ended)) = streams.poll_next_unpin(cx) {
            driver.end(ended);
        }
        driver.turn(cx, streams.len())
    })
    .await;
    // With the connection's end every stream is told, so that requests end as those of a lost HTTP/1.1 connection do.
    drop(driver);
    let rest = async { while streams.next().await.is_some() {} };
    if tokio::time::timeout(shared.config.stall_timeout, rest).await.is_err() {
        tracing::debug!(requests = streams.len(), "requests of a lost connection are dropped");
    }
}

/// Lets a handshake read in turns, as the connection after it.
async fn poll_allowed<F: Future>(work: F, meter: &Meter) -> F::Output {
    let mut work = pin!(work);
    poll_fn(|cx| {
        meter.allowance.set(READ_PER_TURN);
        work.as_mut().poll(cx)
    })
    .await
}

fn settings(shared: &Shared) -> server::Builder {
    let streams_max = streams_max(shared);
    let list_max = u32::try_from(shared.config.head.bytes_max).unwrap_or(u32::MAX).clamp(16 << 10, 64 << 10);
    let mut builder = server::Builder::new();
    builder
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_concurrent_streams(streams_max)
        .max_header_list_size(list_max)
        .header_table_size(HEADER_TABLE)
        .copy_payloads_below(COPY_MAX)
        .data_frame_budget(DATA_FRAME_BUDGET)
        // A page that is left cancels all that it asked for; beyond that it is an attack.
        .max_pending_accept_reset_streams(streams_max as usize)
        .max_concurrent_reset_streams(streams_max as usize)
        .reset_stream_duration(RESET_KEPT);
    builder
}

/// Has the service answer one request; `None` when it lost it.
async fn run<S: Service>(exchange: Exchange, stream: Rc<Substream>, service: Rc<S>) -> Option<Exchange> {
    let mut work = pin!(answer(exchange, &*service));
    poll_fn(|cx| {
        stream.wake_inner(cx.waker());
        let done = work.as_mut().poll(cx);
        if done.is_pending() {
            stream.pull(cx);
        }
        done
    })
    .await
}

async fn answer<S: Service>(exchange: Exchange, service: &S) -> Option<Exchange> {
    let mut exchange = handle(exchange, service).await?;
    if !exchange.is_answered() {
        // Fails when the client has gone.
        exchange.respond(Response::text(500, reason(500))).await.ok();
    }
    if exchange.inner.cut {
        exchange.inner.down.socket.reset();
    }
    Some(exchange)
}
