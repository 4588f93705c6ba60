//! Messages of a stream, put together from frames.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use tidegate_base::clock;
use tokio::time::Sleep;

use super::{
    status::Status,
    wire::{PREFIX_LEN, parse_prefix},
};
use crate::{
    admission::{Admitted, Take},
    http2::{Exchange, Filled},
};

/// Longest wait for a lease. Source: etcd answers a request that it cannot take within its timeout, which is 5 s and more.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// A call that has its lease must bring a frame this often: a lease without bytes keeps others out.
const STALL_MAX: Duration = Duration::from_secs(2);

/// Bytes a second that it must bring on average besides, once [`STALL_MAX`] is over: else one byte now and then holds the
/// lease of a large message for days. A message of 1.5 MiB has 98 s.
const RATE_MIN: u64 = 16 << 10;

/// Which messages a method takes.
#[derive(Debug, Clone, Copy)]
pub struct Accept {
    /// Longer ones are answered `ResourceExhausted`, as gRPC does.
    pub message_max: usize,
    /// Bytes that decoding a message of so many bytes may take besides: they are part of its lease.
    pub decode_cost: fn(usize) -> usize,
}

/// One message, without its prefix, and the bytes it was admitted for.
#[derive(Debug)]
pub struct Message {
    /// Often a slice of the connection's read buffer, which it pins: decode it at once, copy what outlives the call.
    pub bytes: Bytes,
    pub lease: Admitted,
}

pub(crate) enum Progress {
    Message(Message),
    /// The client has sent all it wanted to send.
    End,
}

/// Where in the stream of messages we are. It survives a future that is dropped, so waiting for a message is cancel safe.
pub(crate) struct Assembly {
    accept: Accept,
    stage: Stage,
}

enum Stage {
    Prefix,
    Admission(Box<Waiting>),
    Body(Box<Body>),
    Failed(Status),
}

struct Waiting {
    len: usize,
    take: Take,
    late: Pin<Box<Sleep>>,
}

struct Body {
    len: usize,
    lease: Admitted,
    whole: BytesMut,
    since: Instant,
    stall: Pin<Box<Sleep>>,
}

impl Assembly {
    pub(crate) fn new(accept: Accept) -> Self {
        Self { accept, stage: Stage::Prefix }
    }

    pub(crate) fn poll_next(&mut self, exchange: &Exchange, cx: &mut Context<'_>) -> Poll<Result<Progress, Status>> {
        let result = ready!(self.poll_stage(exchange, cx));
        exchange.set_waits(false);
        self.stage = match &result {
            Ok(_) => Stage::Prefix,
            Err(status) => Stage::Failed(status.clone()),
        };
        Poll::Ready(result)
    }

    fn poll_stage(&mut self, exchange: &Exchange, cx: &mut Context<'_>) -> Poll<Result<Progress, Status>> {
        loop {
            let (len, lease) = match &mut self.stage {
                Stage::Failed(status) => return Poll::Ready(Err(status.clone())),
                Stage::Body(body) => return body.poll(exchange, cx),
                Stage::Prefix => match ready!(exchange.poll_fill(PREFIX_LEN, cx))? {
                    Filled::Ended(0) => return Poll::Ready(Ok(Progress::End)),
                    Filled::Ended(_) => return Poll::Ready(Err(Status::CUT_SHORT)),
                    Filled::Enough => {
                        let len = parse_prefix(exchange.take_prefix(), self.accept.message_max)?;
                        let bytes = len.saturating_add((self.accept.decode_cost)(len)) as u64;
                        match exchange.conn().requests.try_take(bytes) {
                            Some(lease) => (len, lease),
                            None => {
                                self.stage = Stage::Admission(Waiting::new(exchange, len, bytes)?);
                                continue;
                            }
                        }
                    }
                },
                Stage::Admission(waiting) => match Pin::new(&mut waiting.take).poll(cx) {
                    Poll::Ready(lease) => (waiting.len, lease),
                    Poll::Pending => {
                        ready!(waiting.late.as_mut().poll(cx));
                        return Poll::Ready(Err(Status::TOO_MANY_REQUESTS));
                    }
                },
            };
            exchange.set_waits(false);
            if exchange.available() >= len {
                let bytes = exchange.take_bytes(len);
                return Poll::Ready(Ok(Progress::Message(Message { bytes, lease })));
            }
            // The whole message is leased, so it may have a buffer of its own.
            let whole = BytesMut::with_capacity(len);
            let since = clock::now();
            let stall = Box::pin(tokio::time::sleep_until((since + STALL_MAX).into()));
            self.stage = Stage::Body(Box::new(Body { len, lease, whole, since, stall }));
        }
    }
}

impl Waiting {
    fn new(exchange: &Exchange, len: usize, bytes: u64) -> Result<Box<Self>, Status> {
        let take = exchange.conn().requests.take(bytes).map_err(|_| Status::TOO_MANY_REQUESTS)?;
        let left = |deadline: Instant| deadline.saturating_duration_since(clock::now());
        let wait = exchange.deadline().map_or(WAIT_MAX, left).min(WAIT_MAX);
        exchange.set_waits(true);
        Ok(Box::new(Self { len, take, late: Box::pin(tokio::time::sleep(wait)) }))
    }
}

impl Body {
    fn poll(&mut self, exchange: &Exchange, cx: &mut Context<'_>) -> Poll<Result<Progress, Status>> {
        loop {
            let missing = self.len - self.whole.len();
            exchange.move_into(&mut self.whole, missing);
            if self.whole.len() == self.len {
                let bytes = std::mem::take(&mut self.whole).freeze();
                return Poll::Ready(Ok(Progress::Message(Message { bytes, lease: self.lease.take() })));
            }
            match exchange.poll_fill(1, cx)? {
                Poll::Ready(Filled::Enough) => {
                    let received = (self.whole.len() + exchange.available()) as u64;
                    self.stall.as_mut().reset(body_deadline(self.since, clock::now(), received).into());
                }
                Poll::Ready(Filled::Ended(_)) => return Poll::Ready(Err(Status::CUT_SHORT)),
                Poll::Pending => {
                    ready!(self.stall.as_mut().poll(cx));
                    exchange.conn().local.stats().stalled.add(1);
                    return Poll::Ready(Err(Status::DEADLINE_EXCEEDED));
                }
            }
        }
    }
}

/// Until when more must come of a body that began at `since` and whose newest frame, at `now`, made it `received` bytes.
fn body_deadline(since: Instant, now: Instant, received: u64) -> Instant {
    let earned = STALL_MAX + Duration::from_millis(received.saturating_mul(1000) / RATE_MIN);
    (now + STALL_MAX).min(since + earned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_comes_without_pauses_and_at_the_least_rate() {
        let since = clock::now();
        let at = |now: u64, received: u64| {
            let deadline = body_deadline(since, since + Duration::from_millis(now), received);
            deadline.saturating_duration_since(since).as_millis()
        };
        assert_eq!(at(500, 1 << 20), 2500, "a pause of 2 s");
        assert_eq!(at(1900, 1), 2000, "a byte earns nothing");
        assert_eq!(at(9000, 128 << 10), 10_000, "128 KiB earn 8 s");
        assert_eq!(at(60_000, u64::MAX), 62_000);
    }
}
