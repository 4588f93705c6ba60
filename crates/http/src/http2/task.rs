use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use futures_util::future::LocalBoxFuture;
use tokio::time::Sleep;

use super::{Exchange, account::size_class};
use crate::grpc::{Code, Status};

/// A call and what watches over it: panics, the client's reset, bytes it does not read, its deadline.
pub(super) struct CallTask {
    work: Option<LocalBoxFuture<'static, ()>>,
    exchange: Rc<Exchange>,
    /// What the stream is charged in its connection's account.
    charged: u64,
    /// Made once the call waits for something: most calls that are answered at once never pay for a timer.
    timer: Option<Pin<Box<Sleep>>>,
}

impl CallTask {
    /// Makes the work at once; a panic in `call` is answered like one in the work. When the connection finds no room for it,
    /// the call ends before it began.
    pub(super) fn start(call: impl FnOnce() -> LocalBoxFuture<'static, ()>, exchange: Rc<Exchange>) -> Self {
        exchange.conn().open_stream();
        let work = catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| {
            exchange.conn().local.stats().panics.add(1);
            exchange.finish(&Status::PANICKED);
            Box::pin(std::future::ready(()))
        });
        let (charged, room) = exchange.conn().charge_call(size_class(size_of_val(work.as_ref().get_ref())));
        let mut task = Self { work: Some(work), exchange, charged, timer: None };
        if !room {
            task.give_up(&Status::TOO_MANY_REQUESTS);
        }
        task
    }

    pub(super) fn reopen(&self) {
        self.exchange.reopen();
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.exchange.deadline() else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        timer.as_mut().poll(cx)
    }

    /// Drops the work, which may panic as well as run.
    fn stop(&mut self) -> bool {
        let work = self.work.take();
        catch_unwind(AssertUnwindSafe(|| drop(work))).is_ok()
    }

    fn give_up(&mut self, status: &Status) {
        if !self.stop() {
            self.exchange.conn().local.stats().panics.add(1);
        }
        self.exchange.finish(status);
    }

    fn end(&mut self, status: &Status) -> Poll<()> {
        self.give_up(status);
        Poll::Ready(())
    }
}

impl Future for CallTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(work) = &mut this.work else { return Poll::Ready(()) };
        this.exchange.wake_inner(cx.waker());
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Err(_) => {
                this.exchange.conn().local.stats().panics.add(1);
                return this.end(&Status::PANICKED);
            }
            Ok(Poll::Ready(())) => return this.end(&Status::UNANSWERED), // which a call that was answered ignores
            Ok(Poll::Pending) => {}
        }
        if this.exchange.poll_reset(cx).is_ready() {
            return this.end(&Status::CANCELLED);
        }
        if let Err(status) = this.exchange.pull(cx) {
            return this.end(&status);
        }
        if this.poll_deadline(cx).is_ready() {
            // A call that never got its lease hears that, as one without a deadline would after 5 s.
            let waits = this.exchange.waits();
            let status = if waits { Status::TOO_MANY_REQUESTS } else { Status::DEADLINE_EXCEEDED };
            return this.end(&status);
        }
        Poll::Pending
    }
}

impl Drop for CallTask {
    fn drop(&mut self) {
        if !self.stop() {
            self.exchange.conn().local.stats().panics.add(1);
        }
        self.exchange.set_waits(false);
        self.exchange.clear();
        let conn = self.exchange.conn();
        // Without an outcome the connection went away under it.
        conn.local.stats().ended(self.exchange.outcome().unwrap_or(Code::Cancelled));
        conn.close_stream(self.charged);
    }
}
