//! HTTP/2 towards servers: one connection for the calls of a thread.
//!
//! A stream stands where the connection of an HTTP/1.1 call does ([`Stream`], a kind of [`Socket`](crate::h1::Socket)): the relay of bodies,
//! deadlines and the answer's way to the client are the same code for both. Heads differ (`head`).
//! ```text
//!   call ── send: a connection with room, or a new one ─► stream ─► Call, as over HTTP/1.1
//!                       │ one call makes it, the others wait
//!                       ▼
//!             a task for each connection: polls `h2`, writes what all its streams have given it
//! ```
//! Bounds (bytes, from the budget of the pools' holder):
//! - **A connection** has 10 KiB; at most 100 streams, or as many as the server allows. One more call makes another connection.
//! - **A stream** has 40 KiB: its window of 32 KiB, which is all that can come and not be read, and `h2`'s part; a streamed upload takes
//!   32 KiB more, as much as `h2` keeps unsent of it. The connection's window is the sum of its streams': none of them holds another up.
//! - **Heads** of answers: 32 KiB, 200 headers, 16 interim answers.
//!
//! Trailers are read, and dropped but in calls of the gateway's own. An answer with headers of a connection is malformed, and its stream is reset.

mod conn;
mod head;
mod stream;
#[cfg(test)]
mod tests;

pub(super) use conn::{Shared, Slot, Slots, by, spoken};
pub(super) use head::request;
pub use stream::Stream;
