//! HTTP/2 connections of a server, on `h2`.
//!
//! One task for a connection: it lets `h2` read and write, starts a future for each new stream, and polls those that were
//! woken. In one turn:
//! ```text
//!   allow 32 KiB ─► accept streams ─► poll the woken calls ─► follow `held` with the window ─► settle ─► sleep
//!                   (h2 reads, writes)     each: work, reset?, pull what it did not read, deadline
//! ```
//! Bounds and reasons:
//! - **Window follows what waits.** `h2` gives stream and connection window back together, so bytes of calls that wait for
//!   a lease would close the connection to everybody else on it. The connection's window is 64 KiB plus the bytes that its
//!   calls hold unread, at most 2 MiB, charged to the connection. Fixed windows let a keep-alive starve for 4.7 s beside 64
//!   uploads; this answers it within a millisecond.
//! - **Pulled always.** What a call does not read is taken out of `h2`, where it would pin read buffers and count against
//!   the budget of small frames.
//! - **32 KiB a turn.** Else `h2` reads until the socket is empty before anybody reads a stream.
//! - **Settled at the end of a turn.** `h2` gives back the buffers and tables that hold nothing (our copy can), and the lease
//!   follows what it keeps, up and down: an idle connection is 10 KiB, however busy it was. What finds no room may be taken
//!   above the limit, up to an eighth of the floor for all connections together. Beyond half of that calls are refused with
//!   `etcdserver: too many requests`; beyond all of it a connection with an incomplete frame or unwritten bytes is closed.

mod account;
mod driver;
mod exchange;
mod inbox;
mod outbox;
mod task;
mod wire;

pub(crate) use account::Conn;
pub(crate) use driver::serve;
pub(crate) use exchange::{Exchange, Filled};
