//! HTTP/2 towards clients of the gateway: the [`Service`](crate::h1::Service) of HTTP/1.1, many requests at once.
//!
//! A stream stands where the socket of an HTTP/1.1 connection does ([`Substream`], a kind of [`Socket`](crate::h1::Socket)):
//! what a service, a filter or a call to an upstream does with an exchange is the same code for both. Heads differ
//! (`head`), and where an answer ends; bodies are plain bytes on both ways.
//! ```text
//!   one task ── poll h2 (reads, writes) ─► accept ─► poll woken requests ─► pull what they left ─► windows, account, flood
//!                        ▲                              │ each in its Substream's place: read, write, finish, reset
//!                        └──────── frames of all of them, in as few writes as they fit in
//! ```
//! Bounds, all under the lease of the connection or of the stream (units: bytes):
//! - **An idle connection** has 10 KiB (`account`), and is 5.3 KiB resident when it is new. What its next requests could
//!   use again goes after a second without any. **A stream** has 20 KiB (`driver`) for as long as its request lives; one that waits for
//!   an upstream is 4.4 KiB resident, its upstream's connection included, and has room for receive buffers and heads besides.
//! - **Unread bodies.** What a request does not read is taken out of `h2` and charged to the connection. Nothing unread opens a
//!   stream's window, so that is 64 KiB a stream at most; the window of the connection grows by what is held, up to
//!   1 MiB more, so that slow uploads hold nobody else up before they hold that much.
//! - **Unsent answers.** 32 KiB a stream, charged to the connection, and a stream for which there is no room
//!   waits until another has sent. A client that takes nothing for the stall timeout loses the stream.
//! - **Frames that move nothing** are counted (`flood`); `h2` itself bounds header lists, CONTINUATION frames, small and empty
//!   DATA frames, and resets of streams that nobody has seen yet.

mod account;
mod driver;
mod flood;
mod head;
mod inbox;
mod serve;
mod substream;
#[cfg(test)]
mod tests;
mod wire;

pub use serve::serve as serve_h2;
pub use substream::Substream;
