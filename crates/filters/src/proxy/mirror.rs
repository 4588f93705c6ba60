//! Copies of requests, sent on the side. They delay nothing: where there is no room for one, it is dropped and counted.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tidegate_base::{Budget, Holder, clock};
use tidegate_http::{
    h1::Exchange,
    message::{BodyError, Length, Method},
    upstream::{ASIDE_BYTES, Outgoing, Pools, ask},
};

use super::{hash::Random, pool::Pool};

/// Copies of one filter on their way at once, on all threads together.
const IN_FLIGHT_MAX: usize = 128;
/// Longest time for a copy where the pool names none.
const TIME_MAX: Duration = Duration::from_secs(30);

pub(super) struct Mirror {
    pub(super) pool: Pool,
    pub(super) budget: Budget,
    in_flight: AtomicUsize,
    dropped: AtomicU64,
}

/// One place of [`IN_FLIGHT_MAX`].
struct Place(Arc<Mirror>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Mirror {
    pub(super) fn new(pool: Pool, budget: Budget) -> Self {
        Self { pool, budget, in_flight: AtomicUsize::new(0), dropped: AtomicU64::new(0) }
    }

    /// Copies that were not sent for want of room.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Sends a copy of the request where it is one to be copied and there is room.
    ///
    /// # Errors
    /// The request's own body could not be read.
    pub(super) async fn copy(
        self: &Arc<Self>,
        pools: &Rc<Pools>,
        random: &Random,
        exchange: &mut Exchange,
    ) -> Result<(), BodyError> {
        let peer = exchange.peer().map(|peer| peer.ip().to_canonical());
        let head = exchange.head();
        let wanted = self.pool.filter.as_ref().is_some_and(|filter| filter.fits(head, peer, random));
        if !wanted || head.method == Method::Connect {
            return Ok(());
        }
        let sent = self.send(pools, random, exchange).await?;
        if !sent {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            // The first, the second, the fourth and so on: a flood of them is no flood of lines.
            if dropped.is_power_of_two() {
                tracing::warn!(dropped = self.dropped(), "copies of requests are dropped for want of room");
            }
        }
        Ok(())
    }

    async fn send(
        self: &Arc<Self>,
        pools: &Rc<Pools>,
        random: &Random,
        exchange: &mut Exchange,
    ) -> Result<bool, BodyError> {
        let enter = |count: usize| (count < IN_FLIGHT_MAX).then_some(count + 1);
        if self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter).is_err() {
            return Ok(false);
        }
        let place = Place(Arc::clone(self));
        // How much it takes must be known before: a body that turns out too large would fail the request itself.
        let Length::Known(length) = exchange.body_length() else { return Ok(false) };
        let held = ASIDE_BYTES + length + 2 * exchange.head().headers.allocated() as u64;
        let Some(lease) = self.budget.try_lease(Holder::Gateway, held) else { return Ok(false) };
        if !hold_body(exchange).await? {
            return Ok(false);
        }
        let Some(body) = exchange.whole_body() else { return Ok(false) };
        let peer = exchange.peer().map(|peer| peer.ip().to_canonical());
        let Some(number) = self.pool.pick(exchange.head(), peer, random) else { return Ok(false) };
        let (head, pools) = (exchange.head().clone(), Rc::clone(pools));
        tokio::task::spawn_local(async move {
            let pool = &place.0.pool;
            let Some(target) = pool.targets.get(number) else { return };
            let out = Outgoing {
                endpoint: &target.endpoint,
                number: pool.first + number,
                host: target.own_host.then(|| target.endpoint.authority()),
                deadline: Some(clock::now() + pool.timeout.unwrap_or(TIME_MAX)),
                answer_bytes_max: pool.answer_bytes_max,
            };
            if let Err(error) = ask(&pools, &out, &head, body, 0).await {
                tracing::debug!(server = target.endpoint.authority(), %error, "a copy of a request was not answered");
            }
            drop(lease);
        });
        Ok(true)
    }
}

/// Reads the body whole where it is bounded: whether it is here then. Nothing of it was read otherwise, and it can be streamed.
///
/// # Errors
/// It is lost.
pub(crate) async fn hold_body(exchange: &mut Exchange) -> Result<bool, BodyError> {
    if exchange.has_whole_body() {
        return Ok(true);
    }
    if exchange.body_limit().is_none() {
        return Ok(false);
    }
    let length = exchange.body_length();
    match exchange.body().await {
        Ok(_) => Ok(true),
        // The room for all of it is asked for before anything is read.
        Err(BodyError::NoMemory) if length != Length::Unknown && exchange.body_length() == length => Ok(false),
        Err(error) => Err(error),
    }
}

/// The whole body for a signature; `None` where bodies have no limit, so that it is streamed and not signed.
///
/// # Errors
/// It is lost, or there is no room for it.
pub(crate) async fn signed_body(exchange: &mut Exchange) -> Result<Option<Bytes>, BodyError> {
    if hold_body(exchange).await? {
        return Ok(exchange.whole_body());
    }
    unsigned(exchange.body_limit())
}

/// What a signature covers of a body that was not read: nothing, which only one without a limit may have.
const fn unsigned(limit: Option<u64>) -> Result<Option<Bytes>, BodyError> {
    match limit {
        None => Ok(None),
        Some(_) => Err(BodyError::NoMemory),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_body_without_a_limit_goes_unsigned() {
        assert_eq!(unsigned(None), Ok(None));
        assert_eq!(unsigned(Some(1 << 20)), Err(BodyError::NoMemory), "there was no room to read it");
    }
}
