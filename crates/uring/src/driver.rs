//! The task that hands entries over.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tidegate_base::clock;
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Sleep, sleep_until},
};

use crate::{
    ring::Ring,
    state::{Kind, State},
};

/// How long what a dropped socket has not sent is tried.
const LINGER: Duration = Duration::from_secs(2);
/// Dropped sockets that are still sending. One more, and the first of them is given up.
pub(crate) const LINGERING_MAX: usize = 64;

/// Dropped sockets that are still sending, and until when they may.
pub(crate) type Lingering = VecDeque<(Instant, Rc<State>)>;

/// Drives the ring while it is installed or has sockets.
pub(crate) async fn drive(ring: Rc<Ring>) {
    let watched = ring.events.try_clone().and_then(|events| {
        // SAFETY: an owned descriptor stays open, and the same, for as long as it is there.
        Ok(unsafe { AsyncFd::register_with_interest(events, Interest::READABLE) }?)
    });
    let events = match watched {
        Ok(events) => events,
        Err(error) => {
            tracing::error!(%error, "a ring cannot be watched");
            return ring.fail();
        }
    };
    let mut sleep = pin!(sleep_until(clock::now().into()));
    poll_fn(|cx| {
        while let Poll::Ready(Ok(mut ready)) = events.poll_read_ready(cx) {
            ready.clear_ready();
        }
        *ring.driver.borrow_mut() = Some(cx.waker().clone());
        match ring.turn() {
            Ok(true) => cx.waker().wake_by_ref(),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, "a ring has failed, and its connections with it");
                ring.fail();
                return Poll::Ready(());
            }
        }
        poll_lingering(&ring, cx, sleep.as_mut());
        if ring.is_over() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Gives up what has lingered for too long.
fn poll_lingering(ring: &Ring, cx: &mut Context<'_>, mut sleep: std::pin::Pin<&mut Sleep>) {
    loop {
        let until = {
            let mut lingering = ring.lingering.borrow_mut();
            lingering.retain(|(_, state)| state.is_sending());
            match lingering.front() {
                None => return,
                Some((until, _)) => *until,
            }
        };
        if until > clock::now() {
            sleep.as_mut().reset(until.into());
            if sleep.as_mut().poll(cx).is_pending() {
                return;
            }
        }
        give_up_first(ring);
    }
}

/// Lets a dropped socket go on sending for a while.
pub(crate) fn linger(ring: &Ring, state: &Rc<State>) {
    let full = {
        let mut lingering = ring.lingering.borrow_mut();
        lingering.push_back((clock::now() + LINGER, Rc::clone(state)));
        lingering.len() > LINGERING_MAX
    };
    if full {
        give_up_first(ring);
    }
    ring.wake_driver();
}

fn give_up_first(ring: &Ring) {
    let first = ring.lingering.borrow_mut().pop_front();
    if let Some((_, state)) = first
        && state.is_sending()
        && let Err(error) = ring.cancel(&state, Kind::Send)
    {
        tracing::debug!(%error, "a send is not cancelled");
        state.shut();
    }
}
