//! Which watcher gets what: the pure core of the watch service, one [`Hub`] for each I/O thread.
//!
//! The hub takes requests, committed revisions, results of reads and time as inputs; it gives wire frames, and jobs for the
//! engine, as data. It starts nothing, waits for nothing, reads no clock.
//!
//! Why cursors and not a queue of events for each watch: a queue grows with what its reader does not take. Here the recent
//! revisions are kept once, a stream queues numbers of them, and whoever falls behind is read for again.
//!
//! ```text
//!            publish ─► index ─► matches ─► queue of the stream ─► next_frame
//!                │                             ▲     │ full, or the revision left the ring
//!                └─► ring of recent revisions ─┘     ▼
//!                              ▲               cursor (next revision) ─► job ─► engine ─► done ─► queue
//!                              └── joins again when the cursor has reached the last revision ──────┘
//! ```
//! A revision too large to be handed round tells its keys while these fit, and sends only the watches that look at one of
//! them to their cursors. There compaction can end a watch: none must go there for what happened to other keys.
//!
//! How a driver uses it, on the thread that owns the streams: it feeds inputs ([`Hub::create`], [`Hub::publish`],
//! [`Hub::skip_to`], [`Hub::compact`], [`Hub::tick`], [`Hub::room`], [`Hub::done`] …), and after each of them takes
//! [`Hub::next_job`], [`Hub::next_ready`] and [`Hub::next_accepting`] until there is none. While a client takes bytes it
//! asks for [`Hub::next_frame`], and for [`Hub::next_piece`] as long as a frame has `more`; without a frame it waits until
//! the stream is named ready. Jobs run anywhere and end in any order. It reads a stream's next request only while
//! [`Hub::accepts`] says so, or after the stream is named. Two calls belong to the moment of a request: the store's visible and compacted revision are
//! read after the request came, and the thread's feed is connected before the hub is made.

mod catch_up;
mod config;
mod event;
mod feed;
mod frames;
mod hub;
mod index;
mod job;
mod pieces;
mod purse;
mod requests;
mod results;
mod ring;
mod slab;
mod span;
mod stream;
#[cfg(test)]
mod tests;
mod tick;
mod tree;
mod wire;

pub use config::{Config, CreateSpec};
pub use event::{
    EventKind, EventRef, Full, LIVE_BYTES_MAX, PairRef, PairShape, RevisionBuilder, RevisionEvents, event_field_len,
};
pub use frames::Frame;
pub use hub::{Hub, HubStats, StreamId, TooMany};
pub use job::{Ask, Done, Job, JobId, Measurer, Scope, Size, Work};
pub use pieces::Piece;
pub use span::{KeySpan, Spans};
