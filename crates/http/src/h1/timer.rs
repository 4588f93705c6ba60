//! One timer for all the deadlines of a connection.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use tidegate_base::clock;
use tokio::time::Sleep;

/// Wakes the task at a deadline. A deadline that moves away costs nothing: the sleep that is armed fires early, once, and
/// is armed again for the rest. So a busy connection, whose deadlines only ever move away, never touches the timer wheel.
#[derive(Debug, Default)]
pub(crate) struct Timer(Option<(Pin<Box<Sleep>>, Instant)>);

impl Timer {
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    /// Ready when `deadline` has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let (sleep, armed) =
            self.0.get_or_insert_with(|| (Box::pin(tokio::time::sleep_until(deadline.into())), deadline));
        if deadline < *armed {
            sleep.as_mut().reset(deadline.into());
            *armed = deadline;
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if clock::now() >= deadline {
                // A fired sleep stays ready: it is made anew at its next use.
                self.0 = None;
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline.into());
            *armed = deadline;
        }
    }

    /// Gives the memory of the timer back.
    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }
}
