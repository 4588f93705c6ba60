//! Which watcher gets what: the pure core of the watch service, one [`Hub`] for each I/O thread.
//!
//! The hub takes requests, committed revisions, results of reads and time as inputs; it gives wire frames, and jobs for the
//! engine, as data. It starts nothing, waits for nothing, reads no clock.
//!
//! How a driver uses it (all on the I/O thread that owns the streams):
//!
//! ```text
//! // Once per thread. `visible` and `compacted` are read *after* the thread's feed of revisions is connected.
//! Hub::new(config: Config, budget: &Budget, visible: i64, compacted: i64) -> Hub
//! Config::new(limits: &Limits, threads: usize, cluster_id: u64, member_id: u64, request_bytes_max: usize) -> Config
//! hub.set_term(term: u64)                                    // raft_term in the headers from now on
//!
//! // Requests of one gRPC stream. None of them answers directly: answers are frames.
//! hub.open_stream(now: Duration, progress_every: Duration) -> Result<StreamId, TooMany>   // jitter is the caller's
//! hub.accepts(stream) -> bool            // read the stream's next request only while this holds
//! hub.create(stream, spec: &CreateSpec, visible: i64, compacted: i64)  // the store's now, read after the request came
//! hub.refuse(stream, reason: &str, visible: i64)             // a create that authentication refused: the text is cancel_reason
//! hub.cancel(stream, watch_id: i64, visible: i64)
//! hub.progress_request(stream, visible: i64)
//! hub.close_stream(stream)                                   // reset, end, lost connection: at any time
//!
//! // From apply, in order of revisions.
//! hub.publish(events: &Arc<RevisionEvents>)                  // made once by `RevisionBuilder`, shared by all threads
//! hub.skip_to(visible: i64)                                  // told the revision only: queue was full, snapshot installed, restart
//! hub.compact(revision: i64)                                 // logical compaction
//! hub.tick(now: Duration)                                    // every 100 to 500 ms
//! hub.room()                                                 // bytes came back to Holder::Watches (hook of `Budget::on_room`)
//!
//! // Output.
//! hub.next_ready() -> Option<StreamId>                       // streams to poll again; call after each input above
//! hub.next_frame(stream) -> Option<Frame>                    // only while the stream can send; None: wait for `next_ready`
//!     Frame { message_bytes: u32, bytes: Bytes, lease: Lease, more: bool }
//!     // `message_bytes` goes into the gRPC prefix. `more`: the message goes on, take pieces until its end.
//! hub.next_piece(stream) -> Piece                            // Piece::Bytes { bytes, lease, more } | Wait | Broken (reset the stream)
//!
//! // Reads for the engine; run anywhere, in any order, at most `Config::jobs_max` at once.
//! hub.next_job() -> Option<Job>                              // call after each input above, and after each `done`
//! hub.done(job: JobId, done: Done)
//! ```

mod catch_up;
mod config;
mod event;
mod feed;
mod frames;
mod hub;
mod index;
mod job;
mod purse;
mod ring;
mod slab;
mod span;
mod stream;
#[cfg(test)]
mod tests;
mod tree;
mod wire;

pub use config::{Config, CreateSpec};
pub use event::{
    EventKind, EventRef, Full, LIVE_BYTES_MAX, PairRef, PairShape, RevisionBuilder, RevisionEvents, event_field_len,
};
pub use frames::{Frame, Piece};
pub use hub::{Hub, HubStats, StreamId, TooMany};
pub use job::{Ask, Done, Job, JobId, Measurer, Scope, Size, Work};
pub use span::{KeySpan, Spans};
